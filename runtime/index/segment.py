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
from ..types import Embeddings, TokenStates
from .layout import SEGMENT_FILES, SegmentEntry, StoredFile

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
        for name in SEGMENT_FILES:
            _check_size(directory / name, entry.files.get(name))
        rows = entry.documents
        pooled = _map(directory / "pooled.npy", "<f4", (rows, dims[0]))
        values = _map(directory / "tokens.npy", "<f4", (entry.tokens, dims[1]))
        offsets = _map(directory / "offsets.npy", "<i8", (rows + 1,))
        truncated = _map(directory / "truncated.npy", "<i8", (rows,))
        lines = _map(directory / "lines.npy", "<i8", (rows + 1,))
        documents = np.memmap(directory / "documents.jsonl", np.uint8, "r")
        try:
            embeddings = Embeddings(pooled, TokenStates(values, np.asarray(offsets)), truncated)
        except InputError as error:
            raise CorruptIndexError(f"{directory / 'offsets.npy'}: {error}; build the index again") from None
        return cls(entry, embeddings, lines, documents)

    def document(self, row: int) -> Document:
        """Id and metadata of the document in `row`."""
        begin, end = self._lines[row], self._lines[row + 1]
        return Document(**json.loads(self._documents[begin:end].tobytes()))

    def ids(self) -> list[str]:
        """All ids, in order."""
        return [json.loads(line)["id"] for line in self._documents.tobytes().splitlines()]


def write_segment(path: Path, documents: Sequence[Document], embeddings: Embeddings) -> SegmentEntry:
    """Write a segment directory in one step and describe it. It counts only once `index.json` names it."""
    lines = [_line(document) for document in documents]
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    with new_directory(path) as directory:
        _save(directory / "pooled.npy", unit(embeddings.pooled), "<f4")
        _save(directory / "tokens.npy", embeddings.tokens.values, "<f4")
        _save(directory / "offsets.npy", embeddings.tokens.offsets, "<i8")
        _save(directory / "truncated.npy", embeddings.truncated, "<i8")
        _save(directory / "lines.npy", offsets, "<i8")
        (directory / "documents.jsonl").write_bytes(b"".join(lines))
        files = {
            name: StoredFile((directory / name).stat().st_size, sha256_of(directory / name)) for name in SEGMENT_FILES
        }
    return SegmentEntry(path.name, len(documents), len(embeddings.tokens.values), files)


def check_hashes(directory: Path, entry: SegmentEntry) -> None:
    """Read every byte of a segment and compare it with what was committed.

    Raises:
        CorruptIndexError: A file differs.
    """
    for name, stored in entry.files.items():
        _check_size(directory / name, stored)
        if sha256_of(directory / name) != stored.sha256:
            raise CorruptIndexError(f"{directory / name} changed since it was written; build the index again")


def _line(document: Document) -> bytes:
    try:
        text = json.dumps({"id": document.id, "meta": document.meta}, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:  # ValueError: NaN, a cycle, or half a surrogate pair
        raise InputError(f"document {document.id!r} cannot be written as JSON: {error}") from None


def _save(path: Path, array: NDArray[Any], dtype: str) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array, dtype), version=(1, 0), allow_pickle=False)


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorruptIndexError(f"{path} is not an array file ({error}); build the index again") from None
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise CorruptIndexError(
            f"{path} holds {list(array.shape)} {array.dtype}, the index says {list(shape)} {np.dtype(dtype)}; "
            "build the index again"
        )
    return array


def _check_size(path: Path, stored: StoredFile | None) -> None:
    if stored is None or not path.is_file():
        raise CorruptIndexError(f"{path} is missing; copy the index again, or build it again")
    actual = path.stat().st_size
    if actual != stored.bytes:
        raise CorruptIndexError(
            f"{path} has {actual} bytes, the index says {stored.bytes}; copy the index again, or build it again"
        )
