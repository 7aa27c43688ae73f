"""Where token vectors come from, a tile of them at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .buffers import buffer
from .ragged import GROUP
from .shapes import cache_size

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tiles(Protocol):
    """Groups of token vectors, in any number type, one after another."""

    dim: int
    dtype: np.dtype[Any]

    def read(self, first: int, last: int) -> NDArray[Any]:
        """Groups `first` to `last`, ``[last - first, 8, D]``: valid until this thread reads the next."""
        ...


class StoredTiles:
    """Groups as they are stored: all of them, or the chosen ones in the chosen order.

    They are copied before they are converted. Converting out of memory waits for each cache line, a plain copy does
    not: together they take half the time. Chosen groups are gathered by the same copy, so candidates that lie
    scattered cost no more than neighbours.
    """

    def __init__(self, codes: NDArray[Any], chosen: NDArray[np.int64] | None = None) -> None:
        self.dim = int(codes.shape[2])
        self.dtype = codes.dtype
        self._codes = codes
        self._chosen = chosen
        self._cached = codes.nbytes <= cache_size(3) // 2

    def read(self, first: int, last: int) -> NDArray[Any]:
        """See `Tiles`."""
        if self._chosen is None and self._cached:
            return self._codes[first:last]
        stage = buffer("stage", (last - first, GROUP, self.dim), self.dtype)
        if self._chosen is None:
            np.copyto(stage, self._codes[first:last])
        else:
            np.take(self._codes, self._chosen[first:last], axis=0, out=stage, mode="clip")  # "raise" would buffer
        return stage


class RaggedTiles:
    """Groups made of the rows of a ragged array, ``rows [groups, 8]`` saying which."""

    def __init__(self, values: NDArray[np.floating[Any]], rows: NDArray[np.int64]) -> None:
        self.dim = int(values.shape[1])
        self.dtype = values.dtype
        self._values = values
        self._rows = rows

    def read(self, first: int, last: int) -> NDArray[Any]:
        """See `Tiles`."""
        stage = buffer("stage", (last - first, GROUP, self.dim), self.dtype)
        np.take(self._values, self._rows[first:last], axis=0, out=stage, mode="clip")
        return stage
