"""Processes of our own program with a deadline: what takes memory gives it back, and what hangs ends no other part."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .suite import Deadline

_TAIL = 4000
_POLL_S = 0.1


@dataclass(frozen=True)
class Finished:
    """How a process ended: `code` is None if it was ended at the deadline; `text` is the end of what it said."""

    code: int | None
    text: str
    seconds: float

    @property
    def reason(self) -> str:
        """One line on why it failed."""
        if self.code is None:
            return f"ended after {self.seconds:.0f} s: the part's budget was used up"
        lines = self.text.strip().splitlines()
        return f"exit code {self.code}" + (f": {lines[-1].strip()[:300]}" if lines else "")


def run_together(
    commands: Mapping[str, Sequence[str]], deadline: Deadline, *, cores: int, at: Path | None = None
) -> dict[str, Finished]:
    """Run processes of this interpreter side by side, each with its share of the cores.

    Args:
        commands: By name, the arguments of ``python``.
        deadline: When those that still run are ended.
        cores: Of all together.
        at: Where they run.
    """
    share = str(max(1, cores // max(1, len(commands))))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, share)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        for name, command in commands.items():
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(  # noqa: S603  (our own interpreter)
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=environment, cwd=at, start_new_session=True,
            )  # fmt: skip
            stack.callback(_end, process)
            running[name] = process, said
        took = _wait({name: process for name, (process, _) in running.items()}, deadline, began)
        return {
            name: Finished(process.poll(), _tail(said), took.get(name, time.monotonic() - began))
            for name, (process, said) in running.items()
        }


def _wait(running: Mapping[str, subprocess.Popen[bytes]], deadline: Deadline, began: float) -> dict[str, float]:
    """Seconds of those that ended."""
    took: dict[str, float] = {}
    while len(took) < len(running) and deadline.left:
        for name, process in running.items():
            if name not in took and process.poll() is not None:
                took[name] = time.monotonic() - began
        time.sleep(_POLL_S if len(took) < len(running) else 0)
    return took


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _TAIL))
    return said.read().decode(errors="replace")
