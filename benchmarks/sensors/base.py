"""What every kind of energy sensor shares: the `Meter` protocol, careful reading of one value, and differences.

One value is read by `smartrt.machine.reading`, which `smartrt doctor` uses too; what a measurement adds to it is that a
value that cannot be read is `NOT_MEASURED`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from smartrt.errors import OptionError
from smartrt.machine.reading import (
    ROOT,
    SensorError,
    find_program,
    list_names,
    printable,
    read_integer,
    read_name,
    read_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "NOT_MEASURED",
    "ROOT",
    "Meter",
    "Sampling",
    "SensorError",
    "distinct",
    "find_program",
    "joules_between",
    "list_names",
    "or_empty",
    "or_not_measured",
    "printable",
    "read_integer",
    "read_name",
    "read_name_or_empty",
    "read_text",
]

T = TypeVar("T")

NOT_MEASURED = "not measured"


class Meter(Protocol):
    """One kind of sensor, open. No method raises because a sensor failed: what fails moves to `lost`."""

    kind: str

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of what can be read now."""

    @property
    def total(self) -> tuple[str, ...]:
        """The domains that may be added up; none if one of them is lost, as the sum would look complete."""

    @property
    def lost(self) -> dict[str, str]:
        """The reason for each domain that is there but cannot be read, or no longer."""

    def joules(self) -> dict[str, float]:
        """Joules since the meter was opened, per domain of `domains`; never less than at an earlier call."""

    def close(self) -> None:
        """Stop threads and processes. May be called twice."""


@dataclass(frozen=True)
class Sampling:
    """How power is sampled where a sensor has no counter of energy.

    Attributes:
        interval: Seconds between two samples that a thread takes. 0 starts no thread: then every call of `joules`
            is a sample and there are no others, which is right for tests and for no measurement.
        clock: Seconds from any start, never backwards.
    """

    interval: float = 0.02
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if not (math.isfinite(self.interval) and self.interval >= 0):
            raise OptionError(f"a sampling interval of {self.interval!r} seconds: give a number of 0 or more")


def joules_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Joules spent between two answers of `Energy.joules`, for the domains that both have.

    Args:
        before: Cumulative joules per domain.
        after: The same, later.
    """
    return {name: after[name] - before[name] for name in after if name in before}


def read_name_or_empty(path: Path) -> str:
    """The same, or an empty string where it cannot be read."""
    return or_empty(lambda: read_name(path))


def or_empty(read: Callable[[], str]) -> str:
    """What `read` returns, or an empty string where it raises SensorError."""
    try:
        return read()
    except SensorError:
        return ""


def or_not_measured(read: Callable[[], T]) -> T | str:
    """What `read` returns, or `NOT_MEASURED` where it raises SensorError."""
    try:
        return read()
    except SensorError:
        return NOT_MEASURED


def distinct(names: Iterable[str]) -> Iterator[str]:
    """The names in their order; one that came before gets a number: `acpitz`, `acpitz #2`."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} #{seen[name]}"
