"""Rotary embeddings, halves against halves, to RotaryEmbedding (opset 23).

Cosine and sine stay what they are in float32; the operator wants only their first half, for each item of the batch:
ONNX Runtime refuses caches of one item beside a larger batch. Both are cut and spread once for all layers.

onnxscript's rule knows halves made by Slice alone, and angles doubled right before cosine and sine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .reading import attribute, dims, factor_of, integers, known_integer, made_by, operands, operators, same

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from .rewriting import Rewriter


@dataclass(frozen=True)
class _Turn:
    """``states * cosine + turned(states) * sine``, all of four axes."""

    states: ir.Value
    cosine: ir.Value
    sine: ir.Value


class Rotary:
    """The rotary embeddings of one graph."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._caches: dict[tuple[object, ...], ir.Value] = {}

    def fuse(self) -> int:
        """Fuse every one; returns how many there were."""
        found = 0
        for node in operators(self._rewriter.graph, "Add"):
            turn = next((turn for pair in operands(node) if (turn := _turn(*pair)) is not None), None)
            if turn is not None:
                (result,) = node.outputs
                caches = [self._cache(value, turn.states, node) for value in (turn.cosine, turn.sine)]
                fused = self._rewriter.before(node, "RotaryEmbedding", [turn.states, *caches], turn.states)
                self._rewriter.stand_in(result, fused)
                found += 1
        return found

    def _cache(self, value: ir.Value, states: ir.Value, place: ir.Node) -> ir.Value:
        """The first half of `value` ``[batch or 1, 1, length, dim]`` as ``[batch, length, dim / 2]``."""
        batch, sizes = (dims(states) or [None])[0], dims(value) or [None]
        halves = self._once((value,), lambda: self._half(value, place))
        if same(sizes[0], batch):
            return halves
        key = (value, batch if batch is not None else states)
        return self._once(key, lambda: self._spread(halves, states, place))

    def _once(self, key: tuple[object, ...], make: Callable[[], ir.Value]) -> ir.Value:
        if key not in self._caches:
            self._caches[key] = make()
        return self._caches[key]

    def _half(self, value: ir.Value, place: ir.Node) -> ir.Value:
        opened = made_by(value, "Unsqueeze")
        flat = opened.inputs[0] if opened is not None and integers(opened.inputs[1]) == [1] else None
        if flat is None:
            flat = self._rewriter.before(place, "Squeeze", [value, self._numbers(1)])
        half = (last_size(value) or 0) // 2
        bounds = [self._numbers(number) for number in (0, half, -1)]
        return self._rewriter.before(place, "Slice", [flat, *bounds])

    def _spread(self, halves: ir.Value, states: ir.Value, place: ir.Node) -> ir.Value:
        one = self._numbers(1)
        batch = self._rewriter.size(states, 0, place)
        target = self._rewriter.before(place, "Concat", [batch, one, one], axis=0)
        return self._rewriter.before(place, "Expand", [halves, target])

    def _numbers(self, *numbers: int) -> ir.Value:
        return self._rewriter.constant(np.array(numbers, np.int64))


def last_size(value: ir.Value | None) -> int | None:
    """The size of the last axis, if it is known."""
    sizes = dims(value)
    return sizes[-1] if sizes and isinstance(sizes[-1], int) else None


def _turn(direct: ir.Value, turned: ir.Value) -> _Turn | None:
    """What is turned by what, if the sum of the two is a rotary embedding."""
    straight, crossed = made_by(direct, "Mul"), made_by(turned, "Mul")
    if straight is None or crossed is None:
        return None
    for states, cosine in operands(straight):
        for swapped, sine in operands(crossed):
            if _is_swapped(swapped, states) and all(_is_doubled(value, states) for value in (cosine, sine)):
                return _Turn(states, cosine, sine)
    return None


def _is_swapped(value: ir.Value, states: ir.Value) -> bool:
    """Whether `value` is the second half of `states`, negative, and then the first."""
    joined = made_by(value, "Concat")
    size, rank = last_size(states), len(dims(states) or ())
    if joined is None or size is None or size % 2 or rank != 4 or len(joined.inputs) != 2:
        return False
    negated = made_by(joined.inputs[0], "Neg")
    first, second = joined.inputs[1], negated.inputs[0] if negated is not None else None
    if joined.attributes["axis"].as_int() not in (-1, rank - 1) or first is None or second is None:
        return False
    split = made_by(first, "Split")
    if split is not None:
        return _is_split_in_halves(split, states, first, second, size)
    return _bounds(first, states, rank) == (0, size // 2) and _bounds(second, states, rank) == (size // 2, size)


def _is_split_in_halves(node: ir.Node, states: ir.Value, first: ir.Value, second: ir.Value, size: int) -> bool:
    sizes = integers(node.inputs[1]) if len(node.inputs) > 1 else [size // 2] * 2
    on_last = attribute(node, "axis", 0) in (-1, 3)
    return node.inputs[0] is states and on_last and sizes == [size // 2] * 2 and node.outputs == (first, second)


def _bounds(value: ir.Value, states: ir.Value, rank: int) -> tuple[int, int] | None:
    """What part of the last axis of `states` is `value`."""
    node = made_by(value, "Slice")
    if node is None or node.inputs[0] is not states or len(node.inputs) < 4:
        return None
    start, end, axis = (known_integer(one) for one in node.inputs[1:4])
    step = known_integer(node.inputs[4]) if len(node.inputs) > 4 else 1
    size = last_size(states)
    if start is None or end is None or size is None or axis not in (-1, rank - 1) or step != 1:
        return None
    return start, min(end, size)


def _is_doubled(value: ir.Value, states: ir.Value) -> bool:
    """Whether `value` has angles for each token of `states`, alike for its heads, and two halves that are the same."""
    sizes, turned, size = dims(value), dims(states), last_size(states)
    if sizes is None or turned is None or len(sizes) != 4 or sizes[1] != 1:
        return False
    if not same(sizes[2], turned[2]) or not (sizes[0] == 1 or same(sizes[0], turned[0])):
        return False
    current: ir.Value | None = value
    while current is not None and last_size(current) == size:
        node = current.producer()
        if node is None:
            return False
        if node.op_type == "Concat":
            on_last = attribute(node, "axis", 0) in (-1, len(dims(current) or ()) - 1)
            return on_last and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
        current = _elementwise(node)
    return False


def _elementwise(node: ir.Node) -> ir.Value | None:
    """What `node` works on number by number, or only gives other axes in front of the last."""
    if node.op_type in ("Mul", "Div"):
        scaled = factor_of(node)
        return scaled[0] if scaled is not None else None
    return node.inputs[0] if node.op_type in ("Cos", "Sin", "Reshape", "Unsqueeze", "Squeeze") else None
