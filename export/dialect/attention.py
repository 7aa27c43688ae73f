"""``softmax(scale * q k^T + bias) v`` to Attention (opset 23), one node a softmax.

Starts at the softmax, walks back to the product of queries with keys and on to the one with values. What it does not
know it leaves as it is. `heads` then takes into the new nodes what stands around them, and `masks` gives their masks
the shape that engines want.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from .masks import ABSORBING, Bias
from .reading import Dim, attribute, dims, factor_of, made_by, operands, operators, same, scalar, sole_reader

if TYPE_CHECKING:
    from .masks import Masks
    from .rewriting import Rewriter

_TURNED, _SPLIT_AND_TURNED = (0, 1, 3, 2), (0, 2, 3, 1)
"""To ``[batch, heads, dim, length]`` from keys ``[batch, heads, length, dim]``, and ``[batch, length, heads, dim]``."""


@dataclass(frozen=True)
class _Scores:
    """``factor * product + biases``."""

    product: ir.Node
    factor: float = 1.0
    biases: tuple[Bias, ...] = ()


@dataclass(frozen=True)
class _Parts:
    """What one Attention node is made of: `mixing` is the product whose result it makes, `sizes` are the scores'."""

    query: ir.Value
    keys: ir.Value
    values: ir.Value
    scores: _Scores
    mixing: ir.Node
    sizes: list[Dim]


def fuse_attention(rewriter: Rewriter, masks: Masks) -> int:
    """Fuse every attention of four-dimensional queries, keys and values; returns how many there were."""
    found = 0
    for softmax in operators(rewriter.graph, "Softmax"):
        parts = _parts(rewriter, softmax)
        if parts is not None:
            _fuse(rewriter, masks, parts)
            found += 1
    return found


def _fuse(rewriter: Rewriter, masks: Masks, parts: _Parts) -> None:
    biases, (result,) = parts.scores.biases, parts.mixing.outputs
    causal = len(biases) == 1 and biases[0].is_causal(parts.sizes)
    mask = [] if causal or not biases else [masks.sum(biases, parts.mixing)]
    causality = {"is_causal": 1} if causal else {}
    inputs = [parts.query, parts.keys, parts.values, *mask]
    fused = rewriter.before(parts.mixing, "Attention", inputs, result, scale=parts.scores.factor, **causality)
    rewriter.stand_in(result, fused)


def _parts(rewriter: Rewriter, softmax: ir.Node) -> _Parts | None:
    weights = softmax.outputs[0]
    mixing = sole_reader(weights)
    if mixing is None or mixing.op_type != "MatMul" or mixing.inputs[0] is not weights:
        return None
    if attribute(softmax, "axis", -1) not in (-1, 3) or len(dims(weights) or ()) != 4:
        return None
    scores = _scores(softmax.inputs[0])
    if scores is None or scores.factor <= 0:
        return None
    (query, turned), values = scores.product.inputs, mixing.inputs[1]
    turn = made_by(turned, "Transpose")
    keys = turn.inputs[0] if turn is not None else None
    if query is None or turn is None or keys is None or values is None:
        return None
    perm = tuple(turn.attributes.get_ints("perm", ()))
    sizes = dims(keys)
    if perm not in (_TURNED, _SPLIT_AND_TURNED) or sizes is None or len(sizes) != 4:
        return None
    if perm == _SPLIT_AND_TURNED:
        sizes = [sizes[0], sizes[2], sizes[1], sizes[3]]
    asking = dims(query)
    if asking is None or not _fit(asking, sizes, dims(values)):
        return None
    spread = [*asking[:3], sizes[2]]
    if not all(bias.fits(spread) for bias in scores.biases):
        return None
    if perm == _SPLIT_AND_TURNED:
        keys = rewriter.before(scores.product, "Transpose", [keys], perm=[0, 2, 1, 3])
        keys.type, keys.shape = query.type, ir.Shape(sizes)
    return _Parts(query, keys, values, scores, mixing, spread)


def _scores(value: ir.Value | None) -> _Scores | None:
    """Walk from what a softmax takes back to the product of two activations."""
    node = value.producer() if value is not None and sole_reader(value) is not None else None
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "MatMul":
        return _Scores(node) if not any(one is None or one.is_initializer() for one in node.inputs) else None
    if node.op_type in ("Mul", "Div"):
        scaled = factor_of(node)
        inner = _scores(scaled[0]) if scaled is not None else None
        if scaled is None or inner is None or inner.biases:
            return None
        return _Scores(inner.product, inner.factor * scaled[1])
    for rest, bias in _apart(node):
        inner = _scores(rest)
        if inner is not None and _follows(bias, inner.biases):
            return _Scores(inner.product, inner.factor, (*inner.biases, bias))
    return None


def _follows(bias: Bias, earlier: tuple[Bias, ...]) -> bool:
    """Whether one sum is the same as `earlier` and then `bias`.

    What is added to scores that were replaced could bring them back, and of two numbers in their place one is larger.
    """
    numbers = {one.masked for one in earlier if one.masked is not None}
    return not numbers or numbers == {bias.masked}


def _apart(node: ir.Node) -> list[tuple[ir.Value | None, Bias]]:
    """The ways to see `node` as scores and what is added to them."""
    if node.op_type == "Add":
        return [(rest, Bias(bias)) for rest, bias in operands(node)]
    condition, chosen, other = node.inputs if node.op_type == "Where" else (None, None, None)
    if condition is None:
        return []
    for masked, rest, when in ((chosen, other, True), (other, chosen, False)):
        number = scalar(masked)
        if number is not None and number <= ABSORBING:
            return [(rest, Bias(condition, number, when))]
    return []


def _fit(query: list[Dim], keys: list[Dim], values: list[Dim] | None) -> bool:
    """Whether the product multiplies batch by batch and head by head, or shares heads as Attention does."""
    if values is None or not len(query) == len(keys) == len(values) == 4:
        return False
    heads = same(query[1], keys[1]) or keys[1] == 1
    batches = same(query[0], keys[0]) and same(keys[0], values[0])
    return heads and batches and same(keys[1], values[1]) and same(keys[2], values[2])
