"""Attention by hand: every way to write it that is fused, and what looks like it and is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import dialects
from precision_graphs import Graph, rows
from smartrt.errors import ExportError
from smartrt.export.dialect.fuse import Fused, fuse
from support import message_of

HEADS, DIM = 8, 8  # alike, so that a wrong transpose still multiplies
FEEDS = {"x": 4 * rows((2, 5, HEADS * DIM))}
CLOSE = 2e-5


@dataclass(frozen=True)
class Attention:
    """How one attention is written.

    Attributes:
        perm: What turns keys, from ``[batch, length, heads, dim]`` or, turned before, ``[batch, heads, length, dim]``.
        turned: Whether keys are turned before.
        scaled: What is scaled by which operator: ``q``, ``k`` or ``scores``.
        bias: Makes what is added, or takes the scores and returns them masked.
        axis: Of the softmax.
        groups: Queries that share keys and values.
        read_twice: Whether the scores are an output too.
    """

    perm: tuple[int, ...] = (0, 1, 3, 2)
    turned: bool = True
    scaled: tuple[tuple[str, str, Any], ...] = (("scores", "Mul", DIM**-0.5),)
    bias: Callable[[Graph, ir.Value], ir.Value] | None = None
    axis: int = -1
    groups: int = 1
    read_twice: bool = False

    def build(self) -> ir.Model:
        """A graph with this attention."""
        graph = Graph()
        outputs = {"y": self.draw(graph, graph.x, "a")}
        if self.read_twice:
            outputs["seen"] = seen(graph)
        return graph.model(outputs)

    def draw(self, graph: Graph, states: ir.Value, name: str) -> ir.Value:
        query = self._heads(graph, states, f"{name}.q", HEADS, turned=True)
        keys = self._heads(graph, states, f"{name}.k", HEADS // self.groups, turned=self.turned)
        values = self._heads(graph, states, f"{name}.v", HEADS // self.groups, turned=True)
        if self.groups > 1:
            keys, values = (repeated(graph, value, self.groups) for value in (keys, values))
        query, keys = self._scale(graph, "q", query), self._scale(graph, "k", keys)
        turned = graph.node("Transpose", [keys], perm=list(self.perm))
        scores = self._scale(graph, "scores", graph.node("MatMul", [query, turned]))
        if self.bias is not None:
            scores = self.bias(graph, scores)
        scores = self._scale(graph, "masked", scores)
        mixed = graph.node("MatMul", [graph.node("Softmax", [scores], axis=self.axis), values])
        joined = graph.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        return graph.product(f"{name}.o", graph.node("Reshape", [joined, shape(graph, [0, 0, HEADS * DIM])]))

    def _heads(self, graph: Graph, states: ir.Value, name: str, heads: int, *, turned: bool) -> ir.Value:
        product = graph.product(name, states, columns=heads * DIM)
        split = graph.node("Reshape", [product, shape(graph, [0, 0, heads, DIM])])
        return graph.node("Transpose", [split], perm=[0, 2, 1, 3]) if turned else split

    def _scale(self, graph: Graph, what: str, value: ir.Value) -> ir.Value:
        for scaled, op_type, factor in self.scaled:
            if scaled == what:
                value = graph.node(
                    op_type, [value, graph.constant(f"factor_{len(graph.initializers)}", np.float32(factor))]
                )
        return value


def seen(graph: Graph) -> ir.Value:
    """Something else that is made of the first scores."""
    softmax = next(node for node in graph.nodes if node.op_type == "Softmax")
    return graph.node("ReduceSum", [softmax.inputs[0], shape(graph, [1])], keepdims=0)


def shape(graph: Graph, sizes: list[int]) -> ir.Value:
    return graph.constant(f"shape_{len(graph.initializers)}", np.array(sizes, np.int64))


def repeated(graph: Graph, value: ir.Value, groups: int) -> ir.Value:
    opened = graph.node("Unsqueeze", [value, shape(graph, [2])])
    spread = graph.node("Expand", [opened, shape(graph, [1, 1, groups, 1, 1])])
    batch, length = (graph.node("Shape", [value], start=axis, end=axis + 1) for axis in (0, 2))
    merged = graph.node("Concat", [batch, shape(graph, [HEADS]), length, shape(graph, [DIM])], axis=0)
    return graph.node("Reshape", [spread, merged])


def order(graph: Graph, axis: int) -> ir.Value:
    """``0, 1, 2 ...`` for the length, with an axis of 1 put at `axis`."""
    if "length" not in graph.initializers:
        zero, one = (graph.constant(name, np.array(number, np.int64)) for number, name in enumerate(("zero", "length")))
        size = graph.node("Gather", [graph.node("Shape", [graph.x]), one], axis=0)
        graph.node("Range", [zero, size, one], "order")
    found = next(node.outputs[0] for node in graph.nodes if node.name == "order")
    return graph.node("Unsqueeze", [found, shape(graph, [axis])])


def triangle(op_type: str, *, keys_first: bool = True, seen: bool = True, masked: float = -30000.0) -> Any:
    """Scores plus a triangular bias: what is compared, which way round, and whether that is what is seen."""

    def add(graph: Graph, scores: ir.Value) -> ir.Value:
        keys, queries = order(graph, 0), order(graph, 1)
        condition = graph.node(op_type, [keys, queries] if keys_first else [queries, keys])
        numbers = [graph.constant("seen", np.float32(0)), graph.constant("masked", np.float32(masked))]
        bias = graph.node("Where", [condition, *(numbers if seen else numbers[::-1])])
        return graph.node("Add", [bias, scores])

    return add


def padding(graph: Graph, scores: ir.Value) -> ir.Value:
    """Hides the third key, ``[1, 1, 1, length]``."""
    hidden = graph.node("Equal", [order(graph, 0), shape(graph, [2])])
    bias = graph.node("Mul", [graph.node("Cast", [hidden], to=1), graph.constant("low", np.float32(-1e9))])
    return graph.node("Add", [scores, graph.node("Unsqueeze", [bias, shape(graph, [0, 1])])])


def masked_scores(graph: Graph, scores: ir.Value) -> ir.Value:
    """Puts a low number in place of what the third key gets, through a condition of the scores' shape."""
    hidden = graph.node("Equal", [order(graph, 0), shape(graph, [2])])
    spread = graph.node("Expand", [hidden, graph.node("Shape", [scores])])
    return graph.node("Where", [spread, graph.constant("low", np.float32(-3.4028235e38)), scores])


def by_head(graph: Graph, scores: ir.Value) -> ir.Value:
    slopes = graph.constant("slopes", np.linspace(-1, 1, HEADS, dtype=np.float32).reshape(1, HEADS, 1, 1))
    distance = graph.node("Cast", [graph.node("Sub", [order(graph, 0), order(graph, 1)])], to=1)
    return graph.node("Add", [scores, graph.node("Mul", [slopes, distance])])


def both(*biases: Callable[[Graph, ir.Value], ir.Value]) -> Callable[[Graph, ir.Value], ir.Value]:
    def add(graph: Graph, scores: ir.Value) -> ir.Value:
        for bias in biases:
            scores = bias(graph, scores)
        return scores

    return add


FUSED = {
    "plain": Attention(),
    "keys split and turned in one": Attention(perm=(0, 2, 3, 1), turned=False),
    "divided": Attention(scaled=(("scores", "Div", DIM**0.5),)),
    "queries scaled": Attention(scaled=(("q", "Mul", 0.4),)),
    "queries and keys scaled": Attention(scaled=(("q", "Mul", 0.6), ("k", "Div", 1.7))),
    "scaled thrice": Attention(scaled=(("q", "Mul", 0.6), ("q", "Mul", 0.5), ("scores", "Mul", 1.3))),
    "not scaled": Attention(scaled=()),
    "padding": Attention(bias=padding),
    "scores replaced": Attention(bias=masked_scores),
    "a bias by head": Attention(bias=by_head),
    "two biases": Attention(bias=both(by_head, padding)),
    "causal and padding": Attention(bias=both(triangle("LessOrEqual"), padding)),
    "keys before queries hidden": Attention(bias=triangle("GreaterOrEqual")),
    "strictly before": Attention(bias=triangle("Less")),
    "from the diagonal on hidden": Attention(bias=triangle("GreaterOrEqual", seen=False, masked=-20000.0)),
    "hardly hidden": Attention(bias=triangle("LessOrEqual", masked=-2.0)),
    "groups": Attention(groups=2),
    "groups that hide the future": Attention(groups=4, bias=triangle("LessOrEqual")),
}
CAUSAL = {
    "less or equal": triangle("LessOrEqual"),
    "greater or equal, queries first": triangle("GreaterOrEqual", keys_first=False),
    "greater is hidden": triangle("Greater", seen=False),
    "less is hidden, queries first": triangle("Less", keys_first=False, seen=False),
}
OTHER = {
    "the scores are read twice": Attention(read_twice=True),
    "keys turned another way": Attention(perm=(0, 3, 2, 1), turned=False),
    "a factor for each head": Attention(scaled=(("scores", "Mul", np.linspace(1, 2, HEADS).reshape(HEADS, 1, 1)),)),
    "scaled with its bias": Attention(bias=by_head, scaled=(("masked", "Mul", 0.5),)),
    "a negative factor": Attention(scaled=(("scores", "Mul", -0.5),)),
    "a softmax over queries": Attention(axis=2),
}


def fused(model: ir.Model) -> tuple[ir.Model, Fused]:
    """A fused copy, found right on the way."""
    copy = model.clone()
    counts = fuse(copy)
    dialects.check(copy)
    assert dialects.difference(model, copy, FEEDS) <= CLOSE
    assert dialects.difference(model, copy, {"x": FEEDS["x"][:1, :1]}) <= CLOSE
    return copy, counts


@pytest.mark.parametrize("name", FUSED)
def test_attention_is_fused_however_it_is_written(name: str) -> None:
    model, counts = fused(FUSED[name].build())
    expected = 1 if name == "groups that hide the future" else 0
    assert (counts.attention, counts.causal, counts.softmaxes) == (1, expected, 0)
    node = next(node for node in model.graph if node.op_type == "Attention")
    assert {value.shape[1] for value in node.inputs[1:3]} == {HEADS // FUSED[name].groups}
    assert not {"Softmax", "Div"} & set(dialects.operators(model))


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_bias_becomes_an_attribute(name: str) -> None:
    model, counts = fused(Attention(bias=CAUSAL[name]).build())
    assert (counts.attention, counts.causal) == (1, 1)
    assert not {"Where", "Range", "Expand"} & set(dialects.operators(model))


@pytest.mark.parametrize("name", OTHER)
def test_what_only_looks_like_attention_stays_as_it_is_beside_one_that_is(name: str) -> None:
    graph = Graph()
    odd = OTHER[name].draw(graph, graph.x, "odd")
    outputs = {"y": Attention().draw(graph, odd, "even")}
    if OTHER[name].read_twice:
        outputs["seen"] = seen(graph)
    _, counts = fused(graph.model(outputs))
    assert (counts.attention, counts.softmaxes) == (1, 1)


@pytest.mark.parametrize("name", OTHER)
def test_a_graph_of_nothing_else_is_refused(name: str) -> None:
    with pytest.raises(ExportError) as caught:
        fuse(OTHER[name].build())
    message_of(caught.value, "--dialect portable")


def test_weights_are_not_read() -> None:
    model = Attention().build()

    def refuse() -> ir.TensorProtocol:
        raise AssertionError("a weight was read")

    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > 1024:
            value.const_value = ir.LazyTensor(refuse, dtype=tensor.dtype, shape=ir.Shape(tensor.shape), name=name)
    assert fuse(model).attention == 1


def test_a_result_that_is_an_output_keeps_its_name() -> None:
    graph = Graph()
    last = Attention().draw(graph, graph.x, "a").producer()
    mixed = next(node.outputs[0] for node in graph.nodes[::-1] if node.op_type == "MatMul" and node is not last)
    model = graph.model({"y": mixed})
    mixed.shape = None
    copy, _ = fused(model)
    assert [value.name for value in copy.graph.outputs] == ["y"]


def pieces(cuts: list[tuple[int, int]], biases: tuple[Any, ...] = ()) -> ir.Model:
    """Heads taken a few at a time: `cuts` are the first and the one behind the last of each piece."""
    graph, part = Graph(), replace(Attention(), scaled=())
    query, keys, values = (part._heads(graph, graph.x, name, HEADS, turned=True) for name in "qkv")
    query = graph.node("Mul", [query, graph.constant("scale", np.float32(0.4))])
    done = []
    for number, (first, last) in enumerate(cuts):
        bounds = [shape(graph, [first]), shape(graph, [last]), shape(graph, [1]), shape(graph, [1])]
        taken = [graph.node("Slice", [value, *bounds]) for value in (query, keys, values)]
        scores = graph.node("MatMul", [taken[0], graph.node("Transpose", [taken[1]], perm=[0, 1, 3, 2])])
        scores = biases[number](graph, scores) if biases else scores
        done.append(graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), taken[2]]))
    joined = graph.node("Transpose", [graph.node("Concat", done, axis=1)], perm=[0, 2, 1, 3])
    heads = sum(last - first for first, last in cuts)
    flat = graph.node("Reshape", [joined, shape(graph, [0, 0, heads * DIM])])
    return graph.model({"y": graph.product("o", flat, rows=heads * DIM)})


@pytest.mark.parametrize("cuts", [[(0, 2), (2, 4), (4, 6), (6, 8)], [(0, 3), (3, 8)]], ids=["twos", "uneven"])
def test_heads_taken_a_few_at_a_time_become_one_attention(cuts: list[tuple[int, int]]) -> None:
    model, counts = fused(pieces(cuts))
    assert counts.attention == 1
    assert not {"Slice", "Concat", "Mul"} & set(dialects.operators(model))


NOT_ALL = {
    "one is left out": ([(0, 2), (2, 4), (4, 7)], ()),
    "one is taken twice": ([(0, 5), (4, 8)], ()),
    "in another order": ([(4, 8), (0, 4)], ()),
    "with other masks": ([(0, 4), (4, 8)], (padding, triangle("LessOrEqual"))),
}


@pytest.mark.parametrize("name", NOT_ALL)
def test_heads_that_are_not_all_and_alike_stay_apart(name: str) -> None:
    model = pieces(*NOT_ALL[name])
    copy, counts = fused(model)
    assert counts.attention == len(NOT_ALL[name][0])
    assert dialects.operators(copy)["Concat"] >= 1
