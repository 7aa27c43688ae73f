"""The parent's hold on a contender's process."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from smartrt.errors import EngineError

from ..deadline import NEVER

if TYPE_CHECKING:
    from pathlib import Path

    from ..deadline import Deadline
    from .grid import Contender, Grid

_MODULE = "smartrt.benchmarks.latency.worker"
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_PATIENCE = 900.0
"""Seconds until a process that says nothing counts as lost; compiling a large model takes minutes."""


_GRACE = 1.0
"""Seconds that an answer may take when the deadline is over: who has made all visits tells its memory."""

_ENDING = 30.0
"""Seconds that a process may take to end: one with much memory takes some."""


class Process:
    """A running contender: `first` holds what it took to answer the first time. Make one with `start`."""

    def __init__(
        self, child: subprocess.Popen[bytes], complaint: IO[bytes], name: str, deadline: Deadline = NEVER
    ) -> None:
        self.name = name
        self.first: dict[str, float] = {}
        self._child = child
        self._complaint = complaint
        self._deadline = deadline

    @classmethod
    def start(cls, contender: Contender, grid: Grid, threads: int, folder: Path, deadline: Deadline = NEVER) -> Process:
        """Start a process and wait until it has encoded its first item.

        No answer is waited for longer than to the deadline, or a second.

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
        try:
            child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                [sys.executable, "-W", "ignore", "-m", _MODULE, json.dumps(request)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaint, env=os.environ | pools,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            complaint.close()
            raise EngineError(f"no process could be started: {error.strerror}") from None
        process = cls(child, complaint, contender.name, deadline)
        try:
            process.first = process._answer()
        except BaseException:  # an interruption leaves no process behind
            process.stop()
            raise
        process.first |= {"wall_s": time.perf_counter() - began}
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
        """End the process and all that it started, compilers and their workers among them."""
        with contextlib.suppress(ProcessLookupError):  # it leads a group of its own (`start`), unless nothing is left
            os.killpg(self._child.pid, signal.SIGKILL)
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
            if not ready.select(min(_PATIENCE, max(self._deadline.left, _GRACE))):
                over = not self._deadline.left
                raise self._lost(self._deadline.reason if over else f"no answer in {_PATIENCE:.0f} seconds")
            line = self._child.stdout.readline()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._lost() from None
        return answer

    def _lost(self, reason: str | None = None) -> EngineError:
        """The error for a process that is silent (the `reason`), or has closed its output and is about to end."""
        if reason is None:
            try:
                reason = f"exit code {self._child.wait(_ENDING)}"
            except subprocess.TimeoutExpired:
                reason = "it closed its output and went on"
        self._complaint.seek(0)
        if lines := self._complaint.read().decode(errors="replace").strip().splitlines():
            reason += f": {lines[-1][:300]}"
        self.stop()
        return EngineError(reason)
