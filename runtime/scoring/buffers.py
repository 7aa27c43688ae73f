"""Memory that a thread uses again: fresh memory costs a page fault each 4 KiB, a tenth of a small search."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_KEPT = 16 << 20
"""Bytes of a buffer that stays with its thread; a larger one is given back after use."""


class _Buffers(threading.local):
    """The buffers of one thread by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, NDArray[np.uint8]] = {}


_buffers = _Buffers()


def buffer(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of this thread's, with whatever was last written to the buffer `name`."""
    kind = np.dtype(dtype)
    size = kind.itemsize
    for axis in shape:
        size *= axis
    memory = _buffers.by_name.get(name)
    if memory is None or len(memory) < size:
        memory = np.empty(size, np.uint8)
        if size <= _KEPT:
            _buffers.by_name[name] = memory
    return memory[:size].view(kind).reshape(shape)
