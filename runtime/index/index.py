"""Index: documents on disk, searched by fused pooled and late scores."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import strict_json
from ..bundle import Bundle
from ..errors import (
    BundleMismatchError,
    IndexStoreError,
    InputError,
)
from ..files import new_directory, replace_file, writing
from ..fusion import Weights
from ..search import search
from .layout import FORMAT_VERSION, MANIFEST_NAME, BundleStamp, IndexManifest, read_manifest
from .lock import writer_lock
from .segment import Document, Segment, write_segment

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ..encoder import Encoder
    from ..search import Ranked
    from ..types import Embeddings


@dataclass(frozen=True)
class Hit:
    """One search result: `score` is the fused score, `pooled` and `late` its two terms before weighting."""

    id: str
    score: float
    pooled: float
    late: float
    meta: Any


class Index:
    """An index directory. Make one with `create`, come back to it with `open`.

    Documents are added in segments; each `add` is committed by renaming one file, so a process killed at
    any moment loses at most the batch it was adding.
    """

    def __init__(self, path: Path, manifest: IndexManifest, segments: list[Segment]) -> None:
        self.path = path
        self.manifest = manifest
        self._segments = segments
        self._ids: set[str] | None = None

    @classmethod
    def create(cls, path: str | os.PathLike[str], encoder: Encoder | Bundle) -> Index:
        """Make an empty index for the vectors of `encoder`'s bundle.

        Raises:
            StorageError: `path` exists already, or cannot be written.
        """
        bundle = _bundle_of(encoder)
        dims = bundle.manifest.dims
        stamp = BundleStamp(bundle.manifest.name, bundle.identity)
        manifest = IndexManifest(FORMAT_VERSION, stamp, dims.pooled, dims.token, "float32", ())
        directory = Path(path)
        with new_directory(directory) as temporary:
            (temporary / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
        return cls(directory, manifest, [])

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoder: Encoder | Bundle | None = None) -> Index:
        """Open an index as it was last committed; the vectors stay on disk, memory-mapped.

        Args:
            path: The index directory.
            encoder: Whose queries will be asked. Given, an index of another bundle is refused here.

        Raises:
            IndexStoreError: There is no index at `path`.
            CorruptIndexError: A file is missing or has the wrong size or shape.
            UnsupportedFormatError: It was written by a newer format version.
            BundleMismatchError: Another bundle filled it.
        """
        directory = Path(path)
        manifest = read_manifest(directory)
        dims = manifest.pooled_dim, manifest.token_dim
        segments = [Segment.open(directory / entry.name, entry, dims) for entry in manifest.segments]
        index = cls(directory, manifest, segments)
        if encoder is not None:
            index.check_bundle(encoder)
        return index

    def __len__(self) -> int:
        return sum(segment.entry.documents for segment in self._segments)

    @property
    def segments(self) -> Sequence[Segment]:
        """The committed segments, in order of insertion."""
        return self._segments

    @property
    def tokens(self) -> int:
        """Token vectors in the index."""
        return sum(segment.entry.tokens for segment in self._segments)

    @property
    def truncated(self) -> int:
        """Documents of which the model saw only the beginning."""
        return sum(int((segment.embeddings.truncated > 0).sum()) for segment in self._segments)

    def ids(self) -> list[str]:
        """Ids of all documents, in order of insertion."""
        return [name for segment in self._segments for name in segment.ids()]

    def add(self, ids: Sequence[str], documents: Embeddings, meta: Sequence[Any] | None = None) -> None:
        """Add and commit a batch: after this returns, the documents survive the process.

        Args:
            ids: One per document, not in the index yet.
            documents: From `Encoder.encode_document` of the index's bundle.
            meta: Something small per document that JSON can hold; it comes back with a hit.

        Raises:
            InputError: An id is there already or is given twice; counts or dims differ; NaN.
            IndexStoreError: Another process writes to the index, or has written since it was opened.
            StorageError: The disk is full; the index is as it was before.
        """
        extra = [None] * len(ids) if meta is None else meta
        self._check_batch(ids, documents, extra)
        if not len(ids):
            return
        batch = [Document(name, about) for name, about in zip(ids, extra, strict=True)]
        with writing(self.path), writer_lock(self.path):
            if read_manifest(self.path) != self.manifest:
                raise IndexStoreError(f"{self.path} was changed by another process: open it again")
            self._commit(batch, documents)

    def search(self, queries: Embeddings, *, k: int = 10, pooled: float = 1.0, late: float = 1.0) -> list[list[Hit]]:
        """The k best documents of each query: the true top k of the stored vectors, best first.

        Scores are ``pooled * cos(pooled) + late * mean_i max_j cos(q_i, d_j)``. Equal scores keep the
        order of insertion.

        Args:
            queries: From `Encoder.encode_query` of the index's bundle.
            k: Hits per query, at most the number of documents.
            pooled: Weight of the single-vector term; 0 leaves it out.
            late: Weight of the late-interaction term; 0 leaves it out.

        Raises:
            InputError: k is larger than the index, or the dims differ.
        """
        weights = Weights(pooled, late)
        ranked = search(queries, [segment.embeddings for segment in self._segments], k=k, weights=weights)
        return [[self._hit(place) for place in row] for row in ranked]

    def check(self) -> None:
        """Read every committed byte and compare it with its hash.

        Raises:
            CorruptIndexError: A file changed since it was written.
        """
        for segment in self._segments:
            segment.check()

    def check_bundle(self, encoder: Encoder | Bundle) -> None:
        """Refuse an encoder whose vectors cannot be compared with the stored ones."""
        bundle = _bundle_of(encoder)
        stamp = self.manifest.bundle
        if bundle.identity != stamp.identity:
            raise BundleMismatchError(
                f"{self.path} was filled by bundle {stamp.name!r} ({stamp.identity[:12]}…), not by "
                f"{bundle.path} ({bundle.identity[:12]}…): open it with that bundle, or build it again"
            )

    def _commit(self, batch: list[Document], documents: Embeddings) -> None:
        self._sweep()
        name = f"segment-{len(self.manifest.segments) + 1:06d}"
        entry = write_segment(self.path / name, batch, documents)
        manifest = dataclasses.replace(self.manifest, segments=(*self.manifest.segments, entry))
        segment = Segment.open(self.path / name, entry, (manifest.pooled_dim, manifest.token_dim))
        try:
            replace_file(self.path / MANIFEST_NAME, strict_json.dumps(manifest).encode())
        finally:
            # Whatever stopped us (a full disk, Ctrl-C), the manifest on disk says whether the rename was done.
            if read_manifest(self.path) == manifest:
                self.manifest = manifest
                self._segments.append(segment)
                if self._ids is not None:
                    self._ids.update(document.id for document in batch)
            else:
                shutil.rmtree(segment.path, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed writer left behind: segments and manifests that were never committed."""
        committed = {entry.name for entry in self.manifest.segments}
        for leftover in [*self.path.glob("segment-*"), *self.path.glob(".segment-*")]:
            if leftover.name not in committed:
                shutil.rmtree(leftover)
        for leftover in self.path.glob(f".{MANIFEST_NAME}.*"):
            leftover.unlink()

    def _check_batch(self, ids: Sequence[str], documents: Embeddings, meta: Sequence[Any]) -> None:
        if isinstance(ids, str):
            raise InputError(f"ids must be a list with one id per document, got the text {ids!r:.60}")
        if not len(ids) == len(documents) == len(meta):
            raise InputError(f"{len(ids)} ids, {len(documents)} documents and {len(meta)} metadata: give one of each")
        dims = documents.pooled.shape[1], documents.tokens.dim
        expected = self.manifest.pooled_dim, self.manifest.token_dim
        if dims != expected:
            raise InputError(f"vectors have dims {dims} (pooled, token), the index has {expected}")
        if not (np.isfinite(documents.pooled).all() and np.isfinite(documents.tokens.values).all()):
            raise InputError("the vectors hold NaN or infinity; nothing was added")
        if not documents.tokens.lengths.all():
            raise InputError("a document has no token vector; an encoder puts the pooled vector there, do the same")
        if self._ids is None:
            self._ids = set(self.ids())
        new: set[str] = set()
        for name in ids:
            if not isinstance(name, str) or not name:
                raise InputError(f"ids must be non-empty strings, got {name!r}")
            if name in self._ids or name in new:
                raise InputError(f"document id {name!r} is in the index already or given twice; nothing was added")
            new.add(name)

    def _hit(self, place: Ranked) -> Hit:
        segment, row = self._locate(place.position)
        document = segment.document(row)
        return Hit(document.id, place.score, place.pooled, place.late, document.meta)

    def _locate(self, position: int) -> tuple[Segment, int]:
        for segment in self._segments:
            if position < segment.entry.documents:
                return segment, position
            position -= segment.entry.documents
        raise AssertionError(position)


def _bundle_of(source: Encoder | Bundle) -> Bundle:
    return source if isinstance(source, Bundle) else source.bundle
