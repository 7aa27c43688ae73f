"""Norms, rotary embeddings and GELUs by hand: every way to write them that is fused, and near misses that are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

import dialects
from precision_graphs import WIDTH, Graph, rows
from smartrt.export.dialect.gelu import fuse_gelus
from smartrt.export.dialect.norms import fuse_norms
from smartrt.export.dialect.rewriting import Rewriter
from smartrt.export.dialect.rotary import Rotary
from smartrt.export.dialect.tidying import tidy
from smartrt.export.precision.opset import raise_opset

HEADS, DIM = 4, WIDTH // 4
Draw = Callable[[Graph], ir.Value]


def number(graph: Graph, value: Any) -> ir.Value:
    return graph.constant(f"constant_{len(graph.initializers)}", np.asarray(value))


def scalar(graph: Graph, value: float) -> ir.Value:
    return number(graph, np.float32(value))


def fused(draw: Draw, fuse: Callable[[Rewriter], int]) -> tuple[ir.Model, int]:
    """What became of a graph, found right on the way, and how much of it was fused."""
    graph = Graph()
    model = graph.model({"y": draw(graph)})
    copy = model.clone()
    rewriter = Rewriter(copy)
    tidy(copy, rewriter)
    raise_opset(copy, 23)
    count = fuse(rewriter)
    dialects.check(copy)
    for batch in (1, 3):
        assert dialects.difference(model, copy, {"x": rows((batch, 5, WIDTH))}) <= 1e-6
    return copy, count


# RMS norms.


def norm(inverse: str = "Reciprocal", axes: Sequence[int] = (-1,), weight: Any = None, power: float = 2.0) -> Draw:
    def draw(graph: Graph) -> ir.Value:
        square = graph.node("Pow", [graph.x, scalar(graph, power)])
        mean = graph.node("ReduceMean", [square, number(graph, np.array(axes, np.int64))], keepdims=1)
        root = graph.node("Sqrt", [graph.node("Add", [mean, scalar(graph, 1e-6)])])
        if inverse == "x over the root":
            normed = graph.node("Div", [graph.x, root])
        else:
            inputs = [scalar(graph, 1), root] if inverse == "Div" else [root]
            normed = graph.node("Mul", [graph.x, graph.node(inverse, inputs)])
        numbers = np.linspace(1, 2, WIDTH, dtype=np.float32) if weight is None else weight
        return graph.node("Mul", [number(graph, numbers), normed])

    return draw


@pytest.mark.parametrize("inverse", ["Reciprocal", "Div", "x over the root"])
def test_an_rms_norm_is_fused_however_it_divides(inverse: str) -> None:
    model, count = fused(norm(inverse), fuse_norms)
    assert count == dialects.operators(model)["RMSNormalization"] == 1


NO_NORMS = {
    "over the length": norm(axes=[1]),
    "over both axes": norm(axes=[1, 2]),
    "of cubes": norm(power=4.0),
    "a weight for each token": norm(weight=np.linspace(1, 2, 5, dtype=np.float32).reshape(5, 1)),
    "one weight": norm(weight=np.float32(2)),
}


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_is_no_rms_norm_of_the_last_axis_stays(name: str) -> None:
    assert fused(NO_NORMS[name], fuse_norms)[1] == 0


def test_a_weight_for_an_axis_of_unknown_size_may_be_spread_and_stays() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
        tiny (float[batch, length, wide] x, float[4] weight) => (float[batch, length, m] y)
        <float epsilon = {1.0e-6}, float two = {2.0}, int64[1] axis = {-1}> {
            square = Pow (x, two)  mean = ReduceMean (square, axis)  total = Add (mean, epsilon)
            root = Sqrt (total)  normed = Div (x, root)  y = Mul (normed, weight) }"""
    model = ir.from_proto(parser.parse_model(text))
    rewriter = Rewriter(model)
    tidy(model, rewriter)
    assert fuse_norms(rewriter) == 0


# Rotary embeddings.


def rotation(
    *,
    slices: bool = False,
    doubled: bool = True,
    sign: str = "Neg",
    batch: bool = True,
    length: bool = True,
    scaling: float = 1.0,
) -> Draw:
    """Angles that depend on the token, of each item or of the first; of each token or of the first."""

    def draw(graph: Graph) -> ir.Value:
        split = graph.node("Reshape", [graph.x, number(graph, np.array([0, 0, HEADS, DIM], np.int64))])
        states = graph.node("Transpose", [split], perm=[0, 2, 1, 3])
        halves = [_part(graph, graph.x, 2, first, first + DIM // 2) for first in (0, 0 if doubled else DIM)]
        if not batch:
            halves[0] = _part(graph, halves[0], 0, 0, 1)
        if not length:
            halves[0] = _part(graph, halves[0], 1, 0, 1)
        if doubled:
            halves[1] = halves[0]
        angles = graph.node("Concat", halves, axis=-1)
        opened = graph.node("Unsqueeze", [angles, number(graph, np.array([1], np.int64))])
        cosine, sine = (
            graph.node("Mul", [graph.node(kind, [opened]), scalar(graph, scaling)]) for kind in ("Cos", "Sin")
        )
        if slices:
            first, second = (_part(graph, states, 3, at, at + DIM // 2) for at in (0, DIM // 2))
        else:
            node = ir.node("Split", [states], {"axis": 3, "num_outputs": 2}, num_outputs=2, name="halves")
            first, second = node.outputs
            first.name, second.name = "first", "second"
            graph.nodes.append(node)
        swapped = graph.node("Concat", [graph.node(sign, [second]), first], axis=-1)
        turned = graph.node("Add", [graph.node("Mul", [states, cosine]), graph.node("Mul", [swapped, sine])])
        back = graph.node("Transpose", [turned], perm=[0, 2, 1, 3])
        return graph.node("Reshape", [back, number(graph, np.array([0, 0, WIDTH], np.int64))])

    return draw


def _part(graph: Graph, value: ir.Value, axis: int, first: int, last: int) -> ir.Value:
    return graph.node("Slice", [value, *(number(graph, np.array([n], np.int64)) for n in (first, last, axis))])


ROTARY = {
    "split": rotation(),
    "sliced": rotation(slices=True),
    "scaled": rotation(scaling=0.7),
    "one item's angles for all": rotation(batch=False),
}
NO_ROTARY = {
    "two kinds of angles": rotation(doubled=False),
    "no negative half": rotation(sign="Abs"),
    "one angle for all tokens": rotation(length=False),
}


@pytest.mark.parametrize("name", ROTARY)
def test_a_rotary_embedding_is_fused_with_caches_for_each_item(name: str) -> None:
    model, count = fused(ROTARY[name], lambda rewriter: Rotary(rewriter).fuse())
    assert count == dialects.operators(model)["RotaryEmbedding"] == 1


@pytest.mark.parametrize("name", NO_ROTARY)
def test_what_is_no_rotation_stays(name: str) -> None:
    assert fused(NO_ROTARY[name], lambda rewriter: Rotary(rewriter).fuse())[1] == 0


# GELUs.


def gelu(order: str = "(x * half) * e", root: float = 2**0.5, half: float = 0.5, one: float = 1.0) -> Draw:
    def draw(graph: Graph) -> ir.Value:
        inner = graph.node("Erf", [graph.node("Div", [graph.x, scalar(graph, root)])])
        added = graph.node("Add", [inner, scalar(graph, one)])
        factor = scalar(graph, half)
        if order == "(x * half) * e":
            return graph.node("Mul", [graph.node("Mul", [graph.x, factor]), added])
        if order == "x * (half * e)":
            return graph.node("Mul", [graph.x, graph.node("Mul", [factor, added])])
        return graph.node("Mul", [graph.node("Mul", [graph.x, added]), factor])

    return draw


def tanh(coefficient: float = 0.044715) -> Draw:
    def draw(graph: Graph) -> ir.Value:
        cube = graph.node("Mul", [scalar(graph, coefficient), graph.node("Pow", [graph.x, scalar(graph, 3)])])
        inner = graph.node("Mul", [scalar(graph, (2 / np.pi) ** 0.5), graph.node("Add", [graph.x, cube])])
        added = graph.node("Add", [graph.node("Tanh", [inner]), scalar(graph, 1)])
        return graph.node("Mul", [graph.x, graph.node("Mul", [scalar(graph, 0.5), added])])

    return draw


GELUS = {order: gelu(order) for order in ("(x * half) * e", "x * (half * e)", "(x * e) * half")} | {"tanh": tanh()}
NO_GELUS = {"another root": gelu(root=1.5), "not halved": gelu(half=0.6), "no one": gelu(one=0.5), "a cube": tanh(0.05)}


@pytest.mark.parametrize("name", GELUS)
def test_a_gelu_is_fused_in_every_order(name: str) -> None:
    model, count = fused(GELUS[name], fuse_gelus)
    assert count == 1
    assert dialects.operators(model)["Gelu"] == 1


@pytest.mark.parametrize("name", NO_GELUS)
def test_what_is_no_gelu_stays(name: str) -> None:
    assert fused(NO_GELUS[name], fuse_gelus)[1] == 0
