"""Sizes of a graph that are found equal are equal in every run, and those that only may be equal are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import parser

import dialects
import tiny_checkpoints
from smartrt.export.dialect.reading import Dim, dims
from smartrt.export.dialect.rewriting import Rewriter
from smartrt.export.dialect.sizes import broadcast
from smartrt.export.dialect.tidying import tidy

FAST = ("modernbert", "roberta")
FAMILIES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in tiny_checkpoints.FAMILIES]
NAMES = ("batch", "length", "other")
LENGTH = "sizes = Shape (x)  length = Gather (sizes, one)  ends = Unsqueeze (length, first)"
NUMBERS = "int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] second = {1}"

MADE = {
    "a length left to be found": ("y = Reshape (x, heads)", "int64[4] heads = {0, -1, 4, 8}", "batch length 4 8"),
    "heads left to be found": ("y = Reshape (x, heads)", "int64[4] heads = {0, 0, -1, 8}", "batch length 4 8"),
    "all tokens in one axis": ("y = Reshape (x, flat)", "int64[2] flat = {-1, 32}", "? 32"),
    "neighbours merged": ("y = Reshape (x, pairs)", "int64[3] pairs = {0, -1, 64}", "batch ? 64"),
    "sizes computed": (
        "sides = Concat <axis = 0> (ends, heads)  inner = Reshape (x, sides)  y = Relu (inner)",
        "int64[2] heads = {-1, 32}",
        "length batch 32",
    ),
    "positions counted": ("y = Range (zero, length, one)", "", "length"),
    "numbers counted from one": ("y = Range (one, length, one)", "", "?"),
    "positions added": (
        "taken = Slice (table, first, ends, second)  y = Add (x, taken)", "", "batch length 32",
    ),
    "positions not added": ("y = Slice (table, first, ends, second)", "", "1 ? 32"),
    "positions behind the first added": (
        "taken = Slice (table, second, ends, second)  y = Mul (m, taken)", "", "? ? 32",
    ),
    "one position for all": (
        "taken = Slice (row, first, ends, second)  y = Add (x, taken)", "", "batch length 32",
    ),
    "all tokens taken": ("y = Slice (x, first, ends, second)", "", "batch length 32"),
    "the first token taken": ("y = Slice (x, first, second, second)", "", "batch 1 32"),
    "one name meets another": ("y = Add (x, m)", "", "? ? 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_a_size_has_a_name_where_it_cannot_be_another(name: str) -> None:
    body, constants, expected = MADE[name]
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        tiny (float[batch, length, 32] x, float[other, some, 32] m, float[1, 9, 32] table, float[1, 1, 32] row)
        => (int64[rank] z)
        <{NUMBERS}{", " if constants else ""}{constants}> {{ {LENGTH}  {body}  z = Shape (y) }}"""
    model = ir.from_proto(parser.parse_model(text))
    tidy(model, Rewriter(model))
    (asked,) = (node.inputs[0] for node in model.graph if node.outputs[0].name == "z")
    known = [str(size) if isinstance(size, int) or size in ("batch", "length") else "?" for size in dims(asked) or ()]
    assert " ".join(known) == expected


_SIZES = st.lists(st.sampled_from([1, 2, 3, None, *NAMES]), max_size=4)


@given(shapes=st.lists(_SIZES, min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_shapes_spread_together_as_numpy_spreads_them(shapes: list[list[Dim]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual = {name: int(rng.integers(1, 4)) for name in NAMES}
    sizes = [[actual[s] if isinstance(s, str) else s or int(rng.integers(1, 4)) for s in shape] for shape in shapes]
    try:
        truth = np.broadcast_shapes(*map(tuple, sizes))
    except ValueError:
        assume(False)
    found = broadcast(shapes)
    assert len(found) == len(truth)
    for size, expected in zip(found, truth, strict=True):
        assert size is None or (actual[size] if isinstance(size, str) else size) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_names_are_equal_sizes_in_every_run(family: str, tmp_path: Path) -> None:
    model = dialects.traced(tiny_checkpoints.build(family, tmp_path / "checkpoint"), tmp_path / "scratch")["encoder"]
    tidy(model, Rewriter(model))
    made = [value for node in model.graph for value in node.outputs]
    names = {value.name: dims(value) for value in made}
    model.graph.outputs.extend(value for value in made if value.type is not None and not value.is_graph_output())
    for seed, sizes in enumerate(dialects.SIZES):
        actual = {"batch": sizes["batch"], "length": sizes["length"]}
        for name, array in dialects.run(model, dialects.feeds(model, sizes, seed)).items():
            for size, found in zip(names[name] or array.shape, array.shape, strict=True):
                if size is not None:
                    assert found == (size if isinstance(size, int) else actual.setdefault(size, found)), name
    lengths = [dims(node.inputs[0]) for node in model.graph if node.op_type == "Softmax"]
    assert all(sizes is not None and sizes[2:] == ["length"] * 2 for sizes in lengths)
