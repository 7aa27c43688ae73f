"""Filling an index from a stream of documents: read, encode, gather, commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..encoder import WINDOW
from ..errors import InputError
from ..types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..corpus import Source
    from ..encoder import Encoder
    from ..items import Item
    from ..manifest import Side
    from .index import Index

COMMIT_BYTES = 64 << 20
"""Token vectors gathered before a commit: what a killed process can lose."""

IMAGE_WEIGHT = 64
"""Texts that an image counts as in a window: a page is seconds of work and megabytes of vectors."""


def fill(
    index: Index,
    encoder: Encoder,
    sources: Iterable[Source],
    *,
    commit_bytes: int = COMMIT_BYTES,
    allow_empty: bool = False,
    skip_bad: Callable[[str, InputError], None] | None = None,
    replace: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Add the documents that `index` does not hold yet, committing every `commit_bytes` of token vectors.

    Args:
        index: Made by the encoder's bundle.
        encoder: Encodes the documents.
        sources: Any number; they are read as they are needed. `Source.about` becomes a hit's metadata.
        commit_bytes: See `COMMIT_BYTES`.
        allow_empty: See `Encoder.encode_document`.
        skip_bad: Called with the id and the error of a document that cannot be used, which is then left out.
            Without it such a document ends the work; what was gathered before it is committed.
        replace: Whether documents that are there already are encoded again and take the place of the older ones.
        advance: Called with the number of documents that were encoded, left out or already there.

    Raises:
        InputError: Names the document that cannot be used.
    """
    filling = _Filling(index, encoder, commit_bytes, advance, allow_empty=allow_empty, replace=replace)
    known = set() if replace else set(index.ids())
    try:
        for source in sources:
            if source.id in known:
                advance(1)
                continue
            try:
                item = read_source(source, encoder, "document", allow_empty=allow_empty)
            except InputError as error:
                if skip_bad is None:
                    raise
                skip_bad(source.id, error)
                advance(1)
                continue
            filling.take(source, item)
    except InputError:
        filling.finish()
        raise
    filling.finish()


def read_source(source: Source, encoder: Encoder, side: Side, *, allow_empty: bool) -> Item:
    """Read a document. What is wrong with it is found here, by its name, before its neighbours are encoded.

    Raises:
        InputError: Names the document.
    """
    item = source.load()
    if isinstance(item, str) and not item.strip() and not allow_empty:
        raise InputError(f"{source.id} has an empty text; remove it, or pass --allow-empty")
    if not isinstance(item, str) or "image" in encoder.bundle.manifest.modalities:
        encoder.check(item, side, source.id, allow_empty=allow_empty)
    return item


class _Filling:
    """The documents read and the vectors made since the last commit."""

    def __init__(
        self,
        index: Index,
        encoder: Encoder,
        commit_bytes: int,
        advance: Callable[[int], None],
        *,
        allow_empty: bool,
        replace: bool,
    ) -> None:
        self._replace = replace
        self._index = index
        self._encoder = encoder
        self._commit_bytes = commit_bytes
        self._advance = advance
        self._allow_empty = allow_empty
        self._window: list[tuple[Source, Item]] = []
        self._weight = 0
        self._ids: list[str] = []
        self._meta: list[dict[str, Any]] = []
        self._parts: list[Embeddings] = []

    def take(self, source: Source, item: Item) -> None:
        """Gather a document, and encode the window it completes."""
        self._window.append((source, item))
        pictured = isinstance(item, Mapping) and item.get("image") is not None
        self._weight += IMAGE_WEIGHT if pictured else 1
        if self._weight >= WINDOW:
            self._encode()

    def finish(self) -> None:
        """Encode and commit the rest, what is encoded already first."""
        self._commit()
        self._encode()
        self._commit()

    def _encode(self) -> None:
        window, self._window, self._weight = self._window, [], 0
        if not window:
            return
        items = [item for _, item in window]
        self._parts.append(self._encoder.encode_document(items, allow_empty=self._allow_empty))
        self._ids += [source.id for source, _ in window]
        self._meta += [source.about(item) for source, item in window]
        self._advance(len(window))
        if sum(part.tokens.values.nbytes for part in self._parts) >= self._commit_bytes:
            self._commit()

    def _commit(self) -> None:
        if self._parts:
            self._index.add(self._ids, Embeddings.concatenate(self._parts), self._meta, replace=self._replace)
        self._ids, self._meta, self._parts = [], [], []
