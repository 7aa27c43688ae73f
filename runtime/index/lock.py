"""One writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from ..errors import IndexStoreError
from .layout import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the index for writing. The kernel lets go when the process ends, however it ends.

    Raises:
        IndexStoreError: Another process is writing.
    """
    with (directory / LOCK_NAME).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IndexStoreError(
                f"{directory} is being written by another process: wait until it has finished"
            ) from None
        yield
