"""Which sizes of a graph are equal, where ONNX's own inference gives each a name of its own.

TorchScript writes shapes as arithmetic on other shapes. Inference loses a length where heads are split with -1, where
positions are added, and where positions are counted; from there on every layer has lengths that nothing relates. What
may be fused depends on lengths being the same, so they are followed here: only equalities that hold for all inputs on
which the graph runs at all.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import onnx_ir as ir

from .reading import Dim, attribute, dims, integers, known_size, made_by, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Dims = list[Dim]

_ELEMENTWISE = ("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Or", "Pow",
                "Sub", "Where")  # fmt: skip


def name_equal_sizes(graph: ir.Graph) -> None:
    """Give equal sizes of values of `graph` one name, or their number; what is known stays.

    An axis of size 0 is not thought of: an empty batch or text is never run.
    """
    sizes = _Sizes({size for value in graph.inputs for size in dims(value) or ()})
    for node in graph:
        sizes.follow(node)


def broadcast(shapes: Sequence[Sequence[Dim]]) -> Dims:
    """The shape that `shapes` are spread to together; None for a size that may be one of several."""
    rank = max(map(len, shapes))
    aligned: list[Dims] = [[*[1] * (rank - len(shape)), *shape] for shape in shapes]
    return [_together(met) for met in zip(*aligned, strict=True)]


def _together(met: Sequence[Dim]) -> Dim:
    """The size that axes of these sizes have when one is spread to the other."""
    larger = {size for size in met if size != 1}
    numbers = {
        size for size in larger if isinstance(size, int)
    } or larger  # what has no number must fit the one that has
    return 1 if not numbers else numbers.pop() if len(numbers) == 1 else None


class _Sizes:
    """Names found equal so far, in the order that nodes run."""

    def __init__(self, met: set[Dim]) -> None:
        self._met = met
        self._named: dict[str, Dim] = {}
        self._at_most: dict[Dim, Dim] = {}
        self._rules: dict[str, Callable[[ir.Node], Dims | None]] = {
            "Expand": self._expand, "MatMul": self._matmul, "Range": self._range, "Reshape": self._reshape,
            "Slice": self._slice, **dict.fromkeys(_ELEMENTWISE, self._elementwise),
        }  # fmt: skip

    def follow(self, node: ir.Node) -> None:
        """Say what is known of the outputs of `node`; what it takes was followed before."""
        for output in node.outputs:
            found = dims(output)
            if found is not None and not output.is_graph_output():
                output.shape = ir.Shape([self._renamed(size) for size in found])
        rule = self._rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        derived = rule(node) if rule is not None else None
        if derived is not None and not node.outputs[0].is_graph_output():
            self._learn(node.outputs[0], derived)
        self._met.update(size for output in node.outputs for size in dims(output) or ())

    def _renamed(self, size: Dim) -> Dim:
        return self._named.get(size, size) if isinstance(size, str) else size

    def _learn(self, output: ir.Value, derived: Dims) -> None:
        """Sizes that were met before keep their names, so that one name never becomes two."""
        found = dims(output) or [None] * len(derived)
        if len(found) != len(derived):
            return
        for axis, (old, new) in enumerate(zip(found, derived, strict=True)):
            if new is None or isinstance(old, int) or (old is not None and old in self._met):
                continue
            found[axis] = new
            if old is not None:
                self._named[old] = new
        output.shape = ir.Shape(found)

    def _elementwise(self, node: ir.Node) -> Dims | None:
        shapes = [dims(value) for value in node.inputs]
        known = [shape for shape in shapes if shape is not None]
        return broadcast(self._whole(known)) if len(known) == len(shapes) else None

    def _whole(self, shapes: list[Dims]) -> list[Dims]:
        """Sizes at most another that they meet are that one, or the graph could not spread them together."""
        rank = max(map(len, shapes))
        met = [{shape[axis] for shape in shapes if len(shape) >= -axis} for axis in range(-rank, 0)]
        whole = []
        for shape in shapes:
            limited = zip(shape, met[rank - len(shape) :], strict=True)
            whole.append(
                [self._at_most[size] if self._at_most.get(size, -1) in there else size for size, there in limited]
            )
        return whole

    def _matmul(self, node: ir.Node) -> Dims | None:
        left, right = (dims(value) for value in node.inputs)
        if left is None or right is None or min(len(left), len(right)) < 2:
            return None
        batches = [left[:-2], right[:-2]]
        return [*(broadcast(batches) if any(batches) else []), left[-2], right[-1]]

    def _range(self, node: ir.Node) -> Dims | None:
        counted = [integers(value) for value in node.inputs[::2]] == [[0], [1]]
        return [known_size(node.inputs[1])] if counted else None

    def _slice(self, node: ir.Node) -> Dims | None:
        sizes, now, axes = dims(node.inputs[0]), dims(node.outputs[0]), integers((*node.inputs, None, None)[3])
        if sizes is None or axes is None or len(axes) != 1:
            return None  # more than one axis is nobody's mask or position
        axis, derived = axes[0] % len(sizes), list(sizes)
        derived[axis] = now[axis] if now is not None else None
        if integers(node.inputs[1]) != [0] or (len(node.inputs) > 4 and integers(node.inputs[4]) != [1]):
            return derived
        size, left, end = sizes[axis], derived[axis], known_size(node.inputs[2])
        if 1 in (size, end) or same(size, end):
            derived[axis] = 1 if size == 1 else end
        elif isinstance(size, int) and isinstance(left, str) and isinstance(end, str):
            self._at_most[left] = end  # positions from a table: as many as asked for, or all there are
        return derived

    def _expand(self, node: ir.Node) -> Dims | None:
        sizes, wanted = dims(node.inputs[0]), _elements(node.inputs[1])
        if sizes is None or wanted is None or -1 in wanted:
            return None
        return broadcast(self._whole([sizes, wanted]))

    def _reshape(self, node: ir.Node) -> Dims | None:
        sizes, wanted = dims(node.inputs[0]), _elements(node.inputs[1])
        if sizes is None or wanted is None or attribute(node, "allowzero", 0):
            return None
        if any(size == 0 and axis >= len(sizes) for axis, size in enumerate(wanted)):
            return None
        kept = [sizes[axis] if size == 0 else size for axis, size in enumerate(wanted)]
        return [_rest(sizes, kept) if size == -1 else size for size in kept]


def _rest(sizes: Dims, kept: Dims) -> Dim:
    """What -1 stands for in `kept`, of which it is the only one."""
    others = [size for size in kept if size != -1]
    left = Counter(size for size in sizes if isinstance(size, str))
    left.subtract(size for size in others if isinstance(size, str))
    if None in (*sizes, *others) or any(count < 0 for count in left.values()):
        return None
    names = list(left.elements())
    number, other = (math.prod(size for size in part if isinstance(size, int)) for part in (sizes, others))
    if other == 0 or number % other:
        return None
    if names:
        return names[0] if len(names) == 1 and number == other else None
    return number // other


def _elements(value: ir.Value | None) -> Dims | None:
    """The sizes that a vector holds, as far as they are known."""
    constant = integers(value)
    if constant is not None:
        return list(constant)
    node = made_by(value, "Cast", "Concat", "Reshape", "Shape", "Unsqueeze", "Where")
    if node is None or value is None:
        return None
    if node.op_type == "Concat":
        parts = [_elements(part) for part in node.inputs]
        known = [part for part in parts if part is not None]
        return [size for part in known for size in part] if len(known) == len(parts) else None
    if node.op_type == "Shape":
        asked = dims(node.inputs[0])
        return asked[attribute(node, "start", 0) : attribute(node, "end", len(asked))] if asked is not None else None
    if node.op_type == "Where":
        return _ones_for_minus_ones(node)
    return [known_size(value)] if dims(value) == [1] else _elements(node.inputs[0])


def _ones_for_minus_ones(node: ir.Node) -> Dims | None:
    """What TorchScript makes of the sizes given to `expand`, in which -1 leaves an axis as it is."""
    compared, sizes = made_by(node.inputs[0], "Equal"), node.inputs[2]
    minus = made_by(compared.inputs[1], "Mul") if compared is not None else None
    if compared is None or minus is None or compared.inputs[0] is not sizes or integers(minus.inputs[1]) != [-1]:
        return None
    if not all(_are_ones(value) for value in (node.inputs[1], minus.inputs[0])):
        return None
    found = _elements(sizes)
    return [1 if size == -1 else size for size in found] if found is not None else None


def _are_ones(value: ir.Value | None) -> bool:
    node = made_by(value, "ConstantOfShape")
    filled = node.attributes["value"].as_tensor().numpy() if node is not None and "value" in node.attributes else 0
    return bool(filled == 1)
