"""Contenders of `smartrt bench latency` on a GPU: how they are written, what is checked first, and their floors."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_checkpoints
from commandline import FAKE, call, refused
from latency_runs import (
    CELLS,
    DOCUMENT,
    QUERY,
    SHAPES,
    TINY,
    Steps,
    fake,
    rows_of,
    run,
    small_grid,
    small_probes,
    workers,
)  # fmt: skip
from smartrt.benchmarks import pytorch
from smartrt.benchmarks.clock import Clock
from smartrt.benchmarks.deadline import Deadline
from smartrt.benchmarks.latency import floors
from smartrt.benchmarks.latency.floors import Floors
from smartrt.benchmarks.latency.grid import Contender, parse_cells
from smartrt.benchmarks.latency.measure import check, measure, problems
from smartrt.benchmarks.latency.ours import Ours
from smartrt.benchmarks.latency.outputs import disagreement
from smartrt.benchmarks.latency.ways import Way
from smartrt.benchmarks.roofline.gpus import Override
from smartrt.benchmarks.roofline.work import CallShape
from smartrt.bundle import Bundle
from smartrt.errors import MissingDependencyError, OptionError, SmartrtError
from smartrt.models.checkpoint import Checkpoint
from support import message_of, set_key

pytestmark = pytest.mark.usefixtures("library_read_once")

# How a way to run is written.


@pytest.mark.parametrize(
    ("text", "engine", "device", "options"),
    [
        ("ort", "ort", "cpu", {}),
        ("ort@cuda:1", "ort", "cuda:1", {}),
        ("trt", "trt", "cuda", {}),
        ("ort@cuda,cuda_graphs=on,tf32=off", "ort", "cuda", {"cuda_graphs": True, "tf32": False}),
        ("trt@cuda,batch_tokens=4096,plans=here", "trt", "cuda", {"batch_tokens": 4096, "plans": "here"}),
    ],
)
def test_a_way_to_run_is_an_engine_a_device_and_options(
    text: str, engine: str, device: str, options: dict[str, Any]
) -> None:
    assert Way.parse(text) == Way(text, engine, device, options)


def test_a_way_without_a_device_runs_where_all_others_do() -> None:
    assert Way.parse("ort", "cuda:1").device == "cuda:1"
    assert Way.parse("ort@cpu", "cuda:1").device == "cpu"


@pytest.mark.parametrize(
    "text", ["", "warp", "ort@", "ort@cuda:x", "ort,", "ort,tf32", "ort,tf32=", "ort tf32=on", "ort,a=1,a=2", "@cuda"]
)
def test_what_is_no_way_to_run_is_one_line(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Way.parse(text)
    message_of(caught.value, repr(text))


def test_each_bundle_runs_in_each_way_and_an_unknown_option_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("bench", "latency", TINY, *SHAPES, "--cache", tmp_path / "cache")
    with small_probes():
        finished = call(capsys, *arguments, "--runs", "ort", "fake", "--json")
    assert finished.code == 1  # arithmetic is no model: the row is wrong, and the other is there
    assert list(rows_of(finished.json, QUERY)) == ["tiny, ort", "tiny, fake"]
    refused(call(capsys, *arguments, "--runs", "fake", "ort,warp=on"), "warp")
    refused(call(capsys, *arguments, "--runs", "ort", "ort"), "contender twice")
    assert workers() == {}


def test_a_missing_plan_is_an_error_and_never_compiled_in_a_measurement() -> None:
    assert Contender("trt", TINY, engine="trt", device="cuda").engine_options == {"compile": False}
    asked = Contender("trt", TINY, engine="trt", device="cuda", options={"compile": True})
    assert asked.engine_options == {"compile": True}
    assert Contender("ort", TINY).engine_options == {}


@pytest.mark.parametrize("contender", [Contender("trt", TINY, engine="trt", device="cuda")], ids=["trt"])
def test_an_engine_that_is_not_here_is_refused_before_anything_starts(contender: Contender) -> None:
    with pytest.raises(SmartrtError):
        check(small_grid(fake("fake"), contender))
    assert workers() == {}


# PyTorch in half precision.


@pytest.mark.parametrize("kind", ["fp16", "fp16-eager"])
def test_half_precision_is_for_gpus_and_needs_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="cuda, not on cpu"):
        pytorch.check_kind(kind, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependencyError, match="no cuda"):
        pytorch.check_kind(kind, "cuda")


@pytest.mark.parametrize(("attention", "used"), [("eager", "eager"), (None, "sdpa")])
def test_the_attention_of_a_kind_is_the_one_that_runs(
    attention: Any, used: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from smartrt.benchmarks.pytorch_text import open_text

    source = tiny_checkpoints.build("bert", tmp_path_factory.mktemp("bert") / "checkpoint")
    kind = pytorch.Kind("one", "float32", attention=attention)
    opened = open_text(Checkpoint.resolve(str(source)), kind, Bundle.open(TINY).manifest, "cpu", Clock())
    assert opened.encoder.backbone.config._attn_implementation == used


# What outputs are compared with.


def test_outputs_may_be_compared_with_another_contender_than_times() -> None:
    grid = small_grid(fake("base"), fake("exact"), truth="exact")
    assert (grid.reference, grid.compared_with) == ("base", "exact")
    result = run(grid)
    assert problems(result) == []
    assert rows_of(result, QUERY)["base"]["outputs"]["token_cosine"] == 1
    with pytest.raises(OptionError, match="truth 'nobody'"):
        small_grid(fake("base"), truth="nobody")


@pytest.mark.parametrize(
    ("device", "compute", "cosine", "right"),
    [("cuda", "fp16", 0.9981, True), ("cuda", "fp16", 0.996, False), ("cpu", "fp16", 0.9981, False),
     ("cuda", "fp32", 0.9981, False)],
    ids=["half on a GPU", "further off", "half on a CPU", "float32 on a GPU"],
)  # fmt: skip
def test_float16_on_a_gpu_may_differ_by_its_rounding(
    device: str, compute: str, cosine: float, right: bool, tiny_copy: Path
) -> None:
    set_key(tiny_copy / "manifest.json", "precision/compute", compute)
    names = ("pooled_cosine", "pooled_cosine_min", "token_cosine", "token_cosine_min")
    found = {"problem": None} | dict.fromkeys(names, cosine)
    exact = Contender("PyTorch fp32", TINY, kind="fp32")
    assert (disagreement(found, Contender("tiny", tiny_copy, device=device), exact) is None) is right


# Budgets.


class Movable(Deadline):
    """A deadline that a test moves: no time is waited for."""

    def end_in(self, seconds: float) -> None:
        object.__setattr__(self, "at", time.monotonic() + seconds)


@pytest.mark.parametrize("hangs", [True, False], ids=["a worker that hangs", "workers that would go on"])
def test_a_deadline_fails_who_was_not_done_and_keeps_the_others(hangs: bool) -> None:
    order = ["a", "b", "c"]
    random.Random("1 0").shuffle(order)  # noqa: S311  (as a block visits them, one after another)
    options: dict[str, Any] = {"delay": 60} if hangs else {}
    grid = small_grid(*(fake(name, **(options if name == order[1] else {})) for name in "abc"), together=False)
    grid = dataclasses.replace(grid, reference=order[0])
    deadline = Movable(7.0, math.inf)
    steps_of_one = grid.visits // 3
    began = time.monotonic()
    with small_probes():
        steps = Steps(lambda done: deadline.end_in(0.5 if hangs else 0.0) if done == steps_of_one else None)
        result = measure(grid, steps, deadline=deadline)
    assert time.monotonic() - began < 30
    rows = rows_of(result, QUERY)
    assert [rows[name]["status"] for name in order] == ["ok", "failed", "failed"]
    assert rows[order[0]]["p50_ms"] > 0
    assert {rows[name]["message"] for name in order[1:]} == {deadline.reason}
    assert workers() == {}


def test_a_second_start_that_is_cut_short_does_not_fail_what_the_first_measured() -> None:
    grid = small_grid(fake("a"), starts=2)
    deadline = Movable(7.0, math.inf)
    with small_probes():
        steps = Steps(lambda done: deadline.end_in(0.0) if done == grid.visits // 2 else None)
        result = measure(grid, steps, deadline=deadline)
    assert rows_of(result, QUERY)["a"]["status"] == "ok"
    assert result["groups"][0]["starts"] == 1


# Floors.


def test_without_figures_a_floor_is_not_known_and_says_why() -> None:
    result = run(small_grid(fake("tiny")))
    assert result["machine"]["roofs"] == {"cpu": "not known: bandwidth and peak of a CPU are in no table"}
    assert rows_of(result, QUERY)["tiny"]["floor"] == "not known: bandwidth and peak of a CPU are in no table"


def test_with_figures_every_row_of_a_bundle_has_its_floor_in_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shapes = ("bench", "latency", TINY, *FAKE, *SHAPES, "--cache", tmp_path / "cache")
    figures = ("--bandwidth-gb", 1, "--peak-tflops", 0.001)
    with small_probes():
        finished = call(capsys, *shapes, *figures, "--json")
        shown = call(capsys, *shapes, *figures)
    row = rows_of(finished.json, DOCUMENT)["tiny"]
    # 16,384 weights in float32 for 2 x 6 tokens, and two layers of attention 32 wide.
    flops = 2 * 16384 * 12 + 2 * 4 * 2 * 6**2 * 32
    assert row["floor"]["read_ms"] == pytest.approx(4 * 16384 / 1e9 * 1e3, rel=1e-3)
    assert row["floor"]["ms"] == row["floor"]["multiply_ms"] == pytest.approx(flops / 1e9 * 1e3, rel=1e-3)
    assert row["floor"]["ratio"] == pytest.approx(row["encode_ms"] / row["floor"]["ms"], rel=1e-3)
    assert "floor, ms" in shown.out
    assert "encode / floor" in shown.out
    refused(call(capsys, *shapes, "--peak-tflops", 0), "--peak-tflops", "above 0")


def test_what_cannot_be_counted_is_the_reason_of_its_rows_alone(tmp_path: Path) -> None:
    grid = small_grid(fake("there"), fake("lost", bundle=tmp_path / "lost.smartrt"))
    found = Floors(grid, {cell.label: CallShape(cell.batch, 8) for cell in CELLS}, "", Override(1, 1))
    rows = [{"contender": name, "status": "ok", "encode_ms": 1.0} for name in ("there", "lost")]
    found.add([{"cells": [{"cell": QUERY, "rows": rows}]}])
    assert rows[0]["floor"]["ms"] > 0
    assert "lost.smartrt" in rows[1]["floor"]


def test_a_count_that_goes_wrong_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("frames")

    monkeypatch.setattr(floors, "work_of", broken)
    rows = [{"contender": "tiny", "status": "ok", "encode_ms": 1.0}]
    shapes = {cell.label: CallShape(cell.batch, 8) for cell in CELLS}
    Floors(small_grid(fake("tiny")), shapes, "", Override(1, 1)).add([{"cells": [{"cell": QUERY, "rows": rows}]}])
    assert rows[0]["floor"] == "not known: KeyError: 'frames'"


def test_encoding_is_the_call_without_its_ranking() -> None:
    row = rows_of(run(small_grid(fake("tiny"))), QUERY)["tiny"]
    assert row["encode_ms"] < row["p50_ms"]
    assert row["encode_ms"] == pytest.approx(row["p50_ms"] - row["stages"]["score"]["p50_ms"], rel=0.5)
    # The graphs alone are less: tokens are made in front of them.
    assert row["graphs_ms"] == row["stages"]["encoder"]["p50_ms"] < row["encode_ms"]


def test_an_engine_that_is_watched_keeps_what_is_its_own() -> None:
    """Buckets decide how a backbone pads: a clock must not hide them."""
    runs = Ours.open(fake("tiny"), None, 1, Clock())
    engine: Any = runs._encoder.backbone.engine
    object.__setattr__(engine._engine, "buckets", "its own")
    assert engine.buckets == "its own"
    assert not hasattr(engine, "run_resident")


@pytest.mark.gpu
def test_half_precision_and_a_bundle_on_a_real_gpu_agree(tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tiny_checkpoints.build("bert", tmp_path_factory.mktemp("bert") / "checkpoint")
    kinds = [Contender(f"PyTorch {kind}", TINY, kind=kind, device="cuda") for kind in ("fp32", "fp16", "fp16-eager")]
    ours = dataclasses.replace(fake("tiny"), engine="ort", device="cuda")
    cells = parse_cells(["1x8"], ["2x6"])
    grid = small_grid(*kinds, ours, source=str(source), cells=cells, together=False)
    try:
        check(grid)
    except MissingDependencyError as error:
        pytest.skip(f"this installation does not run on the GPU: {error}")
    assert problems(run(grid)) == []
