"""What a result of `smartrt bench gpu` must show: each requirement against rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from smartrt.benchmarks.gpu.plan import EAGER, PAGE, QUERY, SDPA, Exported, Group, Plan
from smartrt.benchmarks.gpu.requirements import evaluate, failed
from smartrt.benchmarks.gpu.suite import NOT_RUN

_QUERY, _PAGE = f"query {QUERY}", f"page {PAGE}"
SAME = {"problem": None, "pooled_cosine": 0.9999, "token_cosine": 0.9998, "token_cosine_min": 0.99}
HALF = ("fp16", "fp16-fused")
LOST = "outputs were not compared: PyTorch fp32 failed"
KINDS = ("fp32", "fp16-eager", "fp16")
PLAN = Plan(
    bundles=(*(Exported(name, (), half=True) for name in HALF), Exported("int4", ())),
    groups=(
        Group("latency", KINDS, (("fp16", "ort@cuda"), ("fp16-fused", "trt")), 1),
        Group("packed", ("fp16",), (("int4", "ort@cuda"),), 1),
    ),
)


def row(contender: str, graphs: float, **changes: Any) -> dict[str, Any]:
    """A good row whose call takes 3 ms more than its graphs."""
    times = {"graphs_ms": graphs, "encode_ms": graphs + 3.0}
    return {"contender": contender, "status": "ok", "message": None, "outputs": SAME} | times | changes


def parts(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One part with these rows; what is not PyTorch's is ``BUNDLE, ENGINE[,cuda_graphs=on|off]``."""
    names = {each["contender"] for rows in cells.values() for each in rows}
    contenders = []
    for name in sorted(names):
        bundle, _, way = name.partition(", ")
        engine, _, recorded = way.partition(",cuda_graphs=")
        options = {"cuda_graphs": recorded == "on"} if recorded else {}
        kind = "x" if name.startswith("PyTorch") else None
        contenders.append(
            {"name": name, "kind": kind, "bundle": f"{bundle}.smartrt", "engine": engine, "options": options}
        )
    groups = [{"cells": [{"cell": label, "rows": rows} for label, rows in cells.items()]}]
    result = {"latency": {"grid": {"contenders": contenders}, "groups": groups}}
    return {"latency": {"status": "ok", "reason": None, "result": result}}


def requirement(name: str, cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return next(each for each in evaluate(parts(cells), PLAN) if each["name"] == name)


@pytest.mark.parametrize(("graphs", "met"), [(2.0, True), (2.1, False)])
def test_a_query_must_be_five_times_as_fast_as_eager_attention(graphs: float, met: bool) -> None:
    rows = [row(EAGER, 10.0), row(SDPA, 1.0), row("fp16, ort", graphs), row("fp16-fused, ort", 9.0)]
    found = requirement("query", {_QUERY: rows})
    assert (found["met"], found["by"]) == (met, "fp16, ort")
    assert found["measured"] == pytest.approx(10 / graphs, abs=1e-6)


@pytest.mark.parametrize(("graphs", "met"), [(30.0, True), (30.5, False)])
def test_a_page_must_be_as_fast_as_pytorch_at_its_best(graphs: float, met: bool) -> None:
    rows = [row(EAGER, 90.0), row(SDPA, 30.0), row("fp16, trt", graphs)]
    assert requirement("page", {_PAGE: rows})["met"] is met
    assert requirement("page", {_QUERY: rows})["met"] is None  # another cell says nothing of it


def test_a_slow_processor_in_front_of_pytorch_does_not_make_our_gpu_fast() -> None:
    """The whole call is faster, the graphs are slower: that is not met, and both are told."""
    cells = {_PAGE: [row(SDPA, 30.0, encode_ms=330.0), row("fp16, trt", 60.0, encode_ms=66.0)]}
    assert requirement("page", cells)["met"] is False
    whole = requirement("page, whole call", cells)
    assert (whole["measured"], whole["required"], whole["met"]) == (5.0, False, None)


def test_what_four_bits_reach_is_told_and_meets_nothing() -> None:
    fast = row("int4, trt", 1.0, floor={"ratio": 1.1, "ms": 1.0})
    slow = row("fp16, trt", 9.0, floor={"ratio": 8.0, "ms": 1.0})
    cells = {_QUERY: [row(EAGER, 10.0), fast, slow]}
    assert [requirement(name, cells)["met"] for name in ("query", "floor")] == [False, False]
    told = requirement("query, int4", cells)
    assert (told["measured"], told["by"], told["required"], told["met"]) == (10.0, "int4, trt", False, None)


@pytest.mark.parametrize(("ratio", "met"), [(2.0, True), (2.01, False)])
def test_a_query_must_be_near_its_floor(ratio: float, met: bool) -> None:
    rows = [
        row("fp16, ort,cuda_graphs=on", 2.0, floor={"ratio": 9.0, "ms": 0.3}),
        row("fp16, trt", 1.0, floor={"ratio": ratio, "ms": 0.8}),
    ]
    found = requirement("floor", {_QUERY: rows})
    assert (found["measured"], found["by"], found["met"]) == (ratio, "fp16, trt", met)
    assert requirement("floor, graphs", {_QUERY: rows})["measured"] == pytest.approx(1.0 / 0.8)


@pytest.mark.parametrize(
    ("way", "counts"),
    [("ort,cuda_graphs=on", True), ("ort,cuda_graphs=off", False), ("ort", False), ("trt", True),
     ("trt,cuda_graphs=off", False)],
)  # fmt: skip
def test_the_floor_is_for_contenders_whose_launches_are_recorded(way: str, counts: bool) -> None:
    rows = [row(f"fp16, {way}", 1.0, floor={"ratio": 1.5, "ms": 1.0})]
    assert (requirement("floor", {_QUERY: rows})["met"] is True) is counts


def test_an_unknown_floor_is_neither_met_nor_missed() -> None:
    rows = [row("fp16, trt", 2.0, floor="not known: the GPU 'x' is in no table")]
    found = requirement("floor", {_QUERY: rows})
    assert (found["met"], found["measured"]) == (None, "not known: the GPU 'x' is in no table")


@pytest.mark.parametrize(("cosine", "met"), [(0.99801, True), (0.9979, False)])
def test_half_precision_must_be_near_in_every_cell_and_the_worst_counts(cosine: float, met: bool) -> None:
    worse = row("fp16-fused, ort", 1.0, outputs=SAME | {"token_cosine": cosine})
    cells = {_QUERY: [row("fp16, ort", 1.0), worse], _PAGE: [row("fp16, ort", 1.0)]}
    found = requirement("cosine", cells)
    assert (found["met"], found["by"]) == (met, "fp16-fused, ort")
    assert found["measured"] == pytest.approx(1 - cosine, abs=1e-6)


def test_the_worst_token_is_told_beside_the_mean() -> None:
    cells = {_QUERY: [row("fp16, ort", 1.0, outputs=SAME | {"token_cosine_min": 0.1})]}
    assert requirement("cosine", cells)["met"] is True
    assert requirement("cosine, worst token", cells)["measured"] == pytest.approx(0.9)


def test_packed_weights_are_not_held_to_the_cosine_of_float16() -> None:
    far = row("int4, ort", 1.0, outputs=SAME | {"token_cosine": 0.9})
    assert requirement("cosine", {_QUERY: [far]})["measured"] == NOT_RUN


def test_wrong_outputs_miss_the_cosine_are_no_time_and_say_so() -> None:
    problem = {"status": "wrong", "message": "wrong outputs: NaN or infinity", "outputs": {"problem": "NaN"}}
    cells = {_QUERY: [row(EAGER, 10.0), row("fp16, ort", 0.1, **problem)]}
    assert requirement("cosine", cells)["met"] is False
    query = requirement("query", cells)
    assert (query["met"], query["measured"]) == (None, "fp16, ort: wrong: wrong outputs: NaN or infinity")


@pytest.mark.parametrize("name", ["query", "floor", "page", "cosine"])
def test_outputs_that_were_compared_with_nothing_meet_nothing(name: str) -> None:
    """The reference failed: a row is called ok, and may be anything."""
    lost = {"outputs": None, "message": LOST}
    rows = [row(EAGER, 10.0, **lost), row(SDPA, 10.0, **lost)]
    rows.append(row("fp16, trt", 1.0, floor={"ratio": 1.0, "ms": 1.0}, **lost))
    found = requirement(name, {_QUERY: rows, _PAGE: rows})
    assert found["met"] is None
    assert LOST in found["measured"]


def test_a_contender_that_failed_leaves_the_cosine_open_unless_another_is_too_far() -> None:
    failed_ = {"contender": "fp16-fused, ort", "status": "failed", "message": "no kernel", "outputs": None}
    found = requirement("cosine", {_QUERY: [row("fp16, ort", 1.0), failed_]})
    assert (found["met"], found["measured"]) == (None, "fp16-fused, ort: failed: no kernel")
    far = row("fp16, ort", 1.0, outputs=SAME | {"pooled_cosine": 0.5})
    assert requirement("cosine", {_QUERY: [far, failed_]})["met"] is False


def test_a_baseline_that_failed_decides_nothing_and_says_so() -> None:
    rows = [{"contender": EAGER, "status": "failed", "message": "out of memory", "outputs": None}, row("fp16, o", 1.0)]
    found = requirement("query", {_QUERY: rows})
    assert (found["met"], found["measured"]) == (None, f"{EAGER}: failed: out of memory")


@pytest.mark.parametrize(
    ("status", "reason", "told"), [("failed", "no bundle", "no bundle"), ("skipped", "no TensorRT", "no TensorRT"),
                                   (NOT_RUN, None, NOT_RUN)],
)  # fmt: skip
def test_a_part_without_rows_gives_its_own_reason(status: str, reason: str | None, told: str) -> None:
    entries = {"latency": {"status": status, "reason": reason, "result": None}}
    assert evaluate(entries, PLAN)[0]["measured"] == told


@pytest.mark.parametrize(
    ("only", "code"), [((), True), (("latency",), True), (("packed",), False), (("export",), False)]
)
def test_what_is_not_known_fails_a_run_that_asked_for_it(only: tuple[str, ...], code: bool) -> None:
    assert failed(evaluate({}, PLAN), only) is code


def test_what_is_told_fails_nothing_and_what_is_missed_fails_every_run() -> None:
    good = row("fp16, trt", 1.0, floor={"ratio": 1.5, "ms": 1.0})
    cells = {_QUERY: [row(EAGER, 10.0), good], _PAGE: [row(SDPA, 10.0), good]}
    assert not failed(evaluate(parts(cells), PLAN), ())  # int4 was not measured
    cells[_PAGE] = [row(SDPA, 0.1), good]
    assert failed(evaluate(parts(cells), PLAN), ("export",))
