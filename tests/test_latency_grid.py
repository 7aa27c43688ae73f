"""What `smartrt bench latency` measures, as data: shapes, contenders and grids, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_runs import QUICK, fake, small_grid
from smartrt.benchmarks.latency.grid import Cell, Contender, Grid, parse_cells
from smartrt.errors import OptionError
from smartrt.index import IndexOptions
from smartrt.search import SearchOptions
from support import message_of

PLAIN = Contender("a", Path("/somewhere/a.smartrt"))


@pytest.mark.parametrize(
    ("side", "text", "cell", "label"),
    [
        ("query", "1x32", Cell("query", 1, 32), "query 1x32"),
        ("document", "32x128", Cell("document", 32, 128), "document 32x128"),
        ("document", "1x1240x1754", Cell("document", 1, None, (1240, 1754)), "page 1x1240x1754"),
        ("query", "1024x32768", Cell("query", 1024, 32768), "query 1024x32768"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shape_is_a_cell_and_a_cell_says_its_shape(side: Any, text: str, cell: Cell, label: str) -> None:
    assert Cell.parse(side, text) == cell
    assert (cell.shape, cell.label) == (text, label)


@given(st.integers(1, 1024), st.integers(1, 32768), st.sampled_from(["query", "document"]))
def test_a_parsed_shape_is_written_as_it_was_read(batch: int, tokens: int, side: Any) -> None:
    assert Cell.parse(side, f"{batch}x{tokens}").shape == f"{batch}x{tokens}"


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "1x", "x32", "0x32", "1x0", "-1x32", "1x32x", "1x2x3x4", "1 x 32", "1x32\n", "1X32", "01x32",
     "1.5x32", "1x1e3", "1x9999999", "nan"],
)  # fmt: skip
@pytest.mark.parametrize("side", ["query", "document"])
def test_what_is_no_shape_is_refused(side: Any, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Cell.parse(side, text)
    message_of(caught.value, "unknown shape", repr(text), "1x32")


@pytest.mark.parametrize(
    ("side", "text", "mentions"),
    [
        ("document", "1025x32", ("batch", "1025", "1024")),
        ("document", "1x32769", ("tokens", "32769", "32768")),
        ("document", "1x8193x10", ("side of an image", "8193", "8192")),
        ("document", "1x10x8193", ("side of an image", "8193", "8192")),
        ("query", "1x64x64", ("queries are texts", "'1x64x64'", "documents")),
    ],
    ids=["batch", "tokens", "width", "height", "image as a query"],
)
def test_what_is_too_large_or_on_the_wrong_side_is_refused(side: Any, text: str, mentions: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        Cell.parse(side, text)
    message_of(caught.value, *mentions)


def test_queries_come_before_documents() -> None:
    labels = [cell.label for cell in parse_cells(["1x8", "2x8"], ["1x9", "1x64x64"])]
    assert labels == ["query 1x8", "query 2x8", "document 1x9", "page 1x64x64"]
    assert parse_cells([], []) == ()


CONTENDERS = st.builds(
    Contender,
    name=st.text(min_size=1, max_size=20),
    bundle=st.sampled_from([Path("a.smartrt"), Path("/some where/b.smartrt")]),
    kind=st.sampled_from([None, "fp32", "bf16"]),
    engine=st.sampled_from(["ort", "fake"]),
    device=st.sampled_from(["cpu", "cuda:1"]),
    options=st.dictionaries(st.text(max_size=8), st.integers() | st.booleans() | st.text(max_size=5), max_size=3),
    stored=st.sampled_from(
        [IndexOptions(), IndexOptions("int8", pooling=2), IndexOptions("int8", projection="pca", dim=16)]
    ),
    search=st.sampled_from([SearchOptions(), SearchOptions(100), SearchOptions("all", "rrf", threads=2)]),
    late=st.floats(0, 2),
)


@given(CONTENDERS)
def test_a_contender_survives_the_way_to_its_process(contender: Contender) -> None:
    assert Contender.from_json(json.loads(json.dumps(contender.to_json()))) == contender


def test_a_key_that_no_contender_has_is_not_swallowed() -> None:
    with pytest.raises(TypeError):
        Contender.from_json(PLAIN.to_json() | {"warp": 9})


def test_a_search_gets_its_threads_and_stays_what_it_was() -> None:
    contender = Contender("a", Path("a"), search=SearchOptions(100, "zscore"))
    assert contender.search_with(3) == SearchOptions(100, "zscore", threads=3)
    assert contender.search.threads is None


@pytest.mark.parametrize(
    ("changes", "mentions"),
    [
        ({"cells": ()}, ("no cell",)),
        ({"threads": ()}, ("no thread count",)),
        ({"threads": (1, 1)}, ("thread count twice", "1, 1")),
        ({"cells": parse_cells(["1x8", "1x8"], [])}, ("cell twice", "query 1x8")),
        ({"contenders": (PLAIN, PLAIN)}, ("contender twice", "a, a")),
        ({"reference": "nobody"}, ("'nobody'", "there are: a")),
        ({"contenders": (Contender("a", Path("a"), kind="fp32"),)}, ("a needs the checkpoint", "--source")),
        ({"threads": (0,)}, ("thread count 0", "got 0")),
        ({"threads": (-2,)}, ("thread count -2",)),
        ({"threads": (True,)}, ("whole number", "True")),
        ({"starts": 0}, ("starts", "got 0")),
        ({"starts": 1.0}, ("starts", "got 1.0")),
        ({"rounds": 0}, ("rounds", "got 0")),
        ({"corpus": 0}, ("corpus", "got 0")),
        ({"visit": 0.0}, ("visit", "got 0.0")),
        ({"visit": -1.0}, ("visit", "got -1.0")),
        ({"visit": 61.0}, ("visit", "60")),
        ({"visit": float("nan")}, ("visit", "nan")),
        ({"visit": float("inf")}, ("visit", "inf")),
    ],
    ids=lambda value: (
        ", ".join(f"{key}={item!r:.20}" for key, item in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_a_grid_that_cannot_be_is_refused(changes: dict[str, Any], mentions: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        small_grid(PLAIN, **changes)
    message_of(caught.value, *mentions)


def test_no_contender_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        Grid(contenders=(), reference="a", **QUICK)  # type: ignore[arg-type]
    message_of(caught.value, "no contender")


def test_steps_are_starts_of_processes_and_visits_of_cells() -> None:
    grid = small_grid(fake("a"), fake("b"), fake("c"), threads=(1, 2), starts=5, rounds=4)
    assert grid.visits == 2 * 5 * (3 + 3 * 4 * 2)


def test_a_result_says_names_and_never_a_path() -> None:
    about = small_grid(PLAIN, source="/secret/home/checkpoint").to_json()
    assert about["source"] == "checkpoint"
    assert about["cells"] == ["query 1x8", "document 2x6"]
    text = json.dumps(about)
    assert '"a.smartrt"' in text
    assert "/somewhere" not in text
    assert "/secret" not in text
