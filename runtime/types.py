"""The two types that travel between the parts: ragged token vectors, and what an encoder returns.

Token vectors are ragged here and everywhere: padding exists only inside one engine call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenStates:
    """The token vectors of n items, one after another.

    Attributes:
        values: ``[total_tokens, dim]`` float32 or float16.
        offsets: ``[n + 1]`` int64, from 0 to ``total_tokens``, never falling. Item ``i`` owns the rows
            ``offsets[i]:offsets[i + 1]``.

    Raises:
        InputError: If the two do not fit together.
    """

    values: FloatArray
    offsets: IntArray

    def __post_init__(self) -> None:
        values, offsets = self.values, self.offsets
        if values.ndim != 2 or values.dtype not in (np.float32, np.float16):
            raise InputError(f"token values must be [total_tokens, dim] float32 or float16, got {_shape(values)}")
        if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
            raise InputError(f"token offsets must be [n + 1] int64, got {_shape(offsets)}")
        if offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
            raise InputError(
                f"token offsets must rise from 0 to {len(values)} (the number of rows), "
                f"got {offsets[0]} to {offsets[-1]}"
            )

    @classmethod
    def from_arrays(cls, arrays: Sequence[FloatArray], dim: int | None = None) -> TokenStates:
        """Join one ``[tokens, dim]`` array per item; `dim` is needed only when there is no item."""
        if not arrays and dim is None:
            raise InputError("no arrays were given: pass dim to make an empty TokenStates")
        _check_one_dim([array.shape[-1] for array in arrays])
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        values = np.concatenate(arrays) if arrays else np.zeros((0, dim or 0), np.float32)
        return cls(values, offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenStates]) -> TokenStates:
        """Join the items of several TokenStates of one dim, in order."""
        _check_parts(parts)
        _check_one_dim([part.dim for part in parts])
        starts = np.cumsum([0, *(len(part.values) for part in parts)])
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, item: int) -> FloatArray:
        """The ``[tokens, dim]`` rows of one item, as a view."""
        index = range(len(self))[item]  # raises IndexError and understands negative numbers
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[FloatArray]:
        return (self[i] for i in range(len(self)))

    @property
    def dim(self) -> int:
        """Length of one token vector."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> IntArray:
        """Number of tokens per item, ``[n]`` int64."""
        return np.diff(self.offsets)

    def take(self, items: Sequence[int] | IntArray) -> TokenStates:
        """The chosen items in the chosen order, copied."""
        chosen = _positions(items)
        if not len(chosen):
            return TokenStates(self.values[:0].copy(), np.zeros(1, np.int64))
        return self.from_arrays([self[int(i)] for i in chosen])


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What an encoder returns for n items.

    Attributes:
        pooled: ``[n, H]`` float32, one vector per item. L2-normalised, unless the bundle was exported
            from a checkpoint that does not normalise (manifest ``normalized: false``).
        tokens: n items of ``[tokens, D]`` float32 vectors, L2-normalised, none of them empty: an item
            that has no token left after the late mask holds its normalised pooled vector as its one
            row, or one row of zeros where the bundle has an adapter (SMART, arXiv 2605.24938, reference code).
        truncated: ``[n]`` int64, how many tokens of the item did not fit the model; 0 is the usual case.

    Raises:
        InputError: If the three disagree about n.
    """

    pooled: NDArray[np.float32]
    tokens: TokenStates
    truncated: IntArray

    def __post_init__(self) -> None:
        if self.pooled.ndim != 2 or self.pooled.dtype != np.float32:
            raise InputError(f"pooled must be [n, H] float32, got {_shape(self.pooled)}")
        if self.truncated.ndim != 1 or self.truncated.dtype != np.int64:
            raise InputError(f"truncated must be [n] int64, got {_shape(self.truncated)}")
        counts = len(self.pooled), len(self.tokens), len(self.truncated)
        if len(set(counts)) != 1:
            raise InputError(f"pooled, tokens and truncated must describe the same items, got {counts}")

    @classmethod
    def concatenate(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """Join the items of several Embeddings, in order."""
        _check_parts(parts)
        _check_one_dim([part.pooled.shape[1] for part in parts])
        return cls(
            np.concatenate([part.pooled for part in parts]),
            TokenStates.concatenate([part.tokens for part in parts]),
            np.concatenate([part.truncated for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.pooled)

    def take(self, items: Sequence[int] | IntArray) -> Embeddings:
        """The chosen items in the chosen order, copied."""
        chosen = _positions(items)
        return Embeddings(self.pooled[chosen], self.tokens.take(chosen), self.truncated[chosen])


def _positions(items: Sequence[int] | IntArray) -> IntArray:
    chosen = np.asarray(items)
    if chosen.ndim != 1 or (len(chosen) and chosen.dtype.kind not in "iu"):
        raise InputError(f"items to take must be a list of positions, got {_shape(chosen)}")
    return chosen.astype(np.int64)


def _check_parts(parts: Sequence[object]) -> None:
    if not parts:
        raise InputError("there is nothing to join: concatenate needs at least one part")


def _check_one_dim(dims: Sequence[int]) -> None:
    if len(set(dims)) > 1:
        raise InputError(f"vectors of different dims cannot be joined, got {sorted(set(dims))}")


def _shape(array: NDArray[Any]) -> str:
    return f"{list(array.shape)} {array.dtype}"
