"""Whose turn it is on the GPUs of this process: one that records a CUDA graph is alone, all others go side by side.

ONNX Runtime records in CUDA's global mode (cudaStreamCaptureModeGlobal in its cuda_graph.cc). While it does, a call of
any other thread that allocates memory or waits for the legacy stream fails, and may break the recording too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class CaptureLock:
    """A lock that one thread holds alone, or several share.

    A thread that holds it may take it again, to be alone only if it is already. One that waits to be alone is not
    overtaken: who would share comes after it, but for those that share already. Take an engine's own lock before this
    one, never after, and neither in a finalizer: it may run in the thread that it would wait for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._held = _Held()
        self._sharing = 0
        self._waiting = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use CUDA beside other threads, while none records."""
        if not self._held.depth:
            with self._changed:
                self._changed.wait_for(lambda: not self._alone and not self._waiting)
                self._sharing += 1
        with self._holding():
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Record, while no other thread uses CUDA.

        Raises:
            RuntimeError: This thread shares the lock: two that wanted the same would wait for each other forever.
        """
        if self._held.depth and not self._held.alone:
            raise RuntimeError("a thread that uses CUDA beside others cannot begin to record")
        if not self._held.depth:
            with self._changed:
                self._waiting += 1
                try:
                    self._changed.wait_for(lambda: not self._alone and not self._sharing)
                    self._alone = self._held.alone = True
                finally:
                    self._waiting -= 1
                    self._changed.notify_all()  # after an interruption those that came later need not wait
        with self._holding():
            yield

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Count how often this thread holds the lock, and let it go with the last."""
        self._held.depth += 1
        try:
            yield
        finally:
            self._held.depth -= 1
            if not self._held.depth:
                self._let_go()

    def _let_go(self) -> None:
        with self._changed:
            if self._held.alone:
                self._alone = self._held.alone = False
            else:
                self._sharing -= 1
            self._changed.notify_all()


class _Held(threading.local):
    """What the calling thread holds."""

    depth = 0
    alone = False


CAPTURES: Final = CaptureLock()
"""The one of this process: CUDA's global mode knows no devices either."""
