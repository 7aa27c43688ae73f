"""What every kind of energy sensor shares: the `Meter` protocol, careful reading of one value, and differences."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from smartrt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")

ROOT = Path("/")
NOT_MEASURED = "not measured"
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")


class SensorError(Exception):
    """Why a sensor cannot be read, in one line. It never leaves this package: `Energy.absent` holds the line."""


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


def read_text(path: Path, limit: int = 4096) -> str:
    """The text of a file of the kernel, without white space and NULs around it.

    Args:
        path: The file.
        limit: Bytes that are read at most; more is cut off.

    Raises:
        SensorError: It cannot be read, or nothing is in it.
    """
    try:
        with path.open("rb") as file:
            text = file.read(limit).decode("utf-8", "replace").strip("\0 \t\r\n")
    except PermissionError:
        raise SensorError(f"{path} is not readable for this user: run as root, or `sudo chmod a+r {path}`") from None
    except OSError as error:
        raise SensorError(f"{path} cannot be read: {error.strerror or error}") from None
    if not text:
        raise SensorError(f"{path} is empty")
    return text


def read_name(path: Path) -> str:
    """The first line of a file that holds a name, printable and not long. Raises SensorError as `read_text` does."""
    return printable(read_text(path).splitlines()[0])[:120]


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


def read_integer(path: Path) -> int:
    """The decimal integer of a file. Raises SensorError as `read_text` does, and if there is something else."""
    text = read_text(path)
    if not _INTEGER.fullmatch(text):
        raise SensorError(f"{path} holds {printable(text)[:40]!r}, not an integer")
    return int(text)


def list_names(folder: Path) -> list[str]:
    """Names of what is in a folder, sorted. Raises SensorError if it is not there or cannot be listed."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        raise SensorError(f"there is no {folder}") from None
    except OSError as error:
        raise SensorError(f"{folder} cannot be listed: {error.strerror or error}") from None


def printable(text: str) -> str:
    """`text` as one line that cannot move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text).strip()


def find_program(name: str, root: Path) -> str | None:
    """The path of an installed program, or None.

    Args:
        name: The program's name.
        root: `/` searches PATH; another root is searched itself and nothing beside it.
    """
    inside = os.pathsep.join(str(root / folder) for folder in ("usr/bin", "usr/sbin", "bin", "sbin"))
    return shutil.which(name, path=None if root == ROOT else inside)


def distinct(names: Iterable[str]) -> Iterator[str]:
    """The names in their order; one that came before gets a number: `acpitz`, `acpitz #2`."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} #{seen[name]}"
