"""Reading what the machine says of itself: files of the kernel and of the board, any of which may be missing or broken.

A function that reads returns the value or raises SensorError with the reason. `Answers` asks many such functions and
keeps, for each that has no answer, why.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

ROOT = Path("/")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")


class SensorError(Exception):
    """Why something cannot be read, in one line. It never leaves the caller's package: the line is kept instead."""


class Answers:
    """Questions and, in `unknown`, the reason for each that has no answer."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}

    def ask(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` returns, or None where it raises SensorError; the reason is then `unknown[name]`."""
        try:
            return read()
        except SensorError as error:
            self.unknown[name] = str(error)
            return None


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


def read_integer(path: Path) -> int:
    """The decimal integer of a file. Raises SensorError as `read_text` does, and if there is something else."""
    text = read_text(path)
    if not _INTEGER.fullmatch(text):
        raise SensorError(f"{path} holds {printable(text)[:40]!r}, not an integer")
    return int(text)


def read_kilobytes(path: Path, key: str) -> int:
    """Bytes of one line of /proc/meminfo. Raises SensorError as `read_text` does, and if it has no such line."""
    match = re.search(rf"^{re.escape(key)}:\s*([0-9]{{1,15}}) kB$", read_text(path, 1 << 16), re.MULTILINE)
    if not match:
        raise SensorError(f"{path} has no {key}")
    return int(match[1]) * 1024


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
