"""Calls in threads of their own, each waited for with a limit: a deadlock is a red test and no hanging one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

SOON = 10.0
"""Seconds after which a thread is held for stuck."""

A_WHILE = 0.05
"""Seconds in which a thread that is not held up gets through."""


class Started:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._result: Any = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        self._result = call()

    @property
    def waits(self) -> bool:
        """Whether it is held up."""
        self._thread.join(A_WHILE)
        return self._thread.is_alive()

    def result(self) -> Any:
        """What it returned."""
        self._thread.join(SOON)
        assert not self._thread.is_alive(), "a thread is stuck"
        return self._result
