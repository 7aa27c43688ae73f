"""What a result of `smartrt bench gpu` must show: each requirement against rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from smartrt.benchmarks.gpu.plan import EAGER, PAGE, QUERY, SDPA
from smartrt.benchmarks.gpu.requirements import evaluate
from smartrt.benchmarks.gpu.suite import NOT_RUN

_QUERY, _PAGE = f"query {QUERY}", f"page {PAGE}"
SAME = {"problem": None, "pooled_cosine": 0.9999, "token_cosine": 0.9998}


def row(contender: str, encode: float, **changes: Any) -> dict[str, Any]:
    return {"contender": contender, "status": "ok", "encode_ms": encode, "outputs": SAME} | changes


def parts(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One part with these rows; what is not PyTorch's is of a bundle of its name."""
    names = {each["contender"] for rows in cells.values() for each in rows}
    contenders = [
        {"name": name, "kind": "x" if name.startswith("PyTorch") else None, "bundle": f"{name.split(',')[0]}.smartrt"}
        for name in sorted(names)
    ]
    groups = [{"cells": [{"cell": label, "rows": rows} for label, rows in cells.items()]}]
    return {"latency": {"result": {"latency": {"grid": {"contenders": contenders}, "groups": groups}}}}


def requirement(name: str, cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return next(each for each in evaluate(parts(cells), ("fp16", "fp16-fused")) if each["name"] == name)


@pytest.mark.parametrize(("encode", "met"), [(2.0, True), (2.1, False)])
def test_a_query_must_be_five_times_as_fast_as_eager_attention(encode: float, met: bool) -> None:
    rows = [row(EAGER, 10.0), row(SDPA, 1.0), row("fp16, ort", encode), row("int4, ort", 9.0)]
    found = requirement("query", {_QUERY: rows})
    assert (found["met"], found["by"]) == (met, "fp16, ort")
    assert found["measured"] == pytest.approx(10 / encode, abs=1e-6)


@pytest.mark.parametrize(("encode", "met"), [(30.0, True), (30.5, False)])
def test_a_page_must_be_as_fast_as_pytorch_at_its_best(encode: float, met: bool) -> None:
    rows = [row(EAGER, 90.0), row(SDPA, 30.0), row("fp16, trt", encode)]
    assert requirement("page", {_PAGE: rows})["met"] is met
    assert requirement("page", {_QUERY: rows})["met"] is None  # another cell says nothing of it


@pytest.mark.parametrize(("ratio", "met"), [(2.0, True), (2.01, False)])
def test_a_query_must_be_near_its_floor(ratio: float, met: bool) -> None:
    rows = [row("fp16, ort", 2.0, floor={"ratio": 9.0}), row("fp16, trt", 1.0, floor={"ratio": ratio})]
    found = requirement("floor", {_QUERY: rows})
    assert (found["measured"], found["by"], found["met"]) == (ratio, "fp16, trt", met)


def test_an_unknown_floor_is_neither_met_nor_missed() -> None:
    rows = [row("fp16, ort", 2.0, floor="not known: the GPU 'x' is in no table")]
    found = requirement("floor", {_QUERY: rows})
    assert (found["met"], found["measured"]) == (None, "not known: the GPU 'x' is in no table")


@pytest.mark.parametrize(("cosine", "met"), [(0.99801, True), (0.9979, False)])
def test_half_precision_must_be_near_in_every_cell_and_the_worst_counts(cosine: float, met: bool) -> None:
    worse = row("fp16-fused, ort", 1.0, outputs=SAME | {"token_cosine": cosine})
    cells = {_QUERY: [row("fp16, ort", 1.0), worse], _PAGE: [row("fp16, ort", 1.0)]}
    found = requirement("cosine", cells)
    assert (found["met"], found["by"]) == (met, "fp16-fused, ort")
    assert found["measured"] == pytest.approx(1 - cosine, abs=1e-6)


def test_packed_weights_are_not_held_to_the_cosine_of_float16() -> None:
    far = row("int4, ort", 1.0, outputs=SAME | {"token_cosine": 0.9})
    assert requirement("cosine", {_QUERY: [far]})["measured"] == NOT_RUN


def test_wrong_outputs_miss_the_cosine_and_are_no_time() -> None:
    wrong = row("fp16, ort", 0.1, status="wrong", outputs={"problem": "NaN or infinity"})
    cells = {_QUERY: [row(EAGER, 10.0), wrong]}
    assert requirement("cosine", cells)["met"] is False
    assert requirement("query", cells)["measured"] == NOT_RUN


def test_a_baseline_that_failed_decides_nothing() -> None:
    rows = [{"contender": EAGER, "status": "failed"}, row("fp16, ort", 1.0)]
    assert requirement("query", {_QUERY: rows})["met"] is None
