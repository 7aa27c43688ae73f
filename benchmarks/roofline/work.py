"""What a bundle reads and multiplies for one call, counted from the bundle itself.

Weights are those of matrix products, as the manifest counts them in each type; what else is read (scales, biases,
activations, rows of the token table) is left out, so that the floor stays one. Multiplications are counted from the
graph file, its axes set to the sizes of the call: every product of two matrices, attention's included, in the type that
its inputs have. An Attention that is causal needs half of its square; where a graph multiplies the whole and masks it
afterwards, the whole is counted. A graph with another operator that multiplies is not counted at all.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smartrt.bundle import Bundle
    from smartrt.price import GraphProof

    Shapes = dict[str, tuple[int, tuple[int | None, ...]]]

_BITS = {"fp32": 32, "fp16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4}
_TYPES = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
"""ONNX's number of a type -> the arithmetic of a product of it."""

_SEVERAL = 2
"""Items that are counted, whatever the batch: each is multiplied by itself, and an axis of 1 hides which shapes it
makes, since whatever is broadcast against it may be longer."""


@dataclass(frozen=True)
class CallShape:
    """The sizes of one call: `batch` items of `length` tokens, with `images` of `blocks` visual tokens in all."""

    batch: int
    length: int
    images: int = 0
    blocks: int = 0


@dataclass(frozen=True)
class Work:
    """What one call cannot do without.

    Attributes:
        weight_bytes: Of the graphs it passes, each weight once.
        flops: By arithmetic; a multiplication and an addition are two.
    """

    weight_bytes: int
    flops: Mapping[str, int]


def work_of(bundle: Bundle, shape: CallShape) -> Work:
    """The work of all graphs that a call passes; a text does not pass `vision`.

    Raises:
        MissingDependencyError: onnx is not installed.
        OptionError: The graph's shapes cannot be told from the sizes of its inputs.
    """
    text = {"batch": _SEVERAL, "length": shape.length}
    sizes = {
        "encoder": (shape.batch, text),
        "decoder": (shape.batch, text | {"row": max(1, shape.images * shape.blocks)}),
        "vision": (shape.images, {"image": _SEVERAL, "block": shape.blocks}),
    }
    read, flops = 0, Counter[str]()
    for name, entry in bundle.manifest.graphs.items():
        if name == "vision" and not shape.images:
            continue
        read += weight_bytes(bundle.manifest.precision.graphs[name])
        items, axes = sizes[name]
        counted = graph_flops(bundle.file(entry.path), axes)
        flops.update({kind: count * items // _SEVERAL for kind, count in counted.items()})
    return Work(read, dict(sorted(flops.items())))


def weight_bytes(proof: GraphProof) -> int:
    """Bytes of the weights of a graph's products."""
    return sum(math.ceil(count * _BITS[kind] / 8) for kind, count in proof.weights.items())


def graph_flops(path: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Operations of a graph file's matrix products, by arithmetic. Its weights are not read.

    Args:
        path: An ONNX file.
        sizes: Of each named axis of its inputs.

    Raises:
        MissingDependencyError: onnx is not installed.
        OptionError: A shape cannot be told.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingDependencyError("counting operations needs onnx: pip install 'smartrt[export]'")
    import onnx

    model = onnx.load(path, load_external_data=False)
    _check_counted(model)
    _fix_axes(model, sizes)
    shapes = _infer(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    flops = Counter[str]()
    for node in model.graph.node:
        count = _COUNTED.get(node.op_type)
        if count is not None:
            flops[_arithmetic(node, shapes, makers)] += count(node, shapes)
    return dict(flops)


def _check_counted(model: Any) -> None:
    """Refuse a graph of which a part would be left out: a floor that is too low looks like a slow program."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise OptionError(f"{node.domain}.{node.op_type} may multiply: only ONNX's own are counted")
        if node.op_type in _MULTIPLY:
            raise OptionError(f"{node.op_type} multiplies and is not counted")


def _fix_axes(model: Any, sizes: Mapping[str, int]) -> None:
    for value in model.graph.input:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                if axis.dim_param not in sizes:
                    raise OptionError(f"the input {value.name} has an axis {axis.dim_param}, which no size is known of")
                axis.dim_value = sizes[axis.dim_param]  # it replaces the name
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _infer(model: Any) -> Shapes:
    """Shapes of all values, found twice: onnx carries sizes through Unsqueeze and not through a Reshape to ``[-1]``."""
    from onnx import helper, shape_inference

    shapes = _shapes(shape_inference.infer_shapes(model, data_prop=True))
    scalars = {name for name, (_, shape) in shapes.items() if shape == ()}
    axes = helper.make_tensor("roofline_first_axis", 7, [1], [0])
    model.graph.initializer.append(axes)
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[0] in scalars:
            node.op_type = "Unsqueeze"
            node.input[1] = axes.name
            del node.attribute[:]
    return _shapes(shape_inference.infer_shapes(model, data_prop=True))


def _shapes(model: Any) -> Shapes:
    found: Shapes = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            sizes = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
            found[value.name] = tensor.elem_type, sizes
    return found | {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in model.graph.initializer}


def _shape(node: Any, name: str, shapes: Shapes) -> tuple[int, ...]:
    _, shape = shapes.get(name, (0, (None,)))
    known = tuple(size for size in shape if size is not None)
    if len(known) != len(shape):
        raise OptionError(f"the shape of {name}, which {node.op_type} {node.name} has, cannot be told from the inputs")
    return known


def _product(node: Any, shapes: Shapes) -> int:
    """``[..., m, k] x [..., k, n]``: every number of the output takes k multiplications and additions."""
    return 2 * math.prod(_shape(node, node.output[0], shapes)) * _shape(node, node.input[0], shapes)[-1]


def _gemm(node: Any, shapes: Shapes) -> int:
    """As `_product`, the first matrix perhaps transposed."""
    turned = any(each.name == "transA" and each.i for each in node.attribute)
    inner = _shape(node, node.input[0], shapes)[0 if turned else 1]
    return 2 * math.prod(_shape(node, node.output[0], shapes)) * inner


def _attention(node: Any, shapes: Shapes) -> int:
    """ONNX's Attention (opset 23): scores and mixtures, of every query with every key, or with those before it."""
    query, key, value = (_shape(node, name, shapes) for name in node.input[:3])
    heads = {each.name: each.i for each in node.attribute}
    if len(query) == 3:  # [batch, length, heads * size]
        batch, rows, width = query
        columns, value_width = key[1], heads["q_num_heads"] * value[2] // heads["kv_num_heads"]
    else:  # [batch, heads, length, size]
        batch, rows, width = query[0], query[2], query[1] * query[3]
        columns, value_width = key[2], query[1] * value[3]
    pairs = _causal_pairs(rows, columns) if heads.get("is_causal") else rows * columns
    count: int = 2 * batch * pairs * (width + value_width)
    return count


def _causal_pairs(rows: int, columns: int) -> int:
    """Row i sees columns 0 to i: ONNX aligns the triangle at the upper left corner."""
    square = min(rows, columns)
    return square * (square + 1) // 2 + (rows - square) * columns


_COUNTED = {
    "MatMul": _product, "MatMulInteger": _product, "QLinearMatMul": _product, "Gemm": _gemm, "Attention": _attention,
}  # fmt: skip


_MULTIPLY = frozenset({
    "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "QLinearConv", "RNN",
    "Scan",
})  # fmt: skip
"""Operators that multiply, themselves or in a graph inside, and are not in `_COUNTED`."""


def _arithmetic(node: Any, shapes: Shapes, makers: Mapping[str, Any]) -> str:
    """What a product multiplies in: int8 too where both sides are dequantised, as engines take it."""
    if node.op_type != "Attention":
        sides = [makers.get(name) for name in node.input[:2]]
        if all(side is not None and side.op_type == "DequantizeLinear" for side in sides):
            return "int8"
    number = shapes.get(node.input[0], (0, ()))[0]
    if number not in _TYPES:
        raise OptionError(f"{node.op_type} {node.name} multiplies in ONNX's type {number}, which has no peak here")
    return _TYPES[number]
