"""maxsim-cpu in a process of its own: it crashes on some shapes, and its thread pool is set before it starts.

Run as a module it is that process: it makes the case's data, then scores once for each line on standard input and
answers with a line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from .cases import CASES, make
from .probes import clocked

MODULE = "maxsim_cpu"


def installed() -> bool:
    """Whether maxsim-cpu is there."""
    return importlib.util.find_spec(MODULE) is not None


class Peer:
    """The other end of the pipe. `score` returns None from the moment the process crashed."""

    def __init__(self, case: str, threads: int) -> None:
        names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        command = [sys.executable, "-m", __spec__.name, case]
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.crashed = self._process.stdout is None or self._process.stdout.readline() != "ready\n"

    def score(self) -> tuple[float, float, np.ndarray] | None:
        """Wall and CPU seconds, and the scores."""
        if self.crashed or self._process.stdin is None or self._process.stdout is None:
            return None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.crashed = True
            return None
        return answer["wall_s"], answer["cpu_s"], np.array(answer["scores"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # a process that crashed never read what was written last
                self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _serve(case: str) -> None:
    library = importlib.import_module(MODULE)
    data = make(CASES[case])
    queries = [np.ascontiguousarray(rows) for rows in data.queries.tokens]
    documents = [np.ascontiguousarray(rows) for rows in data.documents.tokens]
    same = len({len(rows) for rows in documents}) == 1
    stacked = np.stack(documents) if same else None
    _say("ready")

    found: dict[str, np.ndarray] = {}

    def score() -> None:
        if stacked is not None:
            found["sums"] = np.stack([library.maxsim_scores(query, stacked) for query in queries])
        else:
            found["sums"] = np.stack([library.maxsim_scores_variable(query, documents) for query in queries])

    for _ in sys.stdin:
        wall, cpu = clocked(score)
        means = found["sums"] / np.array([[len(query)] for query in queries])  # it sums, as ColBERT does
        _say(json.dumps({"wall_s": wall, "cpu_s": cpu, "scores": means.tolist()}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
