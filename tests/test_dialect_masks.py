"""Masks, cut queries and shared heads that ONNX's Attention could take otherwise than a graph means them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

import dialects
from smartrt.export.dialect.fuse import fuse

BATCH, HEADS, LENGTH, DIM = 2, 4, 6, 8
CLOSE = 2e-6

SCORES = "turned = Transpose <perm = [0, 1, 3, 2]> (k)  product = MatMul (q, turned)  s = Mul (product, scale)"
MIXED = "weights = Softmax (masked)  y = MatMul (weights, v)"
PLAIN = """
    plain_turned = Transpose <perm = [0, 1, 3, 2]> (b)  plain_product = MatMul (a, plain_turned)
    plain_weights = Softmax (plain_product)  plain = MatMul (plain_weights, c)
"""
"""Another attention, that is always fused: a graph with none is refused."""

PARTS = "float[batch, 4, length, 8] q, float[batch, 4, length, 8] k, float[batch, 4, length, 8] v"
STATES = "float[batch, length, 32] x, float[32, 32] wq, float[32, 32] wk, float[32, 32] wv"
PADDING = "float[batch, 1, 1, length] m"


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A graph with one attention to fuse or to leave, and what shows a difference.

    Attributes:
        inputs: Of the graph, in ONNX's text format.
        body: Its nodes; they make `y`.
        feeds: What is fed besides queries, keys, values or states.
        attention: Attention nodes that it becomes.
        constants: Besides the scale.
    """

    inputs: str
    body: str
    feeds: Mapping[str, np.ndarray]
    attention: int = 1
    constants: str = ""

    def model(self) -> ir.Model:
        text = f"""<ir_version: 10, opset_import: ["" : 21]>
            tiny ({self.inputs}, float[1, 4, n, 8] a, float[1, 4, n, 8] b, float[1, 4, n, 8] c)
            => (float[o, h, w, d] y, float[1, 4, n, 8] plain)
            <float scale = {{0.35}} {self.constants}> {{ {self.body} {PLAIN} }}"""
        return ir.from_proto(parser.parse_model(text))

    def fed(self) -> dict[str, np.ndarray]:
        shapes = dict.fromkeys("qkv", (BATCH, HEADS, LENGTH, DIM)) | dict.fromkeys("abc", (1, HEADS, 3, DIM))
        shapes |= {"x": (BATCH, LENGTH, 32), "wq": (32, 32), "wk": (32, 32), "wv": (32, 32)}
        drawn = {name: rows(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())} | dict(self.feeds)
        return {str(value.name): drawn[str(value.name)] for value in self.model().graph.inputs}


def masked(mask: str, body: str, feeds: Mapping[str, np.ndarray], attention: int = 1, constants: str = "") -> Case:
    """Scores of all queries and keys, masked by `body`."""
    return Case(f"{PARTS}, {mask}", f"{SCORES} {body} {MIXED}", feeds, attention, constants)


def cut(taken: str, heads: str = "0, -1, 4, 8", wide: int = 32, constants: str = "") -> Case:
    """Self-attention in which `taken` makes the queries `asked` of `q`, of fewer tokens than there are keys."""
    body = f"""
        pq = MatMul (x, wq)  pk = MatMul (x, wk)  pv = MatMul (x, wv)
        rq = Reshape (pq, heads)  rk = Reshape (pk, heads)  rv = Reshape (pv, heads)
        q = Transpose <perm = [0, 2, 1, 3]> (rq)  v = Transpose <perm = [0, 2, 1, 3]> (rv)
        turned = Transpose <perm = [0, 2, 3, 1]> (rk)  {taken}
        product = MatMul (asked, turned)  s = Mul (product, scale)  masked = Add (s, m) {MIXED}"""
    inputs = f"{STATES.replace('32] wk', f'{wide}] wk').replace('32] wv', f'{wide}] wv')}, {PADDING}"
    feeds = {"m": rows(BATCH, 1, 1, LENGTH), "wk": rows(32, wide), "wv": rows(32, wide, seed=1)}
    return Case(inputs, body, feeds, constants=f", int64[4] heads = {{{heads}}} {constants}")


def pieces(mask: str, shape: tuple[int, ...], attention: int) -> Case:
    """Two heads and two heads with one mask."""
    body = ""
    for number, (first, last) in enumerate((("zero", "two"), ("two", "four"))):
        for part in "qkv":
            body += f"{part}{number} = Slice ({part}, {first}, {last}, one) "
        body += f"""
            turned{number} = Transpose <perm = [0, 1, 3, 2]> (k{number})
            product{number} = MatMul (q{number}, turned{number})  s{number} = Add (product{number}, m)
            weights{number} = Softmax (s{number})  y{number} = MatMul (weights{number}, v{number}) """
    numbers = ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}"
    body += "y = Concat <axis = 1> (y0, y1)"
    return Case(f"{PARTS}, {mask}", body, {"m": rows(*shape)}, attention, numbers)


HIDDEN = np.zeros((BATCH, 1, 1, LENGTH), bool)
HIDDEN[0, ..., -2:] = HIDDEN[1] = True
LEFT = np.zeros((BATCH, 1, 1, LENGTH), bool)
LEFT[1, ..., :3] = True
AHEAD = np.triu(np.ones((1, 1, LENGTH, LENGTH), bool), 1)
"""Keys that are hidden: the last and all of an item, the first, and those behind each query."""

BOTH = "first = Where (m, low, s)  masked = Where (n, lower, first)"
TWO = "bool[batch, 1, 1, length] m, bool[batch, 1, 1, length] n"
LOW = ", float low = {-3.0e38}, float lower = {-3.0e38}"
HIDE = "bool[batch, 1, 1, length] m"

CASES = {
    "queries picked": cut("asked = Gather <axis = 2> (q, two)", constants=", int64[2] two = {0, 3}"),
    "queries split off": cut("asked, rest = Split <axis = 2> (q, sizes)", constants=", int64[2] sizes = {2, 4}"),
    "queries sliced off": cut(
        "asked = Slice (q, zero, two, axis)",
        constants=", int64[1] zero = {0}, int64[1] two = {2}, int64[1] axis = {2}",
    ),
    "queries of two tokens each": cut("asked = Identity (q)", "0, -1, 4, 16", 64),
    "pieces with a mask for each of their heads": pieces("float[1, 2, length, length] m", (1, 2, LENGTH, LENGTH), 2),
    "pieces with a mask of heads, and no batch": pieces("float[2, length, length] m", (2, LENGTH, LENGTH), 2),
    "pieces with a mask for all heads": pieces("float[1, 1, length, length] m", (1, 1, LENGTH, LENGTH), 1),
    "scores replaced by a number that leaves a trace": masked(
        HIDE, "masked = Where (m, low, s)", {"m": HIDDEN}, 0, ", float low = {-1.0e4}"
    ),
    "scores replaced": masked(HIDE, "masked = Where (m, low, s)", {"m": HIDDEN}, 1, LOW),
    "scores kept": masked(HIDE, "masked = Where (m, s, low)", {"m": ~HIDDEN}, 1, LOW),
    "scores replaced twice": masked(TWO, BOTH, {"m": HIDDEN, "n": HIDDEN}, 1, LOW),
    "scores replaced by two numbers": masked(
        TWO, BOTH, {"m": HIDDEN, "n": LEFT}, 0, LOW.replace("lower = {-3.0e38}", "lower = {-2.0e38}")
    ),
    "scores replaced ahead and on the left": masked(
        TWO.replace("batch, 1, 1, length] m", "1, 1, length, length] m"), BOTH, {"m": AHEAD, "n": LEFT}, 1, LOW
    ),
    "added and replaced": masked(
        f"{HIDE}, float[1, 4, length, length] n", "first = Add (s, n)  masked = Where (m, low, first)",
        {"m": HIDDEN, "n": rows(1, HEADS, LENGTH, LENGTH)}, 1, LOW,
    ),
    "replaced and brought back": masked(
        f"{HIDE}, float[batch, 1, 1, length] n", "first = Where (m, low, s)  masked = Add (first, n)",
        {"m": HIDDEN, "n": 3e38 * HIDDEN.astype(np.float32)}, 0, LOW,
    ),
    "one number for all keys": masked(
        "float[batch, 1, length, n] m", "masked = Add (s, m)", {"m": rows(BATCH, 1, LENGTH, 1)}, 0
    ),
    "one row for all queries, by chance": masked(
        "float[batch, 1, n, length] m", "masked = Add (s, m)", {"m": rows(BATCH, 1, 1, LENGTH)}, 0
    ),
    "more items than queries have": masked(
        "float[many, 1, 1, length] m", "masked = Add (s, m)",
        {"m": rows(3, 1, 1, LENGTH), **{name: rows(1, HEADS, LENGTH, DIM) for name in "qkv"}}, 0,
    ),
    "spread to more items than queries have": masked(
        "float[1, 1, 1, length] m", "spread = Expand (m, many)  masked = Add (s, spread)",
        {"m": rows(1, 1, 1, LENGTH), **{name: rows(1, HEADS, LENGTH, DIM) for name in "qkv"}}, 0,
        ", int64[4] many = {3, 1, 1, 1}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_mask_means_what_it_meant(name: str) -> None:
    case = CASES[name]
    model = case.model()
    fused = model.clone()
    counts = fuse(fused)
    assert (counts.attention, counts.softmaxes) == (case.attention + 1, 1 - min(case.attention, 1))
    dialects.check(fused)
    before, after = (dialects.run(one, case.fed()) for one in (model, fused))
    for output, truth in before.items():
        assert np.isfinite(after[output]).all()
        np.testing.assert_allclose(after[output], truth, atol=CLOSE)


def test_two_masks_that_hide_everything_would_be_infinite_together() -> None:
    case = CASES["scores replaced twice"]
    every = {name: np.ones((BATCH, 1, 1, LENGTH), bool) for name in "mn"}
    fused = case.model()
    fuse(fused)
    found = dialects.run(fused, case.fed() | every)["y"]
    values = case.fed()["v"]
    np.testing.assert_allclose(found, np.broadcast_to(values.mean(2, keepdims=True), found.shape), atol=CLOSE)


def test_a_causal_bias_of_the_queries_alone_hides_nothing_of_other_keys() -> None:
    body = f"""{SCORES}
        sizes = Shape (q)  length = Gather (sizes, axis)  order = Range (zero, length, one)
        key = Unsqueeze (order, first)  query = Unsqueeze (order, second)  seen = LessOrEqual (key, query)
        bias = Where (seen, none, low)  masked = Add (s, bias) {MIXED}"""
    constants = """, int64 axis = {2}, int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] second = {1},
        float none = {0.0}, float low = {-3.0e4}"""
    inputs = PARTS.replace("length, 8] k", "keys, 8] k").replace("length, 8] v", "keys, 8] v")
    case = Case(inputs, body, {"q": rows(BATCH, HEADS, 1, DIM, seed=9)}, constants=constants)
    fused = case.model()
    counts = fuse(fused)
    assert (counts.attention, counts.causal, counts.softmaxes) == (1, 0, 1)
    assert dialects.difference(case.model(), fused, case.fed()) == 0
