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
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ..deadline import Deadline

_TAIL = 32_000
_POLL_S = 0.1
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Finished:
    """How a process ended: `code` is None if it was ended at the deadline; `text` is the end of what it said.

    `seconds` is None if it was never started.
    """

    code: int | None
    text: str
    seconds: float | None

    @property
    def reason(self) -> str:
        """One line on why it failed."""
        if self.seconds is None:
            return "not started: the part's budget was used up"
        if self.code is None:
            return f"ended after {self.seconds:.0f} s: the part's budget was used up"
        lines = self.text.strip().splitlines()
        return f"exit code {self.code}" + (f": {lines[-1].strip()[:300]}" if lines else "")


def run_together(
    commands: Mapping[str, Sequence[str]],
    deadline: Deadline,
    *,
    cores: int,
    at_once: int | None = None,
    at: Path | None = None,
) -> dict[str, Finished]:
    """Run processes of this interpreter side by side, each with its share of the cores.

    Args:
        commands: By name, the arguments of ``python``; they start in this order.
        deadline: When those that still run are ended; those that ended before keep what they did.
        cores: Of all together.
        at_once: How many run at a time; None: all.
        at: Where they run.
    """
    most = min(at_once or len(commands), len(commands))
    environment = os.environ | dict.fromkeys(_POOLS, str(max(1, cores // max(1, most))))
    waiting, running, done = dict(commands), dict[str, _Child](), dict[str, Finished]()
    with contextlib.ExitStack() as stack:
        while (waiting or running) and deadline.left:
            while waiting and len(running) < most:
                name = next(iter(waiting))
                running[name] = stack.enter_context(_Child.start(waiting.pop(name), environment, at))
            done |= {name: child.finished() for name, child in running.items() if child.ended}
            running = {name: child for name, child in running.items() if name not in done}
            time.sleep(min(_POLL_S, deadline.left) if running else 0)
        done |= {name: child.finished() for name, child in running.items()}
    return {name: done.get(name, Finished(None, "", None)) for name in commands}


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    began: float

    @classmethod
    @contextlib.contextmanager
    def start(cls, command: Sequence[str], environment: Mapping[str, str], at: Path | None) -> Iterator[_Child]:
        """It ends with the context, and all that it started with it."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(  # noqa: S603  (our own interpreter)
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=environment, cwd=at, start_new_session=True,
            )  # fmt: skip
            try:
                yield cls(process, said, time.monotonic())
            finally:
                _end(process)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def finished(self) -> Finished:
        size = self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, size - _TAIL))
        text = self.said.read().decode(errors="replace")
        return Finished(self.process.poll(), text, time.monotonic() - self.began)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
