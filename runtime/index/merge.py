"""Several segments of one scale become one, without the documents that were deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..scoring.ragged import spans
from ..scoring.storage import DTYPES
from ..scoring.stored import groups_of
from .arrays import save_array, save_pieces
from .segment import bounds_of, new_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .layout import SegmentEntry
    from .segment import Segment

_ROWS = 4096  # copied at a time
_GROUPS = 1024


def merge(path: Path, run: Sequence[Segment]) -> SegmentEntry:
    """Write one segment of the documents of `run` that count, a chunk of each array in memory at a time.

    Codes are copied as they are: a document scores the same before and after.
    """
    first = run[0].documents.tokens
    starts = _joined_starts(run)
    rows = len(starts) - 1

    def write(directory: Path) -> None:
        for name, dtype, of in _ROW_ARRAYS:
            save_pieces(directory / name, _rows_of(run, of), dtype, (rows, *of(run[0]).shape[1:]))
        codes = (piece for segment in run for piece in _codes_of(segment))
        save_pieces(directory / "codes.npy", codes, DTYPES[first.storage], (int(starts[-1]), *first.codes.shape[1:]))
        bounds = [bounds_of(segment.documents.tokens)[:, segment.alive] for segment in run]
        save_array(directory / "bounds.npy", np.concatenate(bounds, axis=1), "<f4")
        save_array(directory / "starts.npy", starts, "<i8")
        if first.scale is not None:
            save_array(directory / "scale.npy", first.scale, "<f4")
        lengths: list[int] = []
        with (directory / "documents.jsonl").open("wb") as file:
            for segment in run:
                lengths += [file.write(segment.line(int(row))) for row in segment.alive]
        save_array(directory / "lines.npy", np.cumsum([0, *lengths], dtype=np.int64), "<i8")

    return new_segment(path, write, rows, int(starts[-1]))


_ROW_ARRAYS: tuple[tuple[str, str, Callable[[Segment], NDArray[Any]]], ...] = (
    ("pooled.npy", "<f4", lambda segment: segment.documents.pooled),
    ("lengths.npy", "<i8", lambda segment: segment.lengths),
    ("truncated.npy", "<i8", lambda segment: segment.truncated),
)


def _joined_starts(run: Sequence[Segment]) -> NDArray[np.int64]:
    groups = [np.diff(segment.documents.tokens.starts)[segment.alive] for segment in run]
    return np.cumsum(np.concatenate([[0], *groups]), dtype=np.int64)


def _rows_of(run: Sequence[Segment], of: Callable[[Segment], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for segment in run:
        alive = segment.alive
        for at in range(0, len(alive), _ROWS):
            yield of(segment)[alive[at : at + _ROWS]]


def _codes_of(segment: Segment) -> Iterator[NDArray[Any]]:
    tokens, alive = segment.documents.tokens, segment.alive
    begins = groups_of(tokens.starts, alive)[1]
    for first, last in spans(begins, _GROUPS):
        yield tokens.codes[groups_of(tokens.starts, alive[first:last])[0]]
