"""A tile of documents times a block of query tokens, in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import EngineError
from .graphs import open_product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """How a product is computed.

    Attributes:
        piece: NumPy: rows of one product, or None for all in one.
        order: Of the query block ``[D, columns]`` in memory, as NumPy names it.
        onnx: By ONNX Runtime instead.
    """

    piece: int | None = None
    order: Literal["C", "F"] = "C"
    onnx: bool = False


def multiply(tile: Float32, block: Float32, way: Way, out: Float32) -> None:
    """``out = tile @ block``: ``[rows, D]`` times ``[D, columns]``, all contiguous but the block in `way.order`."""
    if way.onnx:
        engine = open_product("single")
        if engine is None:
            raise EngineError("ONNX Runtime is no longer there")
        engine.run_into({"tile": tile, "block": block}, {"products": out})
        return
    rows, piece = len(tile), way.piece
    count = rows // piece if piece and rows % piece == 0 else 1
    np.matmul(tile.reshape(count, -1, tile.shape[1]), block, out=out.reshape(count, -1, out.shape[1]))


def multiply_strided(slots: Float32, block: Float32, way: Way, out: Float32) -> None:
    """The same for ``[8, groups, D]`` whose rows lie 8 vectors apart, as stored float32 does: by NumPy alone."""
    count, groups, dim = slots.shape
    pieces = groups // way.piece if way.piece and groups % way.piece == 0 else 1
    split = slots.reshape(count, pieces, -1, dim)
    np.matmul(split, block, out=out.reshape(count, pieces, -1, out.shape[-1]))
