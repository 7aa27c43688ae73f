"""One start of every contender: fresh processes, visited in random order; raw samples.

A block is the unit that is kept, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

from smartrt.errors import SmartrtError

from ..deadline import NEVER
from ..scoring.probes import Probes
from ..sensors import device_memory, joules_between
from .outputs import compare, read_outputs
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..deadline import Deadline
    from ..sensors import Energy
    from .grid import Contender, Grid

PAUSE = 0.05
"""Seconds before each visit: threads of the process before have stopped spinning then."""

_PROBES = 9  # of each kind a time; the median counts: one takes milliseconds, and anything may hit it


_RESOLUTIONS = {"(NVML)": 1.0, "(tegrastats)": 1.0}
"""Seconds of a visit below which a meter mixes it with its neighbours: its readings are averages, or come seldom."""


def too_coarse(domain: str, visit: float) -> str | None:
    """Why an energy domain cannot be read over a visit of so many seconds; None if it can."""
    least = next((seconds for kind, seconds in _RESOLUTIONS.items() if domain.endswith(kind)), 0.0)
    return f"visits of {visit:g} s are too short for it: --visit {least:g} or more" if visit < least else None


class Block:
    """Runs one block. `run` returns it JSON-ready."""

    def __init__(
        self, grid: Grid, threads: int, start: int, folder: Path, energy: Energy, deadline: Deadline = NEVER
    ) -> None:
        self._grid = grid
        self._threads = threads
        self._start = start
        self._folder = folder
        self._energy = energy
        self._deadline = deadline
        self._random = random.Random(f"{threads} {start}")  # noqa: S311  (an order, not a secret)
        self._probes = Probes(threads)
        self._probed: list[dict[str, float]] = []
        self._runs: dict[str, dict[str, Any]] = {}

    def run(self, advance: Callable[[int], None]) -> dict[str, Any]:
        """Start, visit and stop every contender.

        Args:
            advance: Called with the steps that are done, `Grid.visits` in a whole run.

        Returns:
            Probes and load, and by contender what its start took (``cold``), its ``memory``, by cell its ``calls`` and
            their ``joules``, and of the first start how its ``outputs`` compare; or the reason it ``failed``.
        """
        load = os.getloadavg()
        contenders = list(self._grid.contenders)
        self._random.shuffle(contenders)
        # One after another: each contender alone goes through what all go through together.
        for alive in [contenders] if self._grid.together else [[each] for each in contenders]:
            self._measure(alive, advance)
        if self._start == 0:
            self._compare()
        return {
            "threads": self._threads, "start": self._start, "load": [round(each, 2) for each in load],
            "probes": self._probed, "contenders": {each.name: self._runs[each.name] for each in self._grid.contenders},
        }  # fmt: skip

    def _measure(self, contenders: Sequence[Contender], advance: Callable[[int], None]) -> None:
        processes: list[Process] = []
        cells = range(len(self._grid.cells))
        try:
            for contender in contenders:
                if (process := self._begin(contender)) is not None:
                    processes.append(process)
                    self._attempt(process, self._prepare)
                advance(1)
            for _ in range(self._grid.rounds):
                self._probed.append(self._probe())
                visits = [(process, cell) for process in processes for cell in cells]
                self._random.shuffle(visits)
                for process, cell in visits:
                    self._attempt(process, self._visit, cell)
                    advance(1)
                advance((len(contenders) - len(processes)) * len(cells))  # those that did not start
            for process in processes:
                self._attempt(process, self._end)
        finally:
            for process in processes:
                process.stop()

    def _begin(self, contender: Contender) -> Process | None:
        run = self._runs[contender.name] = {"failed": None, "cold": None, "memory": None, "cells": {}, "outputs": {}}
        try:
            self._deadline.check()
            process = Process.start(contender, self._grid, self._threads, self._folder, self._deadline)
        except SmartrtError as error:
            run["failed"] = str(error)
            return None
        run["cold"] = process.first
        return process

    def _attempt(self, process: Process, work: Callable[..., None], *given: Any) -> None:
        """Do something with a process; once it failed, nothing any more."""
        run = self._runs[process.name]
        if run["failed"] is None:
            try:
                work(process, *given)
            except SmartrtError as error:
                run["failed"] = str(error)

    def _prepare(self, process: Process) -> None:
        self._deadline.check()
        process.ask("load")
        for number, cell in enumerate(self._grid.cells):
            if self._start == 0:
                process.ask("outputs", number, str(self._outputs(process.name, number)))
            self._runs[process.name]["cells"][cell.label] = {"calls": [], "made": 0, "joules": None}

    def _visit(self, process: Process, cell: int) -> None:
        self._deadline.check()
        time.sleep(PAUSE)
        kept = self._runs[process.name]["cells"][self._grid.cells[cell].label]
        before = self._energy.joules()
        answer = process.ask("visit", cell, self._grid.visit)
        spent = joules_between(before, self._energy.joules())
        spent = {domain: joules for domain, joules in spent.items() if not too_coarse(domain, self._grid.visit)}
        # A domain that was lost on the way is not there at all: a part of the joules would look like all.
        so_far = dict.fromkeys(spent, 0.0) if kept["joules"] is None else kept["joules"]
        kept["joules"] = {domain: joules + spent[domain] for domain, joules in so_far.items() if domain in spent}
        kept["made"] += answer["made"]
        kept["calls"] += answer["calls"]

    def _end(self, process: Process) -> None:
        device = device_memory(process.pid)
        memory = {"device_mb": None if device is None else device / (1 << 20)}
        self._runs[process.name]["memory"] = process.ask("memory") | memory

    def _probe(self) -> dict[str, float]:
        time.sleep(PAUSE)
        found = [self._probes.run() for _ in range(_PROBES)]
        return {key: statistics.median(each[key] for each in found) for key in found[0]}

    def _outputs(self, name: str, cell: int) -> Path:
        number = [each.name for each in self._grid.contenders].index(name)
        return self._folder / f"outputs-{self._threads}-{number}-{cell}.npz"

    def _compare(self) -> None:
        if self._runs[self._grid.compared_with]["failed"] is not None:
            return
        for number, cell in enumerate(self._grid.cells):
            truth = read_outputs(self._outputs(self._grid.compared_with, number))
            for contender in self._grid.contenders:
                run = self._runs[contender.name]
                if run["failed"] is None:
                    found = read_outputs(self._outputs(contender.name, number))
                    run["outputs"][cell.label] = compare(truth, found)
