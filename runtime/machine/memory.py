"""The machine's memory: free, contiguous, swap, and what the kernel keeps for devices (CMA).

The GPU of a Jetson takes its buffers from the same memory, some of them in one piece: builds of engines fail there for
want of *contiguous* memory while much is free (github.com/hokwangchoi/jetson-orin-nano-benchmarks). `CmaTotal` is the
area that the kernel keeps movable for that; /proc/buddyinfo tells the blocks that are free in one piece.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .reading import Answers, SensorError, read_kilobytes, read_text

if TYPE_CHECKING:
    from pathlib import Path

_ZONE = re.compile(r"^Node +[0-9]+, zone +\S+((?: +[0-9]{1,12})+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """Bytes; None is what could not be read, `unknown` says why.

    Attributes:
        total: Physical memory that the kernel manages.
        available: What a process can get without swapping (MemAvailable).
        swap_total: Swap, zram included.
        swap_free: What is free of it.
        cma_total: Memory kept for contiguous allocations of devices.
        cma_free: What is free of it.
        largest_block: The largest block of the kernel's allocator that is free; it knows none larger than 4 MiB
            (with pages of 4 KiB).
        in_largest_blocks: Free memory in blocks of that size.
        unknown: Attribute -> why it is None.
    """

    total: int | None
    available: int | None
    swap_total: int | None
    swap_free: int | None
    cma_total: int | None
    cma_free: int | None
    largest_block: int | None
    in_largest_blocks: int | None
    unknown: dict[str, str]


_KEYS = {
    "total": "MemTotal", "available": "MemAvailable", "swap_total": "SwapTotal", "swap_free": "SwapFree",
    "cma_total": "CmaTotal", "cma_free": "CmaFree",
}  # fmt: skip


def read_memory(root: Path) -> Memory:
    """The memory now.

    Args:
        root: `/`, or a tree that looks like it.
    """
    answers = Answers()
    meminfo = root / "proc/meminfo"
    found = {name: answers.ask(name, functools.partial(read_kilobytes, meminfo, key)) for name, key in _KEYS.items()}
    blocks = answers.ask("largest_block", lambda: _largest_blocks(root))
    if blocks is None:
        answers.unknown["in_largest_blocks"] = answers.unknown["largest_block"]
    size, count = blocks or (None, 0)
    held = None if size is None else size * count
    return Memory(**found, largest_block=size, in_largest_blocks=held, unknown=answers.unknown)


def _largest_blocks(root: Path) -> tuple[int, int]:
    """Bytes of the largest free block, and how many there are, over all zones."""
    path = root / "proc/buddyinfo"
    counts: dict[int, int] = {}
    for zone in _ZONE.findall(read_text(path, 1 << 16)):
        for order, count in enumerate(map(int, zone.split())):
            counts[order] = counts.get(order, 0) + count
    free = [order for order, count in counts.items() if count and order < _MOST_ORDERS]
    if not free:
        raise SensorError(f"{path} tells no free block")
    return _page_bytes() << max(free), counts[max(free)]


_MOST_ORDERS = 24


def _page_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4096
