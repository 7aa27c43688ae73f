"""One Python thread per core, taking tasks until none is left, with BLAS held at one thread.

NumPy lets go of the interpreter lock inside a product, so the threads run at the same time. The pool stays: starting a
thread costs as much as scoring a few documents.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import OptionError
from .blas import find_blas, one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Task = TypeVar("Task")

_MOST_THREADS = 256


def run_tasks(work: Callable[[Task], None], tasks: Iterable[Task], threads: int) -> None:
    """Call `work` once for each task, in `threads` threads of which the caller is one.

    An error in one task stops the others after the task they are at, and is raised here.
    """
    waiting = deque(tasks)

    def drain() -> None:
        try:
            while waiting:
                try:
                    task = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                work(task)
        except BaseException:
            waiting.clear()
            raise

    with one_thread() as held:
        # Without a hold on the BLAS its own threads do the work, and ours would only be in their way.
        helpers = min(threads, len(waiting)) - 1 if held else 0
        others = [_pool(helpers).submit(drain) for _ in range(helpers)]
        try:
            drain()
        finally:
            # Those that did not start, because another search keeps the pool busy, have nothing left to do.
            errors = [error for other in others if not other.cancel() and (error := other.exception())]
        if errors:
            raise errors[0]


def check_threads(threads: int | None) -> int:
    """`threads`, or one for each core this process may use; refused if it is no count."""
    if threads is None:
        return _cores() if find_blas() else 1
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or not 1 <= threads <= _MOST_THREADS:
        raise OptionError(f"threads must be a whole number from 1 to {_MOST_THREADS}, got {threads!r}")
    return int(threads)


def _cores() -> int:
    try:
        return min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    except AttributeError:  # not Linux
        return min(os.cpu_count() or 1, _MOST_THREADS)


_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None
_size = 0


def _pool(size: int) -> ThreadPoolExecutor:
    """At least `size` threads, and no more than were ever asked for: each keeps its buffers."""
    global _executor, _size
    with _lock:
        if _executor is None or size > _size:
            if _executor is not None:
                _executor.shutdown(wait=False)
            _executor, _size = ThreadPoolExecutor(size, thread_name_prefix="smartrt"), size
        return _executor


def _forget() -> None:
    """A forked child has none of its parent's threads, and a lock of its own."""
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
