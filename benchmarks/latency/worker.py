"""The process of one contender: `python -m smartrt.benchmarks.latency.worker REQUEST`.

It opens the contender, encodes the first item and says so; then it answers requests, a line of JSON each, until its
input ends. Answers go to what was standard output when it started. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import SmartrtError

from ..clock import Clock
from ..memory import peak_rss_mb
from .grid import Contender
from .workload import Workload

if TYPE_CHECKING:
    from smartrt.types import Embeddings

    from .ours import Ours
    from .theirs import Theirs

_MOST = 200  # calls of a visit


class Worker:
    """A contender and the items of every cell."""

    def __init__(self, runs: Ours | Theirs, clock: Clock, folder: Path, sides: list[Any]) -> None:
        self._runs = runs
        self._clock = clock
        self._folder = folder
        self._sides = sides
        self._items = Workload.read_items(folder)
        self._long: set[int] = set()

    def first(self) -> dict[str, Any]:
        """Encode the first item of the first cell: what a new process is started for."""
        self._runs.encode(self._items[0][:1], self._sides[0])
        self._clock.take()
        return {"cpu_s": time.process_time(), "peak_rss_mb": peak_rss_mb()}

    def load(self) -> dict[str, Any]:
        """Load the corpus, and run every cell once: what is built for a shape is built now."""
        self._runs.load(Workload.read_corpus(self._folder))
        for cell in range(len(self._items)):
            self._call(cell)
        return {}

    def outputs(self, cell: int, path: str) -> dict[str, Any]:
        """Write what a cell's call returns: vectors, and of queries the ranking."""
        found, ranked = self._call(cell)
        place = np.array([[position for position, _ in row] for row in ranked], np.int64)
        score = np.array([[value for _, value in row] for row in ranked], np.float64)
        tokens = found.tokens
        np.savez(path, pooled=found.pooled, values=tokens.values, offsets=tokens.offsets, place=place, score=score)
        return {}

    def visit(self, cell: int, seconds: float) -> dict[str, Any]:
        """Call a cell for so many seconds, at least once; wall and CPU seconds of each call and of its stages."""
        if made := int(cell not in self._long):
            self._call(cell)  # cores that slept and caches that others filled are not what is measured
        self._clock.take()
        calls: list[dict[str, Any]] = []
        began = time.perf_counter()
        while not calls or (time.perf_counter() - began < seconds and len(calls) < _MOST):
            wall, cpu = time.perf_counter(), time.process_time()
            self._call(cell)
            sample = time.perf_counter() - wall, time.process_time() - cpu
            calls.append({"whole": sample} | self._clock.take())
        if calls[0]["whole"][0] > seconds:
            self._long.add(cell)
        return {"calls": calls, "made": made + len(calls)}

    def memory(self) -> dict[str, Any]:
        """Peak of the process so far."""
        return {"peak_rss_mb": peak_rss_mb()}

    def _call(self, cell: int) -> tuple[Embeddings, list[list[tuple[int, float]]]]:
        side = self._sides[cell]
        found = self._runs.encode(self._items[cell], side)
        return found, self._runs.rank(found) if side == "query" else []


def main() -> None:
    """See the module."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        _serve(answers)
    except SmartrtError as error:
        sys.exit(str(error))  # the parent quotes the last line


def _serve(answers: Any) -> None:
    request = json.loads(sys.argv[1])
    contender, clock = Contender.from_json(request["contender"]), Clock()
    opened = (request["source"], request["threads"], clock)
    runs: Ours | Theirs
    if contender.kind is None:
        from .ours import Ours

        runs = Ours.open(contender, *opened)
    else:
        from .theirs import Theirs

        runs = Theirs.open(contender, *opened)
    worker = Worker(runs, clock, Path(request["folder"]), request["sides"])
    _answer(answers, worker.first())
    for line in sys.stdin:
        name, *given = json.loads(line)
        _answer(answers, getattr(worker, name)(*given))
    runs.close()


def _answer(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
