"""Index: documents on disk, searched by fused pooled and late scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import strict_json
from ..bundle import Bundle
from ..compression.projection import project
from ..compression.ward import load_hierarchy
from ..errors import BundleMismatchError, InputError, OptionError
from ..files import new_directory
from ..fusion import Weights
from ..ranking import hash_tie
from ..search import SearchOptions, search
from ..types import Embeddings
from . import writer
from .checks import check_batch, check_ids, check_queries, check_tie_keys, spread_extra
from .layout import FORMAT_VERSION, MANIFEST_NAME, BundleStamp, IndexManifest, IndexOptions
from .segment import Document
from .store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from ..encoder import Encoder
    from ..fusion import Method
    from ..search import Ranked
    from .segment import Segment


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

    Documents are added in segments. Every change is committed by renaming one file, so a process killed at any
    moment loses at most the change it was making. One process writes at a time; whoever has the index open keeps
    the state it opened.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[str, tuple[int, int]] | None = None

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], encoder: Encoder | Bundle, options: IndexOptions | None = None
    ) -> Index:
        """Make an empty index for the vectors of `encoder`'s bundle.

        Raises:
            StorageError: `path` exists already, or cannot be written.
            InputError: The options do not fit the bundle.
        """
        bundle, chosen = _bundle_of(encoder), IndexOptions() if options is None else options
        if not isinstance(chosen, IndexOptions):
            raise OptionError(f"options must be IndexOptions, such as IndexOptions('int8'), got {chosen!r:.60}")
        dims = bundle.manifest.dims
        if chosen.dim is not None and chosen.dim >= dims.token:
            raise InputError(f"dim {chosen.dim} must be less than the {dims.token} of the bundle's token vectors")
        if chosen.pooling > 1:
            load_hierarchy()  # missing is better known now than after an hour of encoding
        stamp = BundleStamp(bundle.manifest.name, bundle.identity)
        manifest = IndexManifest(FORMAT_VERSION, 0, 1, stamp, dims.pooled, dims.token, chosen, None, ()).sealed()
        directory = Path(path)
        with new_directory(directory) as temporary:
            (temporary / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
        return cls(Store(directory, manifest, ()))

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
        index = cls(Store.read(Path(path)))
        if encoder is not None:
            index.check_bundle(encoder)
        return index

    @property
    def path(self) -> Path:
        """The index directory."""
        return self._store.path

    @property
    def manifest(self) -> IndexManifest:
        """What was last committed, as this object sees it."""
        return self._store.manifest

    @property
    def segments(self) -> Sequence[Segment]:
        """The committed segments, in order of insertion."""
        return self._store.segments

    def __len__(self) -> int:
        return sum(len(segment.alive) for segment in self.segments)

    @property
    def tokens(self) -> int:
        """Token vectors in the index."""
        return sum(int(segment.lengths[segment.alive].sum()) for segment in self.segments)

    @property
    def truncated(self) -> int:
        """Documents of which the model saw only the beginning."""
        return sum(int((segment.truncated[segment.alive] > 0).sum()) for segment in self.segments)

    def ids(self) -> list[str]:
        """Ids of all documents, in order of insertion."""
        return [segment.document(int(row)).id for segment in self.segments for row in segment.alive]

    def add(
        self, ids: Sequence[str], documents: Embeddings, meta: Sequence[Any] | None = None, *, replace: bool = False
    ) -> None:
        """Add and commit a batch: after this returns, the documents survive the process.

        Args:
            ids: One per document.
            documents: From `Encoder.encode_document` of the index's bundle.
            meta: Something small per document that JSON can hold; it comes back with a hit.
            replace: Whether a document whose id is in the index already takes the place of the one that is there,
                in the same commit; it then counts as inserted last. Otherwise such an id is refused.

        Raises:
            InputError: An id is there already or is given twice; counts or dims differ; NaN.
            IndexStoreError: Another process writes to the index, or has written since it was opened.
            StorageError: The disk is full; the index is as it was before.
        """
        check_ids(ids)
        extra = [None] * len(ids) if meta is None else meta
        check_batch(ids, documents, extra, self.manifest)
        there = [] if replace else [name for name in ids if name in self._known()]
        if there:
            raise InputError(f"document id {there[0]!r} is in the index already; nothing was added")
        if not len(ids):
            return
        batch = [Document(name, about) for name, about in zip(ids, extra, strict=True)]
        self._change(lambda: writer.add(self._store, batch, documents, self._rows(ids)))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete and commit: the documents are no longer found. `compact` gives their space back.

        Raises:
            InputError: An id is not in the index, or is given twice; nothing was deleted.
            IndexStoreError: Another process writes to the index, or has written since it was opened.
        """
        check_ids(ids)
        for name in ids:
            if name not in self._known():
                raise InputError(f"document id {name!r} is not in the index; nothing was deleted")
        if len(ids):
            self._change(lambda: writer.delete(self._store, self._rows(ids)))

    def compact(self) -> None:
        """Write the documents that count anew, without deleted ones, in as few segments as their scales allow.

        Raises:
            IndexStoreError: Another process writes to the index, or has written since it was opened.
        """
        self._change(lambda: writer.compact(self._store))

    def search(
        self,
        queries: Embeddings,
        *,
        k: int = 10,
        pooled: float = 1.0,
        late: float = 1.0,
        candidates: int | Literal["all"] = 100,
        fusion: Method = "sum",
        extra: NDArray[np.floating[Any]] | None = None,
        extra_weight: float = 1.0,
        tie_keys: Sequence[str] | None = None,
        threads: int | None = None,
        rough: Literal["auto", "off", "on"] = "auto",
        device: str = "cpu",
    ) -> list[list[Hit]]:
        """The k best documents of each query, best first.

        Scores are ``pooled * cos(pooled) + late * mean_i max_j cos(q_i, d_j)`` of the stored vectors, exactly ranked.
        Equal scores keep the order of insertion.

        Args:
            queries: From `Encoder.encode_query` of the index's bundle.
            k: Hits per query; all documents if there are fewer.
            pooled: Weight of the single-vector term; 0 leaves it out.
            late: Weight of the late-interaction term; 0 leaves it out.
            candidates: See `SearchOptions`: with ``"all"`` the hits are the true top k of the index.
            fusion: See `SearchOptions`.
            extra: A third signal such as BM25, ``[queries, len(index)]`` in the order of `ids`.
            extra_weight: Its weight.
            tie_keys: A key for each query: equal scores are then ordered as in SMART's evaluation, by a hash of it
                and the document's id.
            threads: See `SearchOptions`.
            rough: See `SearchOptions`.
            device: See `SearchOptions`: where late interaction is computed.

        Raises:
            InputError: The dims differ, k is no count, or something is not finite.
            OptionError: An option does not exist or does not fit.
            DeviceError: A GPU was asked for and did not load.
        """
        check_queries(queries, self.manifest)
        if tie_keys is not None:
            check_tie_keys(tie_keys, len(queries))
        ranked = search(
            self.in_store(queries),
            [segment.documents for segment in self.segments],
            k=k,
            weights=Weights(pooled, late, extra_weight),
            options=SearchOptions(candidates, fusion, threads, rough, device),
            extra=spread_extra(extra, len(queries), self.segments),
            ties=None if tie_keys is None else [self._tie(key) for key in tie_keys],
        )
        return [[self._hit(place) for place in row] for row in ranked]

    def in_store(self, queries: Embeddings) -> Embeddings:
        """Queries as the stored vectors are: projected where those are."""
        matrix = self._store.projection
        if matrix is None or queries.tokens.dim != len(matrix):
            return queries
        return Embeddings(queries.pooled, project(queries.tokens, matrix), queries.truncated)

    def check(self) -> None:
        """Read every committed byte and compare it with its hash.

        Raises:
            CorruptIndexError: A file changed since it was written.
        """
        self._store.check()

    def check_bundle(self, encoder: Encoder | Bundle) -> None:
        """Refuse an encoder whose vectors cannot be compared with the stored ones."""
        bundle = _bundle_of(encoder)
        stamp = self.manifest.bundle
        if bundle.identity != stamp.identity:
            raise BundleMismatchError(
                f"{self.path} was filled by bundle {stamp.name!r} ({stamp.identity[:12]}…), not by "
                f"{bundle.path} ({bundle.identity[:12]}…): open it with that bundle, or build it again"
            )

    def _change(self, change: Callable[[], None]) -> None:
        try:
            change()
        finally:
            self._places = None  # read again from what the disk now holds

    def _known(self) -> dict[str, tuple[int, int]]:
        """Segment and row of every document, by id."""
        if self._places is None:
            self._places = {
                segment.document(int(row)).id: (number, int(row))
                for number, segment in enumerate(self.segments)
                for row in segment.alive
            }
        return self._places

    def _rows(self, ids: Iterable[str]) -> list[NDArray[np.int64]]:
        """For each segment the rows of those documents that are there."""
        rows: list[list[int]] = [[] for _ in self.segments]
        for name in ids:
            if place := self._known().get(name):
                rows[place[0]].append(place[1])
        return [np.array(each, np.int64) for each in rows]

    def _tie(self, key: str) -> Callable[[int], bytes]:
        return lambda position: hash_tie(key, self._document(position).id)

    def _hit(self, place: Ranked) -> Hit:
        document = self._document(place.position)
        return Hit(document.id, place.score, place.pooled, place.late, document.meta)

    def _document(self, position: int) -> Document:
        for segment in self.segments:
            if position < segment.entry.documents:
                return segment.document(position)
            position -= segment.entry.documents
        raise AssertionError(position)


def _bundle_of(source: Encoder | Bundle) -> Bundle:
    return source if isinstance(source, Bundle) else source.bundle
