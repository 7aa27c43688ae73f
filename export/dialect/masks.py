"""What is added to scores before the softmax, and what an Attention node is told of it.

A causal bias becomes an attribute. Everything else stays a float mask. ONNX lets a mask spread over the queries;
ONNX Runtime and TensorRT want its last two axes to be queries and keys, so it is spread here, once for all layers that
share it. TensorRT takes no mask beside causality, so a sum of both stays a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .reading import dims, integers, known_integer, known_size, made_by, same, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rewriting import Rewriter

MASKED = -1e4
"""Scores that this much or more is taken from count for nothing: ``exp(-1e4)`` is 0 in float32."""

_SEEN_IF = {("LessOrEqual", True): (0, 1), ("GreaterOrEqual", True): (1, 0), ("Greater", False): (0, 1),
            ("Less", False): (1, 0)}  # fmt: skip
"""By comparison, and by whether it holds where a key is seen: which inputs are the key's and the query's position."""

_KEEP_LENGTH = {"Add", "Div", "LayerNormalization", "Mul", "RMSNormalization", "Reshape", "RotaryEmbedding", "Split",
                "Squeeze", "Transpose"}  # fmt: skip
"""Between a projection and the queries or keys of it."""


@dataclass(frozen=True)
class Bias:
    """What is added to scores: `value`, or `masked` where `value` is the condition `when`."""

    value: ir.Value
    masked: float | None = None
    when: bool = True

    @property
    def usable(self) -> bool:
        """Whether its shape is one that a mask may have."""
        sizes = dims(unspread(self.value))
        return sizes is not None and len(sizes) <= 4 and bool(sizes) and sizes[-1] != 1

    def is_causal(self, query: ir.Value) -> bool:
        """Whether it hides from each query the keys behind it, and nothing else."""
        condition, seen = self._condition()
        compared = made_by(condition, "LessOrEqual", "GreaterOrEqual", "Greater", "Less")
        if compared is None or (compared.op_type, seen) not in _SEEN_IF:
            return False
        keys, queries = (compared.inputs[place] for place in _SEEN_IF[compared.op_type, seen])
        order, lengths = _counted(keys, (0,)), dims(query)
        if order is None or _counted(queries, (1, -1)) is not order or lengths is None:
            return False
        return same(lengths[2], known_size(order.inputs[1]))

    def _condition(self) -> tuple[ir.Value | None, bool]:
        """What is compared to mask, and whether it holds where a key is seen."""
        if self.masked is not None:
            return self.value, not self.when
        chosen = made_by(self.value, "Where")
        numbers = [scalar(one) for one in chosen.inputs[1:]] if chosen is not None else []
        for place, number in enumerate(numbers):
            if chosen is not None and number is not None and number <= MASKED and numbers[1 - place] == 0:
                return chosen.inputs[0], place == 1
        return None, True


class Masks:
    """The masks of one graph; the same mask is made once, in front of the first node that reads it."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._made: dict[tuple[object, ...], ir.Value] = {}

    def sum(self, biases: Sequence[Bias], place: ir.Node) -> ir.Value:
        """One float value that is all of `biases` together."""
        first, *rest = [self._float(bias, place) for bias in biases]
        for other in rest:
            first = self._once(("Add", first, other), place, "Add", [first, other])
        return first

    def spread(self, attention: ir.Node) -> None:
        """Give the mask of `attention`, if it has one, the length of the queries on its last axis but one."""
        query, keys, _, mask = (*attention.inputs, None)[:4]
        lengths, between = dims(query), dims(keys)
        if query is None or keys is None or mask is None or lengths is None or between is None:
            return
        mask = self._shared(mask)
        attention.replace_input_with(3, mask)
        sizes = dims(mask)
        if sizes is not None and len(sizes) > 1 and same(sizes[-2], lengths[2]):
            return
        # As many queries as keys: the mask itself says how many, for all layers alike.
        square = same(lengths[2], between[2]) or _states(query) is _states(keys)
        key = ("Expand", mask) if square else ("Expand", mask, query)
        if key not in self._made:
            length = self._rewriter.size(*((mask, -1) if square else (query, 2)), attention)
            one = self._rewriter.constant(np.ones(1, np.int64))
            target = self._rewriter.before(attention, "Concat", [one, one, length, one], axis=0)
            self._once(key, attention, "Expand", [mask, target])
        attention.replace_input_with(3, self._made[key])

    def _shared(self, mask: ir.Value) -> ir.Value:
        """The same mask before it was cut, or cut the first time; each layer of some decoders cuts it to its keys."""
        node = made_by(mask, "Slice")
        data = node.inputs[0] if node is not None else None
        if node is None or data is None or len(node.inputs) < 4 or integers(node.inputs[1]) != [0]:
            return mask
        end, axis, sizes = known_size(node.inputs[2]), integers(node.inputs[3]), dims(data)
        if end is None or sizes is None or axis is None or len(axis) != 1 or _step(node) != 1:
            return mask
        return data if same(sizes[axis[0]], end) else self._made.setdefault(("Slice", data, end, axis[0]), mask)

    def _float(self, bias: Bias, place: ir.Node) -> ir.Value:
        value = unspread(bias.value)
        if bias.masked is None:
            return value
        numbers = [self._rewriter.constant(np.float32(number)) for number in (bias.masked, 0)]
        chosen = numbers if bias.when else numbers[::-1]
        return self._once(("Where", value, bias.masked, bias.when), place, "Where", [value, *chosen], value.shape)

    def _once(
        self,
        key: tuple[object, ...],
        place: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: ir.Shape | None = None,
    ) -> ir.Value:
        if key not in self._made:
            made = self._made[key] = self._rewriter.before(place, op_type, inputs)
            made.type, made.shape = ir.TensorType(ir.DataType.FLOAT), shape
        return self._made[key]


def _step(node: ir.Node) -> int | None:
    return known_integer(node.inputs[4]) if len(node.inputs) > 4 else 1


def unspread(value: ir.Value) -> ir.Value:
    """`value` before it was expanded: adding it to scores spreads it all the same."""
    expanded = made_by(value, "Expand")
    inner = expanded.inputs[0] if expanded is not None else None
    return inner if inner is not None else value


def _counted(value: ir.Value | None, axes: tuple[int, ...]) -> ir.Node | None:
    """The Range of the positions 0, 1, 2 ... that `value` is, with an axis of 1 at one of `axes`."""
    turned = made_by(value, "Unsqueeze")
    if turned is None or integers(turned.inputs[1]) not in [[axis] for axis in axes]:
        return None
    order = made_by(turned.inputs[0], "Range")
    return order if order is not None and [integers(one) for one in order.inputs[::2]] == [[0], [1]] else None


def _states(value: ir.Value | None) -> ir.Value | None:
    """What was projected to make queries or keys: those of self-attention come from the same states."""
    node = value.producer() if value is not None else None
    while node is not None:
        if node.op_type in ("MatMul", "Gemm"):
            return node.inputs[0]
        picked = node.op_type == "Gather" and node.inputs[1] is not None and node.inputs[1].const_value is not None
        if node.op_type not in _KEEP_LENGTH and not picked:
            break
        # The bias of a projection comes first where TorchScript wrote the sum.
        inner = [one for one in node.inputs if one is not None and not one.is_initializer()]
        node = inner[0].producer() if inner else None
    return value
