"""From readings to joules: integrals of power, counters that wrap, and the thread that reads them in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from .base import SensorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PLAUSIBLE_WATTS = 10_000.0
"""No package, memory or GPU takes more: a counter that runs faster was set back or is broken."""
_SLACK_JOULES = 100.0
"""Counters are updated every millisecond (RAPL) to 0.1 s (NVML), so two quick readings may be a step apart."""


class Integral:
    """Joules from samples of power by the trapezoid rule, ``E = sum (p[i] + p[i-1]) / 2 * (t[i] - t[i-1])``."""

    def __init__(self) -> None:
        self.joules = 0.0
        self.seconds = 0.0
        self._watts: float | None = None

    def add(self, seconds: float, watts: float) -> None:
        """Add a sample; the time may not go backwards.

        A negative power counts as 0: amplifiers read a few milliwatts below zero on a rail that is switched off.
        """
        watts = max(watts, 0.0)
        if self._watts is not None:
            self.joules += (watts + self._watts) / 2 * max(seconds - self.seconds, 0.0)
        self.seconds, self._watts = seconds, watts


class Gauge(Protocol):
    """What measures one domain. `patience` is how many readings in a row may fail before it is lost."""

    patience: int

    @property
    def joules(self) -> float:
        """Joules since the first reading."""

    def update(self) -> None:
        """Read the sensor. Raises SensorError if that fails or cannot be true."""


class PowerGauge:
    """A sensor that tells the power of this moment.

    An I2C bus that is busy refuses now and then, so a few failures in a row are bridged: the next sample carries its
    own time, and the trapezoid over the gap stays right for a power that changes slowly.

    Args:
        read: Watts now; raises SensorError.
        clock: Seconds.
    """

    patience = 5

    def __init__(self, read: Callable[[], float], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._integral = Integral()

    @property
    def joules(self) -> float:
        """Joules between the first sample and the last."""
        return self._integral.joules

    def update(self) -> None:
        """Take a sample."""
        watts = self._read()
        self._integral.add(self._clock(), watts)


class CounterGauge:
    """A sensor that counts energy itself.

    A counter that reads less than before has wrapped, if the step across `wraps_at` is one that the hardware could
    have taken in the time; otherwise somebody set it back and what was spent is not known.

    Args:
        read: The counter; raises SensorError.
        unit: Joules per count.
        wraps_at: The counter goes from here to 0; None if it never does.
        clock: Seconds.
    """

    patience = 1

    def __init__(self, read: Callable[[], int], unit: float, wraps_at: int | None, clock: Callable[[], float]) -> None:
        self._read = read
        self._unit = unit
        self._wraps_at = wraps_at
        self._clock = clock
        self._counts = 0
        self._last: tuple[int, float] | None = None

    @property
    def joules(self) -> float:
        """Joules between the first reading and the last."""
        return self._counts * self._unit

    def update(self) -> None:
        """Read the counter."""
        count, now = self._read(), self._clock()
        if count < 0 or (self._wraps_at is not None and count > self._wraps_at):
            raise SensorError(f"the energy counter reads {count}, which is outside its range")
        if self._last is not None:
            self._counts += self._step(count, now, *self._last)
        self._last = count, now

    def _step(self, count: int, now: float, last: int, then: float) -> int:
        step = count - last
        if step < 0 and self._wraps_at is not None:
            step += self._wraps_at
        limit = _SLACK_JOULES + _PLAUSIBLE_WATTS * max(now - then, 0.0)
        if step < 0 or step * self._unit > limit:
            raise SensorError(f"the energy counter went from {last} to {count} in {now - then:.3g} s")
        return step


class Ticker:
    """A daemon thread that calls `action` every `interval` seconds until it is stopped."""

    def __init__(self, action: Callable[[], None], interval: float) -> None:
        self._action = action
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smartrt-energy", daemon=True)

    @classmethod
    def start(cls, action: Callable[[], None], interval: float) -> Ticker:
        """Start the thread; the first call comes after one interval."""
        ticker = cls(action, interval)
        ticker._thread.start()
        return ticker

    def stop(self, wait: float = 2.0) -> None:
        """End the thread and wait for it, `wait` seconds at most: one that hangs in the kernel is left behind."""
        self._stop.set()
        self._thread.join(timeout=wait)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._action()


class GaugeMeter:
    """A `Meter` of gauges: reads them, drops those that fail, keeps them from wrapping unseen.

    Made by `open`; `kind` names the interface, such as ``RAPL``.
    """

    def __init__(self, kind: str, gauges: Mapping[str, Gauge], total: Sequence[str]) -> None:
        self.kind = kind
        self._gauges = dict(gauges)
        self._total = tuple(total)
        self._lost: dict[str, str] = {}
        self._failures = dict.fromkeys(gauges, 0)
        self._lock = threading.Lock()
        self._ticker: Ticker | None = None
        self._release: Callable[[], None] = lambda: None
        self._open = True

    @classmethod
    def open(
        cls,
        kind: str,
        gauges: Mapping[str, Gauge],
        *,
        total: Sequence[str] = (),
        interval: float = 0.0,
        release: Callable[[], None] = lambda: None,
    ) -> GaugeMeter:
        """Read every gauge once and start the thread.

        Args:
            kind: Name of the interface.
            gauges: Domain -> gauge. One whose first reading fails is lost from the start.
            total: The domains that may be added up.
            interval: Seconds between two readings of the thread; 0 starts none.
            release: Called once at the end.

        Raises:
            SensorError: No gauge can be read; the reason is the first one's. `release` was not called.
        """
        meter = cls(kind, gauges, total)
        meter._update(patient=False)
        if not meter._gauges:
            raise SensorError(next(iter(meter._lost.values()), "nothing to read"))
        meter._release = release
        if interval:
            meter._ticker = Ticker.start(meter._update, interval)
        return meter

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of what can be read now."""
        with self._lock:
            return tuple(self._gauges)

    @property
    def total(self) -> tuple[str, ...]:
        """The domains that may be added up; none if one of them is lost."""
        with self._lock:
            return self._total if all(name in self._gauges for name in self._total) else ()

    @property
    def lost(self) -> dict[str, str]:
        """Domain -> why it cannot be read."""
        with self._lock:
            return dict(self._lost)

    def joules(self) -> dict[str, float]:
        """Joules since the meter was opened, until now; once it is closed, until then."""
        self._update()
        with self._lock:
            return {name: gauge.joules for name, gauge in self._gauges.items()}

    def close(self) -> None:
        """Stop the thread and release the library."""
        if not self._open:
            return
        if self._ticker is not None:
            self._ticker.stop()
        with self._lock:
            self._open = False
        self._release()

    def _update(self, *, patient: bool = True) -> None:
        with self._lock:
            for name in list(self._gauges) if self._open else ():
                self._update_one(name, patient=patient)

    def _update_one(self, name: str, *, patient: bool) -> None:
        gauge = self._gauges[name]
        try:
            gauge.update()
            self._failures[name] = 0
        except SensorError as error:
            self._failures[name] += 1
            if not patient or self._failures[name] >= gauge.patience:
                del self._gauges[name]
                self._lost[name] = str(error)
