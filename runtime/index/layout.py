"""The index on disk, as data. docs/format.md is its specification.

docs.index/
    index.json              the commit: it names what counts, and its own checksum
    writer.lock             held by the one writer
    projection.npy          [D, dim] float32, where token vectors are projected
    segment-000001/
        pooled.npy          [n, H] float32, unit rows
        codes.npy           [groups, 8, dim] of the storage, groups of token vectors
        starts.npy          [n + 1] int64, the groups of a document
        scale.npy           [dim] float32: int16 and int8
        bounds.npy          [3, n] float32, how far stored and rough vectors are off
        lengths.npy         [n] int64, token vectors of a document without padding
        truncated.npy       [n] int64, tokens that did not fit the model
        documents.jsonl     one {"id", "meta"} a line
        lines.npy           [n + 1] int64, byte offsets into documents.jsonl
        deleted-000004.npy  [n] bool, documents that no longer count since commit 4
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import strict_json
from ..compression.projection import Method as ProjectionMethod  # noqa: TC001  (strict_json reads the hints)
from ..errors import CorruptIndexError, IndexStoreError, OptionError, UnsupportedFormatError
from ..files import replace_file
from ..manifest import FileEntry  # noqa: TC001  (strict_json reads the hints at run time)
from ..scoring.storage import LARGEST, Storage, check_storage

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_VERSION = 2
"""Index format written and read by this version. docs/format.md keeps the history."""

MANIFEST_NAME = "index.json"
LOCK_NAME = "writer.lock"
PROJECTION_NAME = "projection.npy"
LARGEST_POOLING = 64


@dataclass(frozen=True)
class IndexOptions:
    """How an index keeps token vectors; chosen when it is made. `smartrt bench accuracy` measures what it costs.

    Attributes:
        storage: ``int16`` (scores to about 4e-6), ``int8``, ``float16`` or ``float32``.
        pooling: Keep about one vector for so many tokens of a document (Ward's method); 1 keeps all.
        projection: ``pca``, fitted to the first batch, or ``orthogonal``; None keeps all dimensions.
        dim: Dimensions that a projection leaves.
    """

    storage: Storage = "int16"
    pooling: int = 1
    projection: ProjectionMethod | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        check_storage(self.storage)
        if type(self.pooling) is not int or not 1 <= self.pooling <= LARGEST_POOLING:
            raise OptionError(f"pooling must be a whole number from 1 to {LARGEST_POOLING}, got {self.pooling!r}")
        if self.projection not in (None, "pca", "orthogonal"):
            raise OptionError(f"projection must be pca, orthogonal or None, got {self.projection!r}")
        if (self.projection is None) != (self.dim is None):
            raise OptionError(f"projection and dim go together, got {self.projection!r} and {self.dim!r}")
        if self.dim is not None and (type(self.dim) is not int or self.dim < 1):
            raise OptionError(f"dim must be a whole number of at least 1, got {self.dim!r}")


@dataclass(frozen=True)
class Tombstones:
    """Which documents of a segment no longer count."""

    name: str
    documents: int
    file: FileEntry


@dataclass(frozen=True)
class SegmentEntry:
    """One committed segment; `documents` and `groups` count the deleted ones as well."""

    name: str
    documents: int
    groups: int
    files: dict[str, FileEntry]
    deleted: Tombstones | None


@dataclass(frozen=True)
class BundleStamp:
    """The bundle that filled the index: its identity decides, its name is for people."""

    name: str
    identity: str


@dataclass(frozen=True)
class IndexManifest:
    """`index.json`.

    Attributes:
        generation: Commits so far.
        next_segment: Number of the next segment; a number is never used twice.
        token_dim: Dimensions of the encoder's token vectors; `options.dim` may be what is kept of them.
        projection: The file of the matrix, once there is one.
        checksum: SHA-256 of everything else.
    """

    format_version: int
    generation: int
    next_segment: int
    bundle: BundleStamp
    pooled_dim: int
    token_dim: int
    options: IndexOptions
    projection: FileEntry | None
    segments: tuple[SegmentEntry, ...]
    checksum: str = ""

    @property
    def stored_dim(self) -> int:
        """Dimensions of a stored token vector."""
        return self.options.dim or self.token_dim

    def sealed(self) -> IndexManifest:
        """The same with its checksum."""
        return dataclasses.replace(self, checksum=_checksum(self))


def segment_files(storage: Storage) -> tuple[str, ...]:
    """Files of a segment beside its tombstones."""
    scale = ("scale.npy",) if storage in LARGEST else ()
    arrays = ("pooled.npy", "codes.npy", "starts.npy", *scale, "bounds.npy", "lengths.npy", "truncated.npy")
    return (*arrays, "documents.jsonl", "lines.npy")


def segment_path(directory: Path, manifest: IndexManifest) -> Path:
    """Where the next segment goes."""
    return directory / f"segment-{manifest.next_segment:06d}"


def write_manifest(directory: Path, manifest: IndexManifest) -> None:
    """Commit: the one rename that makes a change count."""
    replace_file(directory / MANIFEST_NAME, strict_json.dumps(manifest).encode())


def read_manifest(directory: Path) -> IndexManifest:
    """Read the `index.json` of an index directory.

    Raises:
        IndexStoreError: There is none.
        UnsupportedFormatError: It has another format version, or a key this version does not know.
        CorruptIndexError: It is not what this version writes.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise IndexStoreError(
            f"{directory} is not an index: it has no {MANIFEST_NAME}; make one with `smartrt index build`"
        )
    try:
        manifest = strict_json.read(IndexManifest, path, FORMAT_VERSION, "index")
    except strict_json.StrictJsonError as error:
        if error.from_the_future:
            raise UnsupportedFormatError(f"{path}: {error}; upgrade smartrt, or build the index again") from None
        raise CorruptIndexError(f"{path}: {error}; build the index again") from None
    except OptionError as error:
        raise CorruptIndexError(f"{path}: options: {error}; build the index again") from None
    if manifest.checksum != _checksum(manifest):
        raise CorruptIndexError(f"{path} changed since it was written: its checksum is wrong; build the index again")
    for entry in manifest.segments:
        names = [(entry.name, r"segment-\d{6,}")]
        names += [(entry.deleted.name, r"deleted-\d{6,}\.npy")] if entry.deleted else []
        for name, pattern in names:
            if not re.fullmatch(pattern, name, re.ASCII):
                raise CorruptIndexError(f"{path}: {name!r} is no name of a file of an index; build the index again")
    return manifest


def _checksum(manifest: IndexManifest) -> str:
    content = dataclasses.asdict(manifest)
    del content["checksum"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
