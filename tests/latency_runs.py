"""Small grids of the tiny bundle, run with real processes, for the tests of `smartrt bench latency`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from smartrt.benchmarks.kept import Kept
from smartrt.benchmarks.latency import blocks
from smartrt.benchmarks.latency.grid import Contender, Grid, parse_cells
from smartrt.benchmarks.latency.measure import measure
from smartrt.benchmarks.scoring import probes

TINY = Path(__file__).parent / "data" / "tiny.smartrt"
CELLS = parse_cells(["1x8"], ["2x6"])
QUERY, DOCUMENT = (cell.label for cell in CELLS)
QUICK = {"cells": CELLS, "threads": (1,), "corpus": 5, "starts": 1, "rounds": 1, "visit": 0.005}

SHAPES = (
    "--threads", 1, "--queries", "1x8", "--documents", "2x6", "--corpus", 5, "--starts", 1, "--rounds", 1,
    "--visit", 0.005,
)  # fmt: skip
"""The same on the command line."""

WHILE_STARTING, WHILE_VISITED = 0, 8
"""Runs of the fake engine after which it fails: a process makes five before its first visit."""


def fake(name: str, *, bundle: Path = TINY, **options: Any) -> Contender:
    """The tiny bundle on the fake engine, with options of it."""
    return Contender(name, bundle, engine="fake", options=options)


def small_grid(*contenders: Contender, **changes: Any) -> Grid:
    """A grid that takes about a second; the first contender is the reference unless the changes say another."""
    return Grid(**{"contenders": contenders, "reference": contenders[0].name} | QUICK | changes)


@contextlib.contextmanager
def small_probes() -> Iterator[None]:
    """Probes of the machine that take no time, and say nothing: whether it was quiet is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_SIDE", 64)
        patch.setattr(probes, "_READ", 1 << 20)
        patch.setattr(blocks, "PAUSE", 0.0)
        yield


class Steps:
    """Stands in for a progress bar: what was announced and what was advanced, by label."""

    def __init__(self, on_step: Callable[[int], None] = lambda _: None) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self._on_step = on_step

    @contextlib.contextmanager
    def __call__(self, label: str, total: int) -> Iterator[Any]:
        self.totals[label], self.done[label] = total, 0
        yield _Shown(self, label)

    def advance(self, label: str, count: int) -> None:
        self.done[label] += count
        if label == "latency":
            self._on_step(self.done[label])


class _Shown:
    def __init__(self, steps: Steps, label: str) -> None:
        self._steps = steps
        self._label = label

    def advance(self, count: int) -> None:
        self._steps.advance(self._label, count)


def run(grid: Grid, keep: Path | None = None, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Measure; every step that was announced must have been made."""
    steps = Steps(on_step)
    with small_probes():
        result = measure(grid, steps, keep=None if keep is None else Kept.open(keep))
    assert steps.totals["latency"] == grid.visits
    assert steps.done["latency"] == grid.visits
    return result


def rows_of(result: dict[str, Any], label: str, group: int = 0) -> dict[str, dict[str, Any]]:
    """The rows of a cell by contender."""
    cell = next(cell for cell in result["groups"][group]["cells"] if cell["cell"] == label)
    return {row["contender"]: row for row in cell["rows"]}


def cold_of(result: dict[str, Any], group: int = 0) -> dict[str, dict[str, Any]]:
    """What was cold, by contender."""
    return {row["contender"]: row for row in result["groups"][group]["cold"]}


def workers() -> dict[str, psutil.Process]:
    """The worker processes of this process that are alive, by contender."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            command = child.cmdline()
            if "smartrt.benchmarks.latency.worker" in command and child.status() != psutil.STATUS_ZOMBIE:
                found[json.loads(command[-1])["contender"]["name"]] = child
    return found
