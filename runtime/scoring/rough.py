"""A first pass in 8 bits on ONNX Runtime: late scores with a proven bound on their error.

int8 codes are multiplied as they are, int16 codes by their upper byte. Processors have instructions for bytes (VNNI and
its like), so this is several times as fast as float32, and what it cannot decide is scored again in float32: the answer
of a search is the same with it and without.

**The bound.** A stored vector is x. Its rough form is ``x' = s * (c + h)``, s the scale of the 8-bit codes c, and h
what is known of the bits left out: 1/2 for the upper byte of an int16, 0 for int8. A query token q is folded into the
scale and rounded, ``s * q = t * z + r`` with integers z. So ``q . x' = t * z . (c + h) + r . (c + h)``, of which the
pass computes the first part exactly. By Cauchy-Schwarz, with ``R = max |x - x'|`` and ``C = max |c + h|`` over a
document::

    |q . x - t * z . (c + h)| <= |q| R + |r| C

The largest product over a document's tokens cannot move by more than the bound of each, and a mean over query tokens by
no more than the mean of their bounds.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .blas import one_thread
from .buffers import buffer
from .graphs import is_at_hand, open_product
from .kernel import Single, scan
from .ragged import GROUP
from .shapes import shape_for
from .storage import round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engines.ort import OrtEngine
    from ..types import TokenStates
    from .kernel import Arithmetic
    from .shapes import Shape
    from .storage import Rough, StoredTokens
    from .tiles import Tiles

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

_COLUMNS, _GROUPS = 8, 512
"""Fewer query tokens or documents than this, and what a call costs in Python eats the gain."""

_CLEARLY = 0.8
"""Of the time in float32: some documents are scored again."""

_LEVELS = (127, 64)
"""Largest magnitude of a query's integers. 64 fits processors that add two products in 16 bits and saturate."""

_ROUNDING = np.float32(1e-6)  # of the float32 in which scores and bounds are kept


@dataclass(frozen=True)
class RoughScores:
    """Late scores ``[n, m]`` float32 and, for each, how far the score of the stored vectors may be from it."""

    scores: Float32
    bounds: Float32


def rough_scores(
    queries: TokenStates,
    tiles: Tiles,
    starts: NDArray[np.int64],
    scale: Float32,
    rough: Rough,
    *,
    threads: int = 1,
) -> RoughScores | None:
    """Late scores in 8 bits, or None where ONNX Runtime is not installed or does not compute such products exactly.

    Args:
        queries: n items of ``[tokens, D]``, none empty.
        tiles: int8 or int16 codes.
        starts: ``[m + 1]`` groups at which documents begin in `tiles`.
        scale: ``[D]`` of the codes.
        rough: What is known of the m documents.
        threads: Python threads, each running ONNX Runtime with one thread.
    """
    found = _engine()
    if found is None:
        return None
    engine, level = found
    folded = scale.astype(np.float64) * (256 if tiles.dtype == np.int16 else 1)

    def bytes_of(block: Float32) -> _Bytes:
        return _Bytes(engine, level, block * folded, tiles.dtype, shape_for(len(block), tiles.dim, threads, itemsize=1))

    scores = scan(queries, tiles, starts, bytes_of, threads)
    bounds = _bounds(queries, folded, level, rough) + _ROUNDING * (1 + np.abs(scores))
    return RoughScores(scores, np.nextafter(bounds, np.float32(np.inf)))


def pays(queries: TokenStates, tokens: StoredTokens) -> bool:
    """Whether a first pass over `tokens` is expected to be faster than float32 alone on this machine."""
    enough = len(queries.values) >= _COLUMNS and len(tokens.codes) >= _GROUPS
    return enough and tokens.rough is not None and _faster(tokens.codes.dtype, is_at_hand())


@functools.cache
def _faster(stored: np.dtype[Any], onnx: bool) -> bool:  # noqa: ARG001  (what float32 can do depends on it)
    """Whether a tile takes clearly less time in 8 bits: tried once, a few milliseconds."""
    found = _engine()
    if found is None:
        return False
    codes = np.ones((_GROUPS // 2, GROUP, 128), stored)
    block = np.full((32, 128), 0.1, np.float32)
    ways: list[Arithmetic] = [
        Single(block, codes.dtype, shape_for(32, 128)),
        _Bytes(*found, block.astype(np.float64), codes.dtype, shape_for(32, 128, itemsize=1)),
    ]
    times = [float("inf")] * 2
    with one_thread():
        for _ in range(5):
            for way, arithmetic in enumerate(ways):
                started = time.perf_counter()
                np.maximum.reduce(arithmetic.multiply(arithmetic.load(codes), 0), axis=0)
                times[way] = min(times[way], time.perf_counter() - started)
    return times[1] < times[0] * _CLEARLY


def _bounds(queries: TokenStates, folded: Float64, level: int, rough: Rough) -> Float32:
    """``[n, m]``: |q| R + |r| C, averaged over each query's tokens."""
    values = queries.values.astype(np.float64)
    rest = np.linalg.norm(_round(values * folded, level)[2], axis=1)
    lengths = queries.lengths.astype(np.float64)
    norms, rests = (
        np.add.reduceat(each, queries.offsets[:-1]) / lengths if len(lengths) else lengths
        for each in (np.linalg.norm(values, axis=1), rest)
    )
    bounds: Float64 = norms[:, None] * rough.distance[None] + rests[:, None] * rough.length[None]
    return round_up(bounds)


def _round(folded: Float64, level: int) -> tuple[NDArray[np.int8], Float64, Float64]:
    """Integers z ``[columns, D]``, their unit t ``[columns, 1]``, and the rest: ``folded = t * z + rest``."""
    unit = np.abs(folded).max(axis=1, keepdims=True) / level
    unit[unit == 0] = 1.0
    integers = np.rint(folded / unit)
    return integers.astype(np.int8), unit, folded - unit * integers


class _Bytes:
    """Products of bytes by ONNX Runtime."""

    dtype: type[np.generic] = np.int32

    def __init__(self, engine: OrtEngine, level: int, folded: Float64, dtype: np.dtype[Any], shape: Shape) -> None:
        self.shape = shape
        self.columns = len(folded)
        integers, self._unit, _ = _round(folded, level)
        self._blocks = {
            left: np.ascontiguousarray(integers[left : left + shape.columns].T)
            for left in range(0, len(folded), shape.columns)
        }
        self._engine = engine
        self._wide = dtype == np.int16
        # t * z . h: what the half step that every upper byte leaves out adds to a product.
        self._half = self._unit * integers.sum(axis=1, dtype=np.int64, keepdims=True) / 2 if self._wide else 0.0

    def load(self, codes: NDArray[Any]) -> NDArray[np.uint8]:
        """The codes plus 128, in slot-major order."""
        if self._wide:
            upper = buffer("upper", codes.shape, np.uint16)
            np.right_shift(codes.view(np.uint16), 8, out=upper)
            codes = upper
        slots = codes.transpose(1, 0, 2)
        tile: NDArray[np.uint8] = buffer("tile", slots.shape, np.uint8)
        np.copyto(tile, slots, casting="unsafe")
        np.bitwise_xor(tile, 128, out=tile)  # two's complement to offset: the same bits but the first
        return tile

    def multiply(self, tile: NDArray[np.uint8], first: int) -> NDArray[np.int32]:
        """See `Arithmetic`."""
        slots, groups, dim = tile.shape
        block = self._blocks[first]
        products: NDArray[np.int32] = buffer("products", (slots * groups, block.shape[1]), np.int32)
        self._engine.run_into({"codes": tile.reshape(-1, dim), "query": block}, {"products": products})
        return products.reshape(slots, groups, -1)

    def finish(self, matches: NDArray[np.int32]) -> Float64:
        """See `Arithmetic`."""
        cosines: Float64 = matches * self._unit.T + np.transpose(self._half)
        return cosines


@functools.cache
def _engine() -> tuple[OrtEngine, int] | None:
    """The graph, and the largest query integers that it multiplies exactly."""
    engine = open_product("rough")
    if engine is None:
        return None
    level = next((level for level in _LEVELS if _exact(engine, level)), None)
    return None if level is None else (engine, level)


def saturates() -> bool:
    """Whether 8-bit products of this processor come out wrong; False where no engine is there to tell."""
    found = _engine()
    return found is not None and found[1] < max(_LEVELS)


def _exact(engine: OrtEngine, level: int) -> bool:
    """Whether products of the largest numbers come out right: some processors saturate between two additions."""
    signs = np.where(np.arange(256) % 4 < 2, 1, -1).astype(np.int8)
    # As many rows and columns as a tile's kernels work on: few could be left to other ones.
    query = np.tile(np.stack([np.full(256, level, np.int8), level * signs], axis=1), 32)
    codes = np.tile(np.stack([np.full(256, 255, np.uint8), np.where(signs > 0, 255, 0).astype(np.uint8)]), (32, 1))
    wanted = (codes.astype(np.int64) - 128) @ query.astype(np.int64)
    return bool(np.array_equal(engine.run({"codes": codes, "query": query})["products"], wanted))
