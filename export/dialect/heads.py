"""What stands around Attention nodes and is theirs: heads taken a few at a time, repeated keys, scaled queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from .reading import dims, factor_of, integers, made_by, operators, same, sole_reader

if TYPE_CHECKING:
    from .rewriting import Rewriter

_QUERY, _KEYS, _VALUES = 0, 1, 2


def join_heads(rewriter: Rewriter) -> int:
    """Make one Attention of those that each take some heads of the same queries, keys and values.

    Returns:
        How many nodes fewer there are.
    """
    fewer = 0
    for node in operators(rewriter.graph, "Concat"):
        parts = [made_by(value, "Attention") for value in node.inputs]
        if len(parts) < 2 or node.attributes["axis"].as_int() not in (1, -3):
            continue
        pieces = [part for part in parts if part is not None and sole_reader(part.outputs[0]) is node]
        whole = _whole(pieces) if len(pieces) == len(parts) and _alike(pieces) and _for_all_heads(pieces[0]) else None
        if whole is not None:
            (result,), first = node.outputs, pieces[0]
            inputs = [*whole, *first.inputs[3:]]
            attributes = {name: one.value for name, one in first.attributes.items() if isinstance(one, ir.Attr)}
            rewriter.stand_in(result, rewriter.before(node, "Attention", inputs, result, **attributes))
            rewriter.graph.remove([node, *pieces], safe=True)
            fewer += len(pieces) - 1
    return fewer


def drop_repeats(rewriter: Rewriter) -> None:
    """Let Attention read each head of keys and values once: it shares them among queries by itself."""
    for node in operators(rewriter.graph, "Attention"):
        keys, values = (_unrepeated(node.inputs[place]) for place in (_KEYS, _VALUES))
        if keys is None or values is None:
            continue
        heads = [(dims(value) or [None, None])[1] for value in (keys, values)]
        if heads[0] == heads[1] or not all(isinstance(number, int) for number in heads):
            for place, value in ((_KEYS, keys), (_VALUES, values)):
                _ask_before(node.inputs[place], value)
                node.replace_input_with(place, value)


def absorb_factors(rewriter: Rewriter) -> None:
    """Move what queries and keys are scaled by into the attribute `scale`."""
    for node in operators(rewriter.graph, "Attention"):
        scale = node.attributes["scale"].as_float()
        for place in (_QUERY, _KEYS):
            made = made_by(node.inputs[place], "Mul", "Div")
            while made is not None and (scaled := factor_of(made)) is not None and scaled[1] > 0:
                scale *= scaled[1]
                node.replace_input_with(place, scaled[0])
                made = made_by(scaled[0], "Mul", "Div")
        node.attributes["scale"] = ir.AttrFloat32("scale", scale)


def _alike(pieces: list[ir.Node]) -> bool:
    """Whether they differ in nothing but queries, keys and values."""
    kinds = {tuple(sorted((name, one.value) for name, one in node.attributes.items())) for node in pieces}
    return len(kinds) == 1 and len({node.inputs[3:] for node in pieces}) == 1


def _for_all_heads(piece: ir.Node) -> bool:
    """Whether the mask of `piece`, if it has one, is the same for each of its heads."""
    sizes = dims(piece.inputs[3]) if len(piece.inputs) > 3 else []
    return sizes is not None and (len(sizes) < 3 or sizes[-3] == 1)


def _whole(pieces: list[ir.Node]) -> list[ir.Value] | None:
    """Queries, keys and values of all heads, if `pieces` cut all three at the same heads and leave none out."""
    found: list[ir.Value] = []
    cuts: set[tuple[tuple[int, int], ...]] = set()
    for place in (_QUERY, _KEYS, _VALUES):
        slices = [_slice(node.inputs[place]) for node in pieces]
        known = [one for one in slices if one is not None]
        if len(known) != len(pieces) or any(one[0] is not known[0][0] for one in known):
            return None
        sizes = dims(known[0][0])
        heads = sizes[1] if sizes is not None and len(sizes) == 4 else None
        ends = [one[2] for one in known]
        if not isinstance(heads, int) or ends[-1] < heads or [one[1] for one in known] != [0, *ends[:-1]]:
            return None
        found.append(known[0][0])
        cuts.add(tuple((one[1], min(one[2], heads)) for one in known))
    return found if len(cuts) == 1 else None


def _slice(value: ir.Value | None) -> tuple[ir.Value, int, int] | None:
    """What `value` is some heads of, the first and the one behind the last."""
    node = made_by(value, "Slice")
    if node is None or node.inputs[0] is None or len(node.inputs) < 4:
        return None
    starts, ends, axes = (integers(one) for one in node.inputs[1:4])
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else [1]
    if starts is None or ends is None or len(starts) != 1 or axes not in ([1], [-3]) or steps != [1]:
        return None
    return (node.inputs[0], starts[0], ends[0]) if 0 <= starts[0] < ends[0] else None


def _unrepeated(value: ir.Value | None) -> ir.Value | None:
    """Heads before each was repeated for a group of queries: ``[batch, heads, 1, length, dim]`` expanded and merged."""
    merged = made_by(value, "Reshape")
    expanded = made_by(merged.inputs[0], "Expand") if merged is not None else None
    opened = made_by(expanded.inputs[0], "Unsqueeze") if expanded is not None else None
    before, after = (dims(opened.outputs[0]), dims(value)) if opened is not None else (None, None)
    if opened is None or before is None or after is None or (len(before), len(after)) != (5, 4):
        return None
    if integers(opened.inputs[1]) not in ([2], [-3]):
        return None
    # All but the heads are as they were, so heads and groups were merged, in this order.
    unchanged = same(before[0], after[0]) and same(before[3], after[2]) and same(before[4], after[3])
    return opened.inputs[0] if unchanged else None


def _ask_before(value: ir.Value | None, heads: ir.Value) -> None:
    """Let those who want a size of repeated heads, and not their number, ask for it before the repetition."""
    for use in list(value.uses()) if value is not None else []:
        asked = use.node
        places = [integers(reader.inputs[1]) for reader in asked.outputs[0].consumers() if reader.op_type == "Gather"]
        only = asked.op_type == "Shape" and len(places) == len(asked.outputs[0].uses())
        if only and all(place in ([0], [2], [3]) for place in places):
            asked.replace_input_with(0, heads)
