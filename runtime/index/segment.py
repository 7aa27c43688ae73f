"""One segment: a batch of documents written once, then only ever memory-mapped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import sha256_of
from ..documents import Documents
from ..errors import CorruptIndexError, InputError
from ..files import new_directory, sync_directory, sync_file
from ..manifest import FileEntry
from ..scoring.ragged import GROUP
from ..scoring.storage import DTYPES, Rough, StoredTokens
from .arrays import map_array, save_array
from .layout import SegmentEntry, Tombstones, segment_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .layout import IndexManifest


@dataclass(frozen=True)
class Document:
    """What an index remembers of a document beside its vectors."""

    id: str
    meta: Any


@dataclass(frozen=True, eq=False)
class Segment:
    """A committed segment, memory-mapped: opening reads headers, searching reads pages.

    Attributes:
        documents: What a search reads.
        lengths: ``[n]`` int64, token vectors of a document without padding.
        truncated: ``[n]`` int64, tokens of a document that did not fit the model.
    """

    path: Path
    entry: SegmentEntry
    documents: Documents
    lengths: NDArray[np.int64]
    truncated: NDArray[np.int64]
    _lines: NDArray[np.int64]
    _text: NDArray[np.uint8]

    @classmethod
    def open(cls, directory: Path, entry: SegmentEntry, manifest: IndexManifest) -> Segment:
        """Map the files of `entry`, having compared their sizes and shapes with it.

        Raises:
            CorruptIndexError: A file is missing or is not what the index manifest describes.
        """
        expected = segment_files(manifest.options.storage)
        if set(entry.files) != set(expected):
            raise CorruptIndexError(f"{directory} lists {sorted(entry.files)}, a segment is {list(expected)}")
        for name, stored in entry.files.items():
            _check_size(directory / name, stored)
        rows, dim = entry.documents, manifest.stored_dim
        pooled = map_array(directory / "pooled.npy", "<f4", (rows, manifest.pooled_dim))
        lengths = map_array(directory / "lengths.npy", "<i8", (rows,))
        truncated = map_array(directory / "truncated.npy", "<i8", (rows,))
        lines = map_array(directory / "lines.npy", "<i8", (rows + 1,))
        text = np.memmap(directory / "documents.jsonl", np.uint8, "r")
        documents = Documents(pooled, _tokens(directory, entry, manifest, dim), _alive(directory, entry))
        return cls(directory, entry, documents, lengths, truncated, lines, text)

    @property
    def alive(self) -> NDArray[np.int64]:
        """Rows of the documents that count, rising."""
        mask = self.documents.alive
        return np.arange(self.entry.documents) if mask is None else np.flatnonzero(mask)

    def document(self, row: int) -> Document:
        """Id and metadata of the document in `row`.

        Raises:
            CorruptIndexError: Its line is not what was written.
        """
        try:
            return Document(**json.loads(self.line(row)))
        except (ValueError, TypeError, RecursionError) as error:
            raise self._corrupt("documents.jsonl", str(error)) from None

    def line(self, row: int) -> bytes:
        """The line of `documents.jsonl` that describes the document in `row`."""
        begin, end = int(self._lines[row]), int(self._lines[row + 1])
        if not 0 <= begin < end <= len(self._text):
            raise self._corrupt("lines.npy", f"document {row} is said to lie at {begin} to {end}")
        return self._text[begin:end].tobytes()

    def check(self) -> None:
        """Read every byte and compare it with what was committed.

        Raises:
            CorruptIndexError: A file differs.
        """
        files = dict(self.entry.files)
        if self.entry.deleted:
            files[self.entry.deleted.name] = self.entry.deleted.file
        for name, stored in files.items():
            check_file(self.path / name, stored)

    def _corrupt(self, name: str, reason: str) -> CorruptIndexError:
        return CorruptIndexError(f"{self.path / name} is damaged ({reason}); build the index again")


def write_segment(
    path: Path, documents: Sequence[Document], batch: Documents, counts: NDArray[np.int64]
) -> SegmentEntry:
    """Write a segment directory in one step and describe it. It counts only once `index.json` names it.

    Args:
        path: The directory to make.
        documents: Ids and metadata.
        batch: Their vectors as they are to be stored.
        counts: ``[2, n]``: token vectors without padding, and tokens that did not fit the model.
    """
    lines = [_line(document) for document in documents]
    tokens = batch.tokens

    def write(directory: Path) -> None:
        save_array(directory / "pooled.npy", batch.pooled, "<f4")
        save_array(directory / "codes.npy", tokens.codes, DTYPES[tokens.storage])
        save_array(directory / "starts.npy", tokens.starts, "<i8")
        save_array(directory / "bounds.npy", bounds_of(tokens), "<f4")
        save_array(directory / "lengths.npy", counts[0], "<i8")
        save_array(directory / "truncated.npy", counts[1], "<i8")
        save_array(directory / "lines.npy", np.cumsum([0, *map(len, lines)], dtype=np.int64), "<i8")
        if tokens.scale is not None:
            save_array(directory / "scale.npy", tokens.scale, "<f4")
        (directory / "documents.jsonl").write_bytes(b"".join(lines))

    return new_segment(path, write, len(batch), len(tokens.codes))


def new_segment(path: Path, write: Callable[[Path], None], documents: int, groups: int) -> SegmentEntry:
    """Make a segment directory of what `write` puts into it, and describe it."""
    with new_directory(path) as directory:
        write(directory)
        files = {file.name: describe(file) for file in sorted(directory.iterdir())}
    return SegmentEntry(path.name, documents, groups, files, None)


def bounds_of(tokens: StoredTokens) -> NDArray[np.float32]:
    """``bounds.npy``: errors, and what the 8-bit pass must know (zeros where there is none)."""
    nothing = np.zeros(len(tokens), np.float32)
    rough = tokens.rough or Rough(nothing, nothing)
    return np.stack([tokens.errors, rough.distance, rough.length])


def describe(path: Path) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(path.stat().st_size, sha256_of(path))


def check_file(path: Path, stored: FileEntry) -> None:
    """Compare every byte of a file with what was committed.

    Raises:
        CorruptIndexError: It differs.
    """
    _check_size(path, stored)
    if sha256_of(path) != stored.sha256:
        raise CorruptIndexError(f"{path} changed since it was written; build the index again")


def _tokens(directory: Path, entry: SegmentEntry, manifest: IndexManifest, dim: int) -> StoredTokens:
    rows, storage = entry.documents, manifest.options.storage
    codes = map_array(directory / "codes.npy", DTYPES[storage], (entry.groups, GROUP, dim))
    starts = np.asarray(map_array(directory / "starts.npy", "<i8", (rows + 1,)))
    if starts[0] != 0 or starts[-1] != entry.groups or np.any(np.diff(starts) < 1):
        raise CorruptIndexError(
            f"{directory / 'starts.npy'} does not rise from 0 to {entry.groups}; build the index again"
        )
    bounds = map_array(directory / "bounds.npy", "<f4", (3, rows))
    if "scale.npy" not in entry.files:
        return StoredTokens(codes, starts, None, bounds[0], None)
    scale = np.array(map_array(directory / "scale.npy", "<f4", (dim,)))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise CorruptIndexError(f"{directory / 'scale.npy'} holds what is no scale; build the index again")
    return StoredTokens(codes, starts, scale, bounds[0], Rough(bounds[1], bounds[2]))


def _alive(directory: Path, entry: SegmentEntry) -> NDArray[np.bool_] | None:
    if entry.deleted is None:
        return None
    path = directory / entry.deleted.name
    _check_size(path, entry.deleted.file)
    gone = np.asarray(map_array(path, "|b1", (entry.documents,)))
    if int(gone.sum()) != entry.deleted.documents:
        raise CorruptIndexError(f"{path} deletes {int(gone.sum())} documents, the index says {entry.deleted.documents}")
    return ~gone


def write_tombstones(directory: Path, gone: NDArray[np.bool_], generation: int) -> Tombstones:
    """Write which documents of a segment no longer count."""
    path = directory / f"deleted-{generation:06d}.npy"
    save_array(path, gone, "|b1")
    sync_file(path)
    sync_directory(directory)
    return Tombstones(path.name, int(gone.sum()), describe(path))


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
