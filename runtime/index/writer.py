"""Changing an index: adding, deleting, compacting. Each ends in one commit, or leaves the index as it was."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..compression.apply import compress
from ..documents import Documents
from ..files import sync_file
from ..fusion import unit
from ..scoring.storage import store
from .arrays import save_array
from .layout import PROJECTION_NAME, segment_path
from .merge import merge
from .segment import describe, write_segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..types import Embeddings
    from .segment import Document, Segment
    from .store import Store

    Rows = NDArray[np.int64]


def add(state: Store, documents: Sequence[Document], embeddings: Embeddings, gone: Sequence[Rows]) -> None:
    """Add a segment, the given rows of the older ones no longer counting."""
    with state.write():
        manifest, options = state.manifest, state.manifest.options
        known = state.projection
        tokens, matrix = compress(embeddings.tokens, options.pooling, options.projection, options.dim, known)
        if matrix is not None and known is None:
            save_array(state.path / PROJECTION_NAME, matrix, "<f4")
            sync_file(state.path / PROJECTION_NAME)
            manifest = dataclasses.replace(manifest, projection=describe(state.path / PROJECTION_NAME))
        scale = state.segments[-1].documents.tokens.scale if state.segments else None
        batch = Documents(unit(embeddings.pooled), store(tokens, options.storage, scale))
        counts = np.stack([tokens.lengths, embeddings.truncated])
        entry = write_segment(segment_path(state.path, manifest), documents, batch, counts)
        segments = (*state.entomb(gone), entry)
        state.commit(dataclasses.replace(manifest, segments=segments, next_segment=manifest.next_segment + 1))


def delete(state: Store, gone: Sequence[Rows]) -> None:
    """The given rows of each segment no longer count."""
    with state.write():
        state.commit(dataclasses.replace(state.manifest, segments=tuple(state.entomb(gone))))


def compact(state: Store) -> None:
    """Write the documents that count anew, neighbours of one scale in one segment.

    Codes are copied, never rounded again: a document scores the same before and after.

    Raises:
        CorruptIndexError: A file that was to be copied changed since it was written.
    """
    with state.write():
        manifest, entries = state.manifest, []
        for run in _runs([segment for segment in state.segments if len(segment.alive)]):
            if len(run) == 1 and run[0].entry.deleted is None:
                entries.append(run[0].entry)
                continue
            for segment in run:
                segment.check()  # damage must not be copied and get a hash that fits it
            entries.append(merge(segment_path(state.path, manifest), run))
            manifest = dataclasses.replace(manifest, next_segment=manifest.next_segment + 1)
        if tuple(entries) != state.manifest.segments:
            state.commit(dataclasses.replace(manifest, segments=tuple(entries)))


def _runs(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Neighbours whose codes mean the same."""
    runs: list[list[Segment]] = []
    for segment in segments:
        if runs and _same(runs[-1][-1].documents.tokens.scale, segment.documents.tokens.scale):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return runs


def _same(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> bool:
    return one is other if one is None or other is None else bool(np.array_equal(one, other))
