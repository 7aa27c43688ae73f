"""tegrastats: the program of Jetson Linux that prints the power of the rails, for boards whose sysfs is closed.

Its lines hold pairs of the power now and the average since its start, `VDD_IN 4200mW/4100mW`, in older releases
`POM_5V_IN 2345/2345`, among much else (Jetson Linux Developer Guide, "tegrastats Utility"). It runs as a child
process, one line every 100 ms; a line counts at the time it arrives. Joules are those until the last line: windows
of less than a second are not for this meter.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from typing import TYPE_CHECKING

from .base import SensorError, find_program
from .gauges import Integral
from .rails import is_connected, total_rails

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .base import Sampling

KIND = "tegrastats"
_EVERY_MS = 100
_FIRST_LINE_S = 3.0
_SILENCE_S = 2.0
_LONGEST_LINE = 8192
_POWER = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (-?[0-9]{1,7})(?:mW)?/-?[0-9]{1,7}(?:mW)?(?!\S)")


def parse_line(line: str) -> dict[str, float]:
    """Rail -> watts now, of a line of tegrastats; empty for any other line.

    Pairs with a unit that is not mW, such as `RAM 2044/3964MB`, are none of power, and `NC` is no rail.
    """
    return {rail: int(now) / 1000 for rail, now in _POWER.findall(line) if is_connected(rail)}


class TegrastatsMeter:
    """A `Meter` that listens to a running tegrastats. Made by `open`."""

    kind = KIND

    def __init__(self, process: subprocess.Popen[bytes], clock: Callable[[], float]) -> None:
        self._process = process
        self._clock = clock
        self._integrals: dict[str, Integral] = {}
        self._lost: dict[str, str] = {}
        self._total: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name="smartrt-tegrastats", daemon=True)

    @classmethod
    def open(cls, root: Path, sampling: Sampling, first_line_s: float = _FIRST_LINE_S) -> TegrastatsMeter:
        """Start the program and wait for its first line with a rail.

        Args:
            root: `/` takes the program from PATH; another root is searched itself.
            sampling: Its clock.
            first_line_s: Seconds to wait.

        Raises:
            SensorError: The program is not installed, does not start, ends, or prints no power.
        """
        program = find_program(KIND, root)
        if program is None:
            raise SensorError("the program is not installed")
        command = [program, "--interval", str(_EVERY_MS)]
        try:
            process = subprocess.Popen(  # noqa: S603  (the board's own program, no shell)
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise SensorError(f"{program} does not start: {error.strerror or error}") from None
        meter = cls(process, sampling.clock)
        with contextlib.ExitStack() as started:
            started.callback(meter.close)
            meter._thread.start()
            meter._first.wait(first_line_s)
            if not meter.domains:
                code = process.poll()
                when = f"in {first_line_s:g} s" if code is None else f"before it ended with exit code {code}"
                raise SensorError(f"{program} printed no power of a rail {when}; it may need root")
            started.pop_all()
        return meter

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the rails that are still printed."""
        with self._lock:
            return tuple(self._integrals)

    @property
    def total(self) -> tuple[str, ...]:
        """The rails that add up to the module's power; none if one is lost or the board is not known."""
        with self._lock:
            return self._total if all(name in self._integrals for name in self._total) else ()

    @property
    def lost(self) -> dict[str, str]:
        """Rail -> why it is no longer known."""
        with self._lock:
            return dict(self._lost)

    def joules(self) -> dict[str, float]:
        """Joules between the first line and the last one, per rail."""
        now = self._clock()
        with self._lock:
            for name, integral in list(self._integrals.items()):
                if not self._closing and now - integral.seconds > _SILENCE_S:
                    self._lose(name, f"tegrastats has not printed it for {now - integral.seconds:.1f} s")
            return {name: integral.joules for name, integral in self._integrals.items()}

    def close(self) -> None:
        """End the program and the thread."""
        self._closing = True
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._thread.join(timeout=2)
        if self._process.stdout is not None and not self._thread.is_alive():
            self._process.stdout.close()

    def _listen(self) -> None:
        stream = self._process.stdout
        while stream is not None and (line := stream.readline(_LONGEST_LINE)):
            watts = parse_line(line.decode("utf-8", "replace"))
            if watts:
                self._add(watts)
        if not self._closing:
            code = self._process.wait()
            with self._lock:
                for name in list(self._integrals):
                    self._lose(name, f"tegrastats ended with exit code {code}")
        self._first.set()

    def _add(self, watts: dict[str, float]) -> None:
        now = self._clock()
        with self._lock:
            if not self._first.is_set():  # the rails of the first line are the board's
                self._integrals = {f"{rail} ({KIND})": Integral() for rail in watts}
                self._total = tuple(f"{rail} ({KIND})" for rail in total_rails(watts))
            for rail, value in watts.items():
                if integral := self._integrals.get(f"{rail} ({KIND})"):
                    integral.add(now, value)
        self._first.set()

    def _lose(self, name: str, reason: str) -> None:
        del self._integrals[name]
        self._lost[name] = reason
