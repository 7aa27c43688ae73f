"""``x / sqrt(mean(x ** 2) + epsilon) * weight`` to RMSNormalization (opset 23).

onnxscript's rule wants a Reciprocal; the tracer of text encoders divides 1 by the root instead, others divide `x`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from .reading import dims, integers, is_number, made_by, operands, operators, same, scalar

if TYPE_CHECKING:
    from .rewriting import Rewriter

_FLOAT = int(ir.DataType.FLOAT)


def fuse_norms(rewriter: Rewriter) -> int:
    """Fuse every RMS norm over the last axis; returns how many there were."""
    found = 0
    for node in operators(rewriter.graph, "Mul"):
        for weight, normed in operands(node):
            match = _normalised(normed)
            if match is not None and _is_weight(weight, match[0]):
                states, epsilon = match
                (result,) = node.outputs
                fused = rewriter.before(
                    node, "RMSNormalization", [states, weight], result, axis=-1, epsilon=epsilon, stash_type=_FLOAT
                )
                rewriter.stand_in(result, fused)
                found += 1
                break
    return found


def _normalised(value: ir.Value) -> tuple[ir.Value, float] | None:
    """`x` and epsilon, if `value` is ``x / sqrt(mean(x ** 2) + epsilon)``."""
    divided = made_by(value, "Div")
    if divided is not None:
        pairs = [(divided.inputs[0], divided.inputs[1])]
    else:
        product = made_by(value, "Mul")
        pairs = [(states, _inverted(other)) for states, other in operands(product)] if product is not None else []
    for states, root in pairs:
        epsilon = _epsilon(states, made_by(root, "Sqrt"))
        if states is not None and epsilon is not None:
            return states, epsilon
    return None


def _inverted(value: ir.Value) -> ir.Value | None:
    """What `value` is one over."""
    node = made_by(value, "Reciprocal", "Div")
    if node is None or node.op_type == "Reciprocal":
        return node.inputs[0] if node is not None else None
    return node.inputs[1] if is_number(node.inputs[0], 1.0) else None


def _epsilon(states: ir.Value | None, root: ir.Node | None) -> float | None:
    """Epsilon, if `root` is taken of the mean square of `states` and it."""
    total = made_by(root.inputs[0], "Add") if root is not None else None
    if states is None or total is None or states.dtype not in (None, ir.DataType.FLOAT):
        return None
    for mean, other in operands(total):
        epsilon = scalar(other)
        if epsilon is not None and _is_mean_square(mean, states):
            return epsilon
    return None


def _is_mean_square(value: ir.Value, states: ir.Value) -> bool:
    node = made_by(value, "ReduceMean")
    if node is None or len(node.inputs) < 2 or node.attributes.get_int("keepdims", 1) != 1:
        return False
    rank = len(dims(states) or ())
    if integers(node.inputs[1]) not in ([-1], [rank - 1] if rank else None):
        return False
    square = made_by(node.inputs[0], "Pow", "Mul")
    if square is None or square.inputs[0] is not states:
        return False
    return square.inputs[1] is states if square.op_type == "Mul" else is_number(square.inputs[1], 2.0)


def _is_weight(value: ir.Value, states: ir.Value) -> bool:
    """Whether `value` is one number for each of the last axis."""
    sizes, wide = dims(value), dims(states)
    if not sizes or not wide or len(sizes) != 1 or value.dtype not in (None, ir.DataType.FLOAT):
        return False
    return same(sizes[0], wide[-1])
