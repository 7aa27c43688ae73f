"""Reading a graph: constants by value, who made a value and who reads it, what is known of its shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

Dim = int | str | None
"""A size, the name of one, or nothing known."""

_DOMAINS = ("", "ai.onnx")
_SMALL = 16  # a constant of more elements is a weight, and may lie in a checkpoint that is not read yet


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that made `value`, if it is one of these operators of ONNX's own."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in op_types and node.domain in _DOMAINS else None


def operators(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    """The nodes of one operator, in the order they run."""
    return [node for node in graph if node.op_type == op_type and node.domain in _DOMAINS]


def integers(value: ir.Value | None) -> list[int] | None:
    """The content of a small constant of integers."""
    tensor = value.const_value if value is not None else None
    if tensor is None or not tensor.dtype.is_integer() or tensor.size > _SMALL:
        return None
    return [int(number) for number in tensor.numpy().reshape(-1)]


def scalar(value: ir.Value | None) -> float | None:
    """The number that a constant of one element is; its rank may be 0 or 1, so that it makes nothing larger."""
    tensor = value.const_value if value is not None else None
    if tensor is None or tensor.size != 1 or len(tensor.shape) > 1 or not tensor.dtype.is_floating_point():
        return None
    return float(tensor.numpy().reshape(()))


def is_number(value: ir.Value | None, number: float) -> bool:
    """Whether `value` is this constant, to float32's precision."""
    found = scalar(value)
    return found is not None and math.isclose(found, number, rel_tol=1e-6)


def factor_of(node: ir.Node) -> tuple[ir.Value, float] | None:
    """What a Mul or Div by a constant number scales, and by how much."""
    first, second = node.inputs
    if first is None or second is None:
        return None
    if node.op_type == "Mul":
        for value, other in ((first, second), (second, first)):
            factor = scalar(other)
            if factor is not None:
                return value, factor
    divisor = scalar(second) if node.op_type == "Div" else None
    return (first, 1 / divisor) if divisor else None


def operands(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The inputs of an operator with two, in both orders."""
    first, second = node.inputs
    if first is not None and second is not None:
        yield first, second
        yield second, first


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The only node that reads `value`, if there is one and `value` is no output of the graph.

    Who asks for the shape alone does not count.
    """
    readers = [use.node for use in value.uses() if use.node.op_type != "Shape"]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def dims(value: ir.Value | None) -> list[Dim] | None:
    """The shape of `value` as far as it is known; None if not even the rank is."""
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def same(first: Dim, second: Dim) -> bool:
    """Whether two sizes are known to be equal."""
    return first is not None and first == second


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is an integer."""
    return node.attributes[name].as_int() if name in node.attributes else default


def known_size(value: ir.Value | None) -> Dim:
    """An integer that a tracer left to be computed from shapes, or the name of the size that it is."""
    constant = integers(value)
    if constant is not None:
        return constant[0] if len(constant) == 1 else None
    node = made_by(value, "Cast", "Squeeze", "Unsqueeze", "Div", "Mul", "Gather", "Shape")
    if node is None:
        return None
    if node.op_type in ("Div", "Mul"):
        first, second = (known_size(part) for part in node.inputs)
        if not isinstance(first, int) or not isinstance(second, int):
            return None
        return first * second if node.op_type == "Mul" else first // second if second else None
    if node.op_type == "Gather":
        sizes, place = _asked(made_by(node.inputs[0], "Shape")), integers(node.inputs[1])
        return sizes[place[0]] if sizes is not None and place is not None and len(place) == 1 else None
    if node.op_type == "Shape":
        sizes = _asked(node)
        return sizes[0] if sizes is not None and len(sizes) == 1 else None
    return known_size(node.inputs[0])


def _asked(node: ir.Node | None) -> list[Dim] | None:
    """What a Shape operator answers."""
    sizes = dims(node.inputs[0]) if node is not None else None
    if node is None or sizes is None:
        return None
    return sizes[attribute(node, "start", 0) : attribute(node, "end", len(sizes))]


def known_integer(value: ir.Value | None) -> int | None:
    """`known_size`, if it is a number."""
    size = known_size(value)
    return size if isinstance(size, int) else None
