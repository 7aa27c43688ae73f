"""Filling an index from a stream of records: encode, gather, commit."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..encoder import WINDOW
from ..types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..encoder import Encoder
    from ..jsonl import Record
    from .index import Index

COMMIT_BYTES = 64 << 20
"""Token vectors gathered before a commit: what a killed process can lose."""


def fill(
    index: Index,
    encoder: Encoder,
    records: Iterable[Record],
    *,
    commit_bytes: int = COMMIT_BYTES,
    allow_empty: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Add the records that `index` does not hold yet, committing every `commit_bytes` of token vectors.

    A hit's metadata is the record's, with its text under ``text``.

    Args:
        index: Made by the encoder's bundle.
        encoder: Encodes the texts.
        records: Any number; they are read as they are needed.
        commit_bytes: See `COMMIT_BYTES`.
        allow_empty: See `Encoder.encode_document`.
        advance: Called with the number of records that were encoded or already there.
    """
    known = set(index.ids())
    ids: list[str] = []
    meta: list[dict[str, Any]] = []
    parts: list[Embeddings] = []
    for window in _windows(records):
        new = [record for record in window if record.id not in known]
        if new:
            parts.append(encoder.encode_document([record.text for record in new], allow_empty=allow_empty))
            ids += [record.id for record in new]
            meta += [record.meta | {"text": record.text} for record in new]
        if sum(part.tokens.values.nbytes for part in parts) >= commit_bytes:
            index.add(ids, Embeddings.concatenate(parts), meta)
            ids, meta, parts = [], [], []
        advance(len(window))
    if parts:
        index.add(ids, Embeddings.concatenate(parts), meta)


def _windows(records: Iterable[Record]) -> Iterator[list[Record]]:
    stream = iter(records)
    while window := list(itertools.islice(stream, WINDOW)):
        yield window
