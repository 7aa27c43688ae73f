"""How much is read, converted and multiplied at a time, and by whom: what fits the caches, and what was tried."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass

import numpy as np

from .blas import find_blas, one_thread
from .graphs import is_at_hand
from .products import Way, multiply
from .ragged import GROUP

_SMALL_PRODUCT = 1_000_000
"""OpenBLAS multiplies without copying up to M * N * K of this (kernel/x86_64, sgemm_small_matrix_permit)."""

_ATTEMPTS = 5
_LARGEST_TILE = 2048  # rows
_SHARED_TILE, _SHARED_ROWS = 16_000_000, 512  # multiplications and rows of a tile, at least, with several threads
_WIDEST = 1024  # columns
_TASK_SCORES = 1 << 19  # best matches of a task, 2 MiB of float32: the segmented maximum reads them from the cache
_CACHES = {2: 1 << 20, 3: 8 << 20}


@dataclass(frozen=True)
class Shape:
    """How a query block of some width goes over documents of some dim.

    Attributes:
        way: How a tile is multiplied.
        tile: Groups converted and multiplied at a time.
        task: Groups of one task of a worker.
        columns: Query tokens multiplied at a time.
    """

    way: Way
    tile: int
    task: int
    columns: int


def shape_for(columns: int, dim: int, threads: int = 1, itemsize: int = 4) -> Shape:
    """How `columns` query tokens go over documents of `dim` dimensions, `itemsize` bytes each, on this machine.

    A tile and its products fit the second-level cache; with several threads it is larger, because each call of NumPy
    then waits for the interpreter lock, longer than the cache is worth.
    """
    width = min(columns, _WIDEST)
    rows = int(1.3 * cache_size(2)) // (itemsize * dim + 4 * width)
    largest = 4 * _LARGEST_TILE // itemsize
    if threads > 1:
        rows, largest = max(rows, _SHARED_TILE // max(dim * width, 1), _SHARED_ROWS), 4 * largest
    # Fewer than 128 rows, and what a call costs in Python counts.
    rows = min(max(rows, 128), largest) // 128 * 128
    way = _fastest(width, dim, rows, is_at_hand()) if itemsize == 4 else Way()
    if way.onnx and threads == 1:
        rows *= 2  # a call of ONNX Runtime costs more than one of NumPy
    tile = rows // GROUP
    return Shape(way, tile, max(tile, _TASK_SCORES // columns // tile * tile), width)


@functools.cache
def _fastest(columns: int, dim: int, rows: int, onnx: bool) -> Way:
    """The way that multiplies a tile fastest: milliseconds, once a shape.

    One product of NumPy is right for most machines, those of aarch64 too. OpenBLAS's AVX-512 kernels have a path for
    small products, and whether it is faster (up to twice) depends on processor and shape. ONNX Runtime is faster where
    OpenBLAS does not know the processor.
    """
    ways, blas = [Way()], find_blas()
    if blas is not None and blas.small_products:
        pieces = [None, *(piece for piece in (8, 32, 128) if piece * columns * dim <= _SMALL_PRODUCT)]
        ways = [Way(piece, order) for piece in pieces for order in ("C", "F")]
    if onnx:
        ways.append(Way(onnx=True))
    if len(ways) == 1:
        return ways[0]
    tile, products = np.ones((rows, dim), np.float32), np.empty((rows, columns), np.float32)
    blocks = {order: np.ones((dim, columns), np.float32, order=order) for order in ("C", "F")}
    times = dict.fromkeys(ways, float("inf"))
    with one_thread():
        for _ in range(_ATTEMPTS):  # the best of a few: the first one also warms the caches
            for way in ways:
                started = time.perf_counter()
                multiply(tile, blocks[way.order], way, products)
                times[way] = min(times[way], time.perf_counter() - started)
    return min(times, key=lambda way: times[way])


@functools.cache
def cache_size(level: int) -> int:
    """Bytes of the cache of this level, or a usual number where the machine does not say."""
    try:
        size = os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE")
    except (ValueError, OSError):  # not Linux with glibc
        size = 0
    return size if size > 0 else _CACHES[level]
