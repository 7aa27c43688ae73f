"""``late(q, d) = (1 / |q|) sum_i max_j <q_i, d_j>`` for every query and document.

A tile of documents is multiplied with a block of query tokens, and the products are reduced twice: over the 8 rows of a
group, which is one pass over contiguous memory, and over the groups of a document. A task is a run of whole documents;
workers take tasks until none is left.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .buffers import buffer
from .products import multiply, multiply_strided
from .ragged import spans
from .shapes import shape_for
from .upcast import upcast
from .workers import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..types import TokenStates
    from .shapes import Shape
    from .tiles import Tiles

    Array = NDArray[Any]
    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

_COLUMNS = 2048
"""Query tokens that go over the documents together; more make a second pass."""

_WIDE = 128  # columns
_RELAY = 64  # columns


class Arithmetic(Protocol):
    """One block of query tokens, and how stored numbers are multiplied with it."""

    shape: Shape
    columns: int
    dtype: type[np.generic]
    """Of the products."""

    def load(self, codes: Array) -> Array:
        """Stored groups ``[groups, 8, D]`` as what `multiply` takes, ``[8, groups, D]``."""
        ...

    def multiply(self, tile: Array, first: int) -> Array:
        """Products ``[8, groups, columns]`` with up to ``shape.columns`` query tokens from the one at `first`."""
        ...

    def finish(self, matches: Array) -> Array:
        """The best products ``[documents, columns]`` as cosines, in float64."""
        ...


def late_scores(
    queries: TokenStates, tiles: Tiles, starts: Int64, scale: Float32 | None = None, *, threads: int = 1
) -> Float32:
    """Score every query against every document in float32.

    Args:
        queries: n items of ``[tokens, D]``, none empty.
        tiles: Where the documents' groups come from.
        starts: ``[m + 1]`` groups at which documents begin in `tiles`, rising.
        scale: ``[D]``: what a stored number is multiplied with.
        threads: Python threads; each holds one tile.

    Returns:
        ``[n, m]`` float32, within 2e-6 of float64 for unit vectors.
    """

    def single(block: Float32) -> Arithmetic:
        folded = block if scale is None else block * scale
        return Single(folded, tiles.dtype, shape_for(len(block), tiles.dim, threads))

    return scan(queries, tiles, starts, single, threads)


def scan(
    queries: TokenStates, tiles: Tiles, starts: Int64, arithmetic: Callable[[Float32], Arithmetic], threads: int
) -> Float32:
    """Score with the arithmetic that `arithmetic` makes of a block of query tokens ``[columns, D]``."""
    scores = np.empty((len(queries), len(starts) - 1), np.float32)
    for first, last in spans(queries.offsets, _COLUMNS):
        begin, end = queries.offsets[first], queries.offsets[last]
        block = queries.values[begin:end].astype(np.float32, copy=False)
        offsets = queries.offsets[first : last + 1] - begin
        _scan_block(arithmetic(block), offsets, tiles, starts, scores[first:last], threads)
    return scores


def _scan_block(
    arithmetic: Arithmetic, offsets: Int64, tiles: Tiles, starts: Int64, scores: Float32, threads: int
) -> None:
    tile = arithmetic.shape.tile

    def work(task: tuple[int, int]) -> None:
        first, last = task
        best = _best_of_groups(arithmetic, tiles, int(starts[first]), int(starts[last]))
        matches = arithmetic.finish(_best_of_documents(best, starts[first : last + 1] - starts[first]))
        for query, (left, right) in enumerate(itertools.pairwise(offsets)):
            scores[query, first:last] = matches[:, left:right].sum(axis=1) / (right - left)

    # Several tasks for each thread, so that none waits long for the last.
    fair = -(-int(starts[-1]) // (4 * threads * tile)) * tile
    run_tasks(work, spans(starts, max(tile, min(arithmetic.shape.task, fair))), threads)


def _best_of_groups(arithmetic: Arithmetic, tiles: Tiles, begin: int, end: int) -> Array:
    """``[groups, columns]``: the largest product of each query token in each group."""
    shape = arithmetic.shape
    best = buffer("best", (end - begin, arithmetic.columns), arithmetic.dtype)
    for at in range(begin, end, shape.tile):
        stop = min(at + shape.tile, end)
        tile = arithmetic.load(tiles.read(at, stop))
        for left in range(0, arithmetic.columns, shape.columns):
            products = arithmetic.multiply(tile, left)
            part = best[at - begin : stop - begin, left : left + products.shape[2]]
            np.maximum.reduce(products, axis=0, out=part)
    return best


def _best_of_documents(best: Array, starts: Int64) -> Array:
    """``[documents, columns]``: the maximum over the groups of each document."""
    if best.shape[1] < _WIDE:
        matches: Array = np.maximum.reduceat(best, starts[:-1], axis=0)
        return matches
    # reduceat goes down one column at a time; over long rows a call for each document is faster.
    matches = np.empty((len(starts) - 1, best.shape[1]), best.dtype)
    for row, (begin, end) in enumerate(itertools.pairwise(starts)):
        np.maximum.reduce(best[begin:end], axis=0, out=matches[row])
    return matches


class Single:
    """float32 products."""

    dtype: type[np.generic] = np.float32

    def __init__(self, block: Float32, stored: np.dtype[Any], shape: Shape) -> None:
        self.shape = shape
        self.columns = len(block)
        self._blocks = {
            left: np.array(block[left : left + shape.columns].T, order=shape.way.order)
            for left in range(0, len(block), shape.columns)
        }
        # Few columns: float32 is multiplied as it lies. Many: laying it out anew pays.
        self._as_it_lies = stored == np.float32 and self.columns < _RELAY and not shape.way.onnx

    def load(self, codes: Array) -> Float32:
        """Slot-major order is free here and makes the maximum over a group contiguous."""
        slots = codes.transpose(1, 0, 2)
        if self._as_it_lies:
            return slots
        tile = buffer("tile", slots.shape, np.float32)
        upcast(slots, tile)
        return tile

    def multiply(self, tile: Float32, first: int) -> Float32:
        """See `Arithmetic`."""
        block = self._blocks[first]
        products = buffer("products", (*tile.shape[:2], block.shape[1]), np.float32)
        if self._as_it_lies:
            multiply_strided(tile, block, self.shape.way, products)
        else:
            rows = tile.shape[0] * tile.shape[1]
            multiply(tile.reshape(rows, -1), block, self.shape.way, products.reshape(rows, -1))
        return products

    def finish(self, matches: Float32) -> NDArray[np.float64]:
        """In float64: the mean of thousands of nearly equal matches would drift."""
        return matches.astype(np.float64)
