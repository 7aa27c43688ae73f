"""The index on disk, as data. docs/format.md is its specification.

docs.index/
index.json              the commit: it names the segments that count
segment-000001/
pooled.npy          [n, H] float32, unit rows
tokens.npy          [T, D] float32, unit rows
offsets.npy         [n + 1] int64, rows of tokens.npy per document
truncated.npy       [n] int64, tokens that did not fit the model
documents.jsonl     one {"id", "meta"} a line
lines.npy           [n + 1] int64, byte offsets into documents.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FORMAT_VERSION = 1
"""Index format written and read by this version. docs/format.md keeps the history."""

MANIFEST_NAME = "index.json"
LOCK_NAME = "writer.lock"
SEGMENT_FILES = ("pooled.npy", "tokens.npy", "offsets.npy", "truncated.npy", "documents.jsonl", "lines.npy")


@dataclass(frozen=True)
class StoredFile:
    """Size and SHA-256 of one file of a segment."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentEntry:
    """One committed segment."""

    name: str
    documents: int
    tokens: int
    files: dict[str, StoredFile]


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
