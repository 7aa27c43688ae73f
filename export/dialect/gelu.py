"""``x / 2 * (1 + erf(x / sqrt(2)))`` and its approximation with tanh to Gelu (opset 20).

The three factors come in any order: a tracer of PyTorch has others than one of TorchScript.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .reading import factor_of, is_number, made_by, operands, operators, sole_reader

if TYPE_CHECKING:
    import onnx_ir as ir

    from .rewriting import Rewriter


def fuse_gelus(rewriter: Rewriter) -> int:
    """Fuse every GELU; returns how many there were."""
    found = 0
    for op_type, inner, approximate in (("Erf", _inside_erf, "none"), ("Tanh", _inside_tanh, "tanh")):
        for node in operators(rewriter.graph, op_type):
            states = inner(node.inputs[0])
            last = _last(node.outputs[0], states) if states is not None else None
            if last is not None:
                (result,) = last.outputs
                rewriter.stand_in(result, rewriter.before(last, "Gelu", [states], result, approximate=approximate))
                found += 1
    return found


def _inside_erf(value: ir.Value | None) -> ir.Value | None:
    """`x` of ``x / sqrt(2)``."""
    node = made_by(value, "Div", "Mul")
    scaled = factor_of(node) if node is not None else None
    return scaled[0] if scaled is not None and math.isclose(scaled[1], math.sqrt(0.5), rel_tol=1e-6) else None


def _inside_tanh(value: ir.Value | None) -> ir.Value | None:
    """`x` of ``sqrt(2 / pi) * (x + 0.044715 * x ** 3)``."""
    node = made_by(value, "Mul")
    scaled = factor_of(node) if node is not None else None
    if scaled is None or not math.isclose(scaled[1], math.sqrt(2 / math.pi), rel_tol=1e-6):
        return None
    total = made_by(scaled[0], "Add")
    for states, other in operands(total) if total is not None else ():
        cubic = made_by(other, "Mul")
        term = factor_of(cubic) if cubic is not None else None
        cube = made_by(term[0], "Pow") if term is not None and math.isclose(term[1], 0.044715, rel_tol=1e-6) else None
        if cube is not None and cube.inputs[0] is states and is_number(cube.inputs[1], 3.0):
            return states
    return None


def _last(value: ir.Value, states: ir.Value) -> ir.Node | None:
    """The node that makes ``states * (1 + value) / 2``, where each step on the way has one reader."""
    node = sole_reader(value)
    if node is None or node.op_type != "Add" or not any(is_number(other, 1.0) for other in node.inputs):
        return None
    missing = {"half", "states"}
    while missing:
        value = node.outputs[0]
        node = sole_reader(value)
        if node is None or node.op_type != "Mul":
            return None
        found = next(_factors(other, states) for one, other in operands(node) if one is value)
        if not found or not found <= missing:
            return None
        missing -= found
    return node


def _factors(value: ir.Value, states: ir.Value) -> set[str]:
    """Which of ``states`` and one half `value` is a product of."""
    if value is states:
        return {"states"}
    if is_number(value, 0.5):
        return {"half"}
    node = made_by(value, "Mul", "Div")
    scaled = factor_of(node) if node is not None else None
    return {"states", "half"} if scaled == (states, 0.5) else set()
