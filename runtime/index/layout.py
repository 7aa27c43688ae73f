"""The index on disk, as data. docs/format.md is its specification.

docs.index/
    index.json              the commit: it names the segments that count
    writer.lock             held by the one writer
    segment-000001/
        pooled.npy          [n, H] float32, unit rows
        tokens.npy          [T, D] float32, unit rows
        offsets.npy         [n + 1] int64, rows of tokens.npy per document
        truncated.npy       [n] int64, tokens that did not fit the model
        documents.jsonl     one {"id", "meta"} a line
        lines.npy           [n + 1] int64, byte offsets into documents.jsonl
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import strict_json
from ..errors import CorruptIndexError, IndexStoreError, UnsupportedFormatError
from ..manifest import FileEntry  # noqa: TC001  (strict_json reads the hints at run time)

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_VERSION = 1
"""Index format written and read by this version. docs/format.md keeps the history."""

MANIFEST_NAME = "index.json"
LOCK_NAME = "writer.lock"
SEGMENT_FILES = ("pooled.npy", "tokens.npy", "offsets.npy", "truncated.npy", "documents.jsonl", "lines.npy")


@dataclass(frozen=True)
class SegmentEntry:
    """One committed segment."""

    name: str
    documents: int
    tokens: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class BundleStamp:
    """The bundle that filled the index: its identity decides, its name is for people."""

    name: str
    identity: str


@dataclass(frozen=True)
class IndexManifest:
    """`index.json`."""

    format_version: int
    bundle: BundleStamp
    pooled_dim: int
    token_dim: int
    storage: Literal["float32"]
    segments: tuple[SegmentEntry, ...]


def read_manifest(directory: Path) -> IndexManifest:
    """Read the `index.json` of an index directory.

    Raises:
        IndexStoreError: There is none.
        UnsupportedFormatError: It has a newer format version, or a key this version does not know.
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
    for entry in manifest.segments:
        if not re.fullmatch(r"segment-\d{6,}", entry.name, re.ASCII):
            raise CorruptIndexError(f"{path}: {entry.name!r} is no name of a segment; build the index again")
    return manifest
