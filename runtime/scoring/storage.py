"""Token vectors as they are kept: two bytes, one byte or four per number, documents padded to groups of 8 rows.

A document's rows are padded by repeating its first one, which no maximum notices, so that a tile needs no mask.
int16 and int8 hold ``round(x / scale)`` with one scale per dimension; the scale is folded into the query, so that
scoring never multiplies a stored number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError, OptionError
from .ragged import GROUP, grouped_rows, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..types import TokenStates

    Codes = NDArray[Any]

Storage = Literal["int16", "int8", "float16", "float32"]

DTYPES: dict[Storage, str] = {"int16": "<i2", "int8": "|i1", "float16": "<f2", "float32": "<f4"}
LARGEST = {"int16": 32767, "int8": 127}
HEADROOM = 1.25
"""A scale that was outgrown leaves room for what comes later, so that few later batches need one of their own."""


_SMALLEST = np.float32(2.0**-100)
_BATCH = 1024  # groups converted at a time


@dataclass(frozen=True, eq=False)
class Rough:
    """What the 8-bit pass must know of n documents to bound its error (see `rough`).

    Attributes:
        distance: ``[n]`` float32: the largest distance between a stored token vector and its rough form.
        length: ``[n]`` float32: the largest length of a rough form in units of its codes.
    """

    distance: NDArray[np.float32]
    length: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredTokens:
    """The token vectors of n documents.

    Attributes:
        codes: ``[groups, 8, D]`` of the storage's dtype; may be a memory map.
        starts: ``[n + 1]`` int64, rising: document i owns the groups ``starts[i]:starts[i + 1]``.
        scale: ``[D]`` float32 for int16 and int8: a vector is ``codes * scale``. None for the float storages.
        errors: ``[n]`` float32: the largest distance between a token vector of the document and what is stored.
        rough: For int16 and int8: what a first pass in 8 bits must know.
    """

    codes: Codes
    starts: NDArray[np.int64]
    scale: NDArray[np.float32] | None
    errors: NDArray[np.float32]
    rough: Rough | None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Length of one token vector."""
        return int(self.codes.shape[2])

    @property
    def storage(self) -> Storage:
        """How the numbers are kept."""
        return storage_of(self.codes.dtype)

    def exact(self, document: int) -> NDArray[np.float64]:
        """The rows of one document, ``[rows, D]``, in float64: exactly what is stored."""
        codes = self.codes[self.starts[document] : self.starts[document + 1]]
        rows = codes.reshape(-1, self.dim).astype(np.float64)
        return rows if self.scale is None else rows * self.scale.astype(np.float64)


def store(tokens: TokenStates, storage: Storage, scale: NDArray[np.float32] | None = None) -> StoredTokens:
    """Pad and quantise.

    Args:
        tokens: n documents, none empty, finite.
        storage: How to keep the numbers.
        scale: For int16 and int8: a scale that nothing in `tokens` exceeds (see `fitting_scale`).

    Raises:
        InputError: A document has no token, or a number is too large for float16.
        OptionError: There is no such storage.
    """
    check_storage(storage)
    if storage == "float16" and len(tokens.values) and not np.abs(tokens.values).max() <= np.finfo(np.float16).max:
        raise InputError("a token vector holds a number that float16 cannot, 65504 being the largest: normalise it")
    rows, starts = grouped_rows(tokens.offsets)
    chosen = fitting_scale(tokens, storage, scale)
    codes = np.empty((len(rows), GROUP, tokens.dim), DTYPES[storage])
    distances = np.zeros((3, len(tokens)), np.float32)
    for first, last in spans(starts, _BATCH):  # the float64 copies stay small
        groups = slice(int(starts[first]), int(starts[last]))
        given = tokens.values[rows[groups]].astype(np.float32, copy=False)
        codes[groups] = _encode(given, storage, chosen)
        largest = np.stack(_distances(given, codes[groups], chosen)).max(axis=2)
        distances[:, first:last] = round_up(np.maximum.reduceat(largest, starts[first:last] - starts[first], axis=1))
    rough = None if chosen is None else Rough(distances[1], distances[2])
    return StoredTokens(codes, starts, chosen, distances[0], rough)


def _distances(
    given: NDArray[np.float32], codes: Codes, scale: NDArray[np.float32] | None
) -> tuple[NDArray[np.float64], ...]:
    """Per row: from what was given to what is stored, from there to the rough form, and the rough form's length."""
    exact = given.astype(np.float64)
    if scale is None:
        error = np.linalg.norm(exact - codes, axis=2)
        return error, np.zeros_like(error), np.zeros_like(error)
    stored = codes * scale.astype(np.float64)
    coarse, unit = rough_codes(codes), scale.astype(np.float64) * (256 if codes.dtype == np.int16 else 1)
    return (
        np.linalg.norm(exact - stored, axis=2),
        np.linalg.norm(stored - coarse * unit, axis=2),
        np.linalg.norm(coarse, axis=2),
    )


def rough_codes(codes: Codes) -> NDArray[np.float64]:
    """What the 8-bit pass sees: int8 as it is, of int16 the upper byte and half a step for the lower one."""
    if codes.dtype != np.int16:
        return codes.astype(np.float64)
    upper: NDArray[np.float64] = (codes >> 8).astype(np.float64)
    return upper + 0.5


def fitting_scale(
    tokens: TokenStates, storage: Storage, scale: NDArray[np.float32] | None = None
) -> NDArray[np.float32] | None:
    """A scale under which no number of `tokens` is clipped: `scale` itself if it is one.

    A scale never shrinks, so vectors stored under the older one could be stored under the newer. The first fits its
    vectors exactly, a later one leaves room: then segments soon share one, and compaction can join them.
    """
    if storage not in LARGEST:
        return None
    limit = np.float32(LARGEST[storage])
    peak = np.zeros(tokens.dim, np.float32)
    for first in range(0, len(tokens.values), 4096):
        part = tokens.values[first : first + 4096].astype(np.float32, copy=False)
        np.maximum(peak, np.abs(part).max(axis=0), out=peak)
    needed: NDArray[np.float32] = np.maximum(np.nextafter(peak / limit, np.float32(np.inf)), _SMALLEST)
    if scale is None:
        return needed
    if bool(np.all(peak <= scale * limit)):
        return scale
    grown: NDArray[np.float32] = np.maximum(needed * np.float32(HEADROOM), scale)
    return grown


def _encode(exact: NDArray[np.float32], storage: Storage, scale: NDArray[np.float32] | None) -> Codes:
    if scale is None:
        return exact.astype(DTYPES[storage])
    limit = LARGEST[storage]
    codes: Codes = np.clip(np.rint(exact / scale), -limit, limit).astype(DTYPES[storage])
    return codes


def round_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 that are not below the float64 they stand for: a bound must stay one."""
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))


def check_storage(storage: str) -> None:
    """Refuse a storage that does not exist."""
    if not isinstance(storage, str) or storage not in DTYPES:
        raise OptionError(f"storage {storage!r} does not exist, choose from {', '.join(DTYPES)}")


def storage_of(dtype: np.dtype[Any]) -> Storage:
    """The storage whose numbers have this dtype."""
    return next(name for name, code in DTYPES.items() if np.dtype(code) == dtype)
