"""One segment: a batch of documents written once, then only ever memory-mapped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import sha256_of
from ..errors import CorruptIndexError, InputError
from ..files import new_directory
from ..fusion import unit
from ..manifest import FileEntry
from ..types import Embeddings, TokenStates
from .arrays import map_array, save_array
from .layout import SEGMENT_FILES, SegmentEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Document:
    """What an index remembers of a document beside its vectors."""

    id: str
    meta: Any


@dataclass(frozen=True, eq=False)
class Segment:
    """A committed segment, memory-mapped: opening reads headers, searching reads pages."""

    path: Path
    entry: SegmentEntry
    embeddings: Embeddings
    _lines: NDArray[np.int64]
    _documents: NDArray[np.uint8]

    @classmethod
    def open(cls, directory: Path, entry: SegmentEntry, dims: tuple[int, int]) -> Segment:
        """Map the files of `entry`, having compared their sizes and shapes with it.

        Raises:
            CorruptIndexError: A file is missing or is not what the index manifest describes.
        """
        if set(entry.files) != set(SEGMENT_FILES):
            raise CorruptIndexError(f"{directory} lists {sorted(entry.files)}, a segment is {list(SEGMENT_FILES)}")
        for name, stored in entry.files.items():
            _check_size(directory / name, stored)
        rows = entry.documents
        pooled = map_array(directory / "pooled.npy", "<f4", (rows, dims[0]))
        values = map_array(directory / "tokens.npy", "<f4", (entry.tokens, dims[1]))
        offsets = map_array(directory / "offsets.npy", "<i8", (rows + 1,))
        truncated = map_array(directory / "truncated.npy", "<i8", (rows,))
        lines = map_array(directory / "lines.npy", "<i8", (rows + 1,))
        documents = np.memmap(directory / "documents.jsonl", np.uint8, "r")
        try:
            embeddings = Embeddings(pooled, TokenStates(values, np.asarray(offsets)), truncated)
        except InputError as error:
            raise CorruptIndexError(f"{directory / 'offsets.npy'}: {error}; build the index again") from None
        return cls(directory, entry, embeddings, lines, documents)

    def document(self, row: int) -> Document:
        """Id and metadata of the document in `row`.

        Raises:
            CorruptIndexError: Its line is not what was written.
        """
        begin, end = int(self._lines[row]), int(self._lines[row + 1])
        if not 0 <= begin < end <= len(self._documents):
            raise self._corrupt("lines.npy", f"document {row} is said to lie at {begin} to {end}")
        try:
            return Document(**json.loads(self._documents[begin:end].tobytes()))
        except (ValueError, TypeError, RecursionError) as error:
            raise self._corrupt("documents.jsonl", str(error)) from None

    def ids(self) -> list[str]:
        """All ids, in order."""
        return [self.document(row).id for row in range(self.entry.documents)]

    def check(self) -> None:
        """Read every byte and compare it with what was committed.

        Raises:
            CorruptIndexError: A file differs.
        """
        for name, stored in self.entry.files.items():
            _check_size(self.path / name, stored)
            if sha256_of(self.path / name) != stored.sha256:
                raise CorruptIndexError(f"{self.path / name} changed since it was written; build the index again")

    def _corrupt(self, name: str, reason: str) -> CorruptIndexError:
        return CorruptIndexError(f"{self.path / name} is damaged ({reason}); build the index again")


def write_segment(path: Path, documents: Sequence[Document], embeddings: Embeddings) -> SegmentEntry:
    """Write a segment directory in one step and describe it. It counts only once `index.json` names it."""
    lines = [_line(document) for document in documents]
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    with new_directory(path) as directory:
        save_array(directory / "pooled.npy", unit(embeddings.pooled), "<f4")
        save_array(directory / "tokens.npy", embeddings.tokens.values, "<f4")
        save_array(directory / "offsets.npy", embeddings.tokens.offsets, "<i8")
        save_array(directory / "truncated.npy", embeddings.truncated, "<i8")
        save_array(directory / "lines.npy", offsets, "<i8")
        (directory / "documents.jsonl").write_bytes(b"".join(lines))
        files = {
            name: FileEntry((directory / name).stat().st_size, sha256_of(directory / name)) for name in SEGMENT_FILES
        }
    return SegmentEntry(path.name, len(documents), len(embeddings.tokens.values), files)


def _line(document: Document) -> bytes:
    try:
        _check_keys(document.meta)
        text = json.dumps({"id": document.id, "meta": document.meta}, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: NaN, or half a surrogate pair
        raise InputError(f"document {document.id!r} cannot be written as JSON: {error}") from None


def _check_keys(value: Any) -> None:
    """Refuse keys that JSON would turn into strings: they would come back as something else."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is no string")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)


def _check_size(path: Path, stored: FileEntry) -> None:
    if not path.is_file():
        raise CorruptIndexError(f"{path} is missing; copy the index again, or build it again")
    actual = path.stat().st_size
    if actual != stored.bytes:
        raise CorruptIndexError(
            f"{path} has {actual} bytes, the index says {stored.bytes}; copy the index again, or build it again"
        )
