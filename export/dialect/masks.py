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

from .reading import dims, integers, known_size, made_by, same, scalar
from .sizes import broadcast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reading import Dim
    from .rewriting import Rewriter

_MASKED = -1e4
"""Scores that this much or more is taken from count for nothing beside others: ``exp(-1e4)`` is 0 in float32."""

ABSORBING = -1e30
"""A score added to this or less is lost in float32: adding it is the same as putting it in the place of a score.

Above it the two differ where every key of a query is hidden: all alike there, a softmax of the scores here.
"""

_LEAST = -1e38
"""What is lower becomes this. Batches are filled up with items of padding, whose queries see no key at all: they must
give finite numbers, and the ones they gave before, as if all keys were alike. float32's lowest number does not ensure
that: two of it are infinite, kernels that compute powers of 2 multiply it by 1.44, and ONNX Runtime makes zeros of it.
"""

_SEEN_IF = {("LessOrEqual", True): (0, 1), ("GreaterOrEqual", True): (1, 0), ("Greater", False): (0, 1),
            ("Less", False): (1, 0)}  # fmt: skip
"""By comparison, and by whether it holds where a key is seen: which inputs are the key's and the query's position."""


@dataclass(frozen=True)
class Bias:
    """What is added to scores: `value`; or `masked`, in place of them, where `value` is the condition `when`."""

    value: ir.Value
    masked: float | None = None
    when: bool = True

    def fits(self, scores: Sequence[Dim]) -> bool:
        """Whether it spreads to the shape of `scores`, never the other way round, and has a number for each key."""
        sizes, own = dims(self.value), dims(unspread(self.value))
        if not sizes or not own or len(sizes) > len(scores) or not same(own[-1], scores[-1]):
            return False
        return all(size == 1 or same(size, other) for size, other in zip(sizes[::-1], scores[::-1], strict=False))

    def is_causal(self, scores: Sequence[Dim]) -> bool:
        """Whether it hides from each query the keys behind it, and nothing else."""
        condition, seen = self._condition()
        compared = made_by(condition, "LessOrEqual", "GreaterOrEqual", "Greater", "Less")
        if compared is None or (compared.op_type, seen) not in _SEEN_IF:
            return False
        keys, queries = (compared.inputs[place] for place in _SEEN_IF[compared.op_type, seen])
        order = _counted(keys, (0,))
        if order is None or _counted(queries, (1, -1)) is not order:
            return False
        return all(same(length, known_size(order.inputs[1])) for length in scores[-2:])

    def _condition(self) -> tuple[ir.Value | None, bool]:
        """What is compared to mask, and whether it holds where a key is seen."""
        if self.masked is not None:
            return self.value, not self.when
        chosen = made_by(self.value, "Where")
        numbers = [scalar(one) for one in chosen.inputs[1:]] if chosen is not None else []
        for place, number in enumerate(numbers):
            if chosen is not None and number is not None and number <= _MASKED and numbers[1 - place] == 0:
                return chosen.inputs[0], place == 1
        return None, True


class Masks:
    """The masks of one graph; the same mask is made once, in front of the first node that reads it."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._made: dict[tuple[object, ...], ir.Value] = {}
        self._spread: dict[tuple[ir.Value | None, ...], ir.Value] = {}

    def sum(self, biases: Sequence[Bias], place: ir.Node) -> ir.Value:
        """One float value that is all of `biases` together, those nearest to the product first."""
        least, total = self._rewriter.constant(np.float32(_LEAST)), None
        for bias in biases:
            value = unspread(bias.value)
            if bias.masked is None:
                added = self._once(place, "Max", [value, least])
                total = self._once(place, "Add", [total, added]) if total is not None else added
            else:  # in the place of what was added before, as it was in the place of scores
                masked = self._rewriter.constant(np.float32(max(bias.masked, _LEAST)))
                rest = total if total is not None else self._rewriter.constant(np.float32(0))
                total = self._once(place, "Where", [value, *((masked, rest) if bias.when else (rest, masked))])
        if total is None:
            raise ValueError("no bias was given")
        return total

    def spread(self, attention: ir.Node) -> None:
        """Give the mask of `attention`, if it has one, the length of the queries on its last axis but one."""
        query, keys, _, mask = (*attention.inputs, None)[:4]
        lengths, between = dims(query), dims(keys)
        if query is None or keys is None or mask is None or lengths is None or between is None:
            return
        sizes = dims(mask)
        if sizes is not None and len(sizes) > 1 and same(sizes[-2], lengths[2]):
            return
        # As many queries as keys: the mask itself says how many, for all layers alike.
        square = same(lengths[2], between[2])
        key = (mask, None if square else query)
        if key not in self._spread:
            length = self._rewriter.size(*((mask, -1) if square else (query, 2)), attention)
            one = self._rewriter.constant(np.ones(1, np.int64))
            target = self._rewriter.before(attention, "Concat", [one, one, length, one], axis=0)
            self._spread[key] = self._rewriter.before(attention, "Expand", [mask, target])
        attention.replace_input_with(3, self._spread[key])

    def _once(self, place: ir.Node, op_type: str, inputs: Sequence[ir.Value]) -> ir.Value:
        key = (op_type, *inputs)
        if key not in self._made:
            made = self._made[key] = self._rewriter.before(place, op_type, inputs)
            shapes = [dims(value) for value in inputs]
            known = [shape for shape in shapes if shape is not None]
            made.shape = ir.Shape(broadcast(known)) if len(known) == len(shapes) else None
            made.type = ir.TensorType(ir.DataType.FLOAT)
        return self._made[key]


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
