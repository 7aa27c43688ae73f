"""The parent's hold on a contender's process."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from smartrt.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from .grid import Contender, Grid

_MODULE = "smartrt.benchmarks.latency.worker"
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_PATIENCE = 900.0
"""Seconds until a process that says nothing counts as lost; compiling a large model takes minutes."""


class Process:
    """A running contender: `first` holds what it took to answer the first time. Make one with `start`."""

    def __init__(self, child: subprocess.Popen[bytes], complaint: IO[bytes], name: str) -> None:
        self.name = name
        self.first: dict[str, float] = {}
        self._child = child
        self._complaint = complaint

    @classmethod
    def start(cls, contender: Contender, grid: Grid, threads: int, folder: Path) -> Process:
        """Start a process and wait until it has encoded its first item.

        Raises:
            EngineError: It failed.
        """
        request = {
            "contender": contender.to_json(), "source": grid.source, "threads": threads, "folder": str(folder),
            "sides": [cell.side for cell in grid.cells],
        }  # fmt: skip
        # What torch.compile has built is kept for the later starts of this run, and for no other run.
        pools = dict.fromkeys(_POOLS, str(threads)) | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
        complaint = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        began = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-W", "ignore", "-m", _MODULE, json.dumps(request)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaint, env=os.environ | pools,
        )  # fmt: skip
        process = cls(child, complaint, contender.name)
        answer = process._answer()
        process.first = {"wall_s": time.perf_counter() - began} | answer
        return process

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    def ask(self, name: str, *given: Any) -> dict[str, Any]:
        """Call a method of the `Worker` there.

        Raises:
            EngineError: The process ended, or says nothing.
        """
        try:
            self._pipe.write(json.dumps([name, *given]).encode() + b"\n")
            self._pipe.flush()
        except OSError:
            raise self._lost() from None
        return self._answer()

    def stop(self) -> None:
        """End the process, however it is."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._complaint):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was not read is of no interest any more
                    continue

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._child.stdin is not None  # noqa: S101  (it was opened as a pipe)
        return self._child.stdin

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None  # noqa: S101  (it was opened as a pipe)
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            line = self._child.stdout.readline() if ready.select(_PATIENCE) else b""
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._lost() from None
        return answer

    def _lost(self) -> EngineError:
        try:
            reason = f"exit code {self._child.wait(1)}"
        except subprocess.TimeoutExpired:
            reason = f"no answer in {_PATIENCE:.0f} seconds"
        self._complaint.seek(0)
        if lines := self._complaint.read().decode(errors="replace").strip().splitlines():
            reason += f": {lines[-1][:300]}"
        self.stop()
        return EngineError(reason)
