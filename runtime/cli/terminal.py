"""What a person or a program sees: text, JSON, progress bars, warnings."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def say(text: str = "") -> None:
    """Print a line of result to standard output."""
    _write(f"{text}\n")


def note(text: str) -> None:
    """Print a line about the work, not of the result, to standard error."""
    sys.stderr.write(f"{text}\n")


def say_json(data: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document to standard output; dataclasses become objects. No indent gives one line."""
    ascii_only = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    _write(json.dumps(data, indent=indent, ensure_ascii=ascii_only, default=dataclasses.asdict) + "\n")


def flush() -> None:
    """Send what was printed.

    Raises:
        StorageError: Standard output is a file on a full disk.
        BrokenPipeError: Nobody reads it any more.
    """
    with _output_errors():
        sys.stdout.flush()


def discard_output() -> None:
    """Let nothing more be written, so that the interpreter does not try again when it ends."""
    with contextlib.suppress(OSError, ValueError):  # a stand-in for standard output may have no descriptor
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def escape_unprintable() -> None:
    """Print what the locale's encoding cannot say as an escape, instead of failing half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(text: str) -> None:
    with _output_errors():
        sys.stdout.write(text)


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write standard output: {error.strerror}") from error


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> Iterator[str]:
    """Lines of a table with aligned columns; `right` names those that are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


class Progress:
    """A bar on standard error. Made by `progress`; silent where nobody looks."""

    def __init__(self, label: str, total: int, *, visible: bool) -> None:
        self._label = label
        self._total = total
        self._visible = visible
        self._started = time.monotonic()
        self._drawn = 0.0
        self.done = 0

    def advance(self, count: int) -> None:
        """Count `count` more items as done."""
        self.done += count
        now = time.monotonic()
        if self._visible and (now - self._drawn > 0.1 or self.done >= self._total):
            self._drawn = now
            self._draw(now - self._started)

    def _draw(self, elapsed: float) -> None:
        left = elapsed / max(self.done, 1) * (self._total - self.done)
        rate = self.done / max(elapsed, 1e-9)
        filled = 24 * self.done // max(self._total, 1)
        bar = "█" * filled + "░" * (24 - filled)
        text = f"{self._label} {bar} {self.done:,}/{self._total:,}  {rate:,.0f}/s  {_clock(left)} left"
        sys.stderr.write("\r" + text[: shutil.get_terminal_size().columns - 1].ljust(1) + "\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the bar from the screen."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A progress bar if standard error is a terminal, nothing in a pipe."""
    bar = Progress(label, total, visible=sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.clear()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
