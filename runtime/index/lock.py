"""One writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from ..errors import IndexStoreError
from .layout import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the index for writing.

    The kernel lets go when the process ends, however it ends: a lock is never stale, and the process number in the
    file only says who holds it.

    Raises:
        IndexStoreError: Another process is writing.
    """
    with (directory / LOCK_NAME).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).decode("ascii", errors="replace").strip()
            who = f"process {holder}" if holder.isdigit() and holder != str(os.getpid()) else "another process"
            raise IndexStoreError(f"{directory} is being written by {who}: wait until it has finished") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield
