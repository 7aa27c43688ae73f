"""What TensorRT tells while it builds: events for whoever waits, and what its logger said for the last line.

`Events`, `Journal` and `Progress` are plain Python. `logger_of` and `monitor_of` make of them the subclasses that
TensorRT's bindings want, which must not raise: an exception in a callback from C++ ends the process.
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .advice import OVERSIZED, is_memory_trouble
from .library import missing_library

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["missing", "request", "parse", "memory", "build"]
"""Why there is no plan; `compile` describes them."""

MAX_MESSAGE = 1500
"""Characters of one message; TensorRT's own can hold a whole node."""

STEP_SECONDS = 0.1
"""Least time between two events of progress, but for those of the outermost phase."""

_ERROR, _WARNING = 1, 2  # ILogger.Severity; 0 is INTERNAL_ERROR

_HARMLESS = re.compile(r"has Int64 binding|minShape is not the same|[Ss]erialized \d+ ")


class Sink(Protocol):
    """Where events go: an unbuffered binary file."""

    def write(self, line: bytes, /) -> object:
        """Write one line."""


class Events:
    """JSON objects, one a line. When nobody reads any more it falls quiet and remembers that."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self.abandoned = False

    def send(self, event: str, **fields: Any) -> None:
        """Write one event. Never raises: it is called from inside TensorRT."""
        line = json.dumps({"event": event, **fields}) + "\n"
        with self._lock:
            if self.abandoned:
                return
            try:
                self._sink.write(line.encode())
            except (OSError, ValueError):  # a broken pipe, a closed file
                self.abandoned = True


class Journal:
    """What the logger said: warnings become notes, once each; errors are kept for the last line."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._seen: set[str] = set()
        self.errors: list[str] = []
        self.warnings = 0

    def hear(self, severity: int, message: str) -> None:
        """Take one message of the logger."""
        text = one_line(message)
        if severity <= _ERROR:
            self.errors.append(text)
        elif severity == _WARNING and not _HARMLESS.search(text):
            self.warnings += 1
            self.note(text)

    def note(self, text: str) -> None:
        """Tell a warning, unless one like it was told: they come by the hundred and differ in their numbers."""
        alike = re.sub(r"\d+", "#", text)
        if alike not in self._seen:
            self._seen.add(alike)
            self._events.send("note", message=text)

    @property
    def heard(self) -> int:
        """How many errors and warnings there were so far."""
        return len(self.errors) + self.warnings

    def cause(self, since: int = 0) -> tuple[Kind, str]:
        """The kind of failure and the error that tells it, if any: memory first, for other errors only follow from it.

        Args:
            since: How many errors to pass over, those of earlier steps.
        """
        errors = self.errors[since:]
        if memory := next(filter(is_memory_trouble, errors), None):
            return "memory", memory
        if missing := next((text for text in errors if "Unable to load library" in text), None):
            return "missing", missing_library(missing) or missing
        first = errors[0] if errors else ""
        return ("request" if OVERSIZED in first else "build"), first


class Progress:
    """Phases and steps of a build as events, few enough for a person to read."""

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._clock = clock
        self._phases: dict[str, tuple[int, bool]] = {}  # steps, and whether it is the outermost
        self._last = float("-inf")

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside `parent`."""
        self._phases[phase] = steps, parent is None
        self._tell(phase, 0)

    def step(self, phase: str, step: int) -> bool:
        """A step was done; whether to go on: not when nobody waits for the plan any more."""
        self._tell(phase, step + 1)
        return not self._events.abandoned

    def finish(self, phase: str) -> None:
        """A phase ended, perhaps early."""
        self._phases.pop(phase, None)

    def _tell(self, phase: str, step: int) -> None:
        steps, outermost = self._phases.get(phase, (0, False))
        now = self._clock()
        if outermost or now - self._last >= STEP_SECONDS:
            self._last = now
            self._events.send("phase", name=phase, step=step, of=steps)


def logger_of(tensorrt: Any, journal: Journal) -> Any:
    """A logger of TensorRT that tells `journal`."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)  # the bindings refuse super().__init__()

        def log(self, severity: Any, message: str) -> None:
            journal.hear(int(severity), message)

    return Logger()


def monitor_of(tensorrt: Any, progress: Progress) -> Any | None:
    """A progress monitor of TensorRT that tells `progress`; None where the bindings have none."""
    if not hasattr(tensorrt, "IProgressMonitor"):
        return None

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def one_line(text: str) -> str:
    """`text` on one line, cut where it becomes too long for one."""
    return " ".join(text.split())[:MAX_MESSAGE]
