"""Where the time of a call goes: wall clock and CPU time of its stages."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STAGES = ("preprocess", "vision", "encoder", "decoder", "score")
"""In the order that they run in: keys of a JSON file may come in another."""

GRAPHS = ("vision", "encoder", "decoder")
"""The stages of the model; the others run on the processor, whatever the device."""


def in_order(stages: Iterable[str]) -> list[str]:
    """Each stage once, as they run; what is none of `STAGES` last."""
    known = {stage: place for place, stage in enumerate(STAGES)}
    return sorted(dict.fromkeys(stages), key=lambda stage: known.get(stage, len(STAGES)))


class Clock:
    """Adds up the wall and CPU seconds of named stages, until they are taken.

    CPU time is that of all threads of the process.
    """

    def __init__(self) -> None:
        self._stages: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside the block to `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            before = self._stages.get(name, (0.0, 0.0))
            self._stages[name] = before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, each call of which counts to `name`."""

        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return call(*args, **kwargs)

        return run

    def take(self) -> dict[str, tuple[float, float]]:
        """Wall and CPU seconds by stage since the last time, in the order they began."""
        taken, self._stages = self._stages, {}
        return taken
