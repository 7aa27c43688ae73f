"""The state of an index on disk: one manifest and its segments, and how one state follows another."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorruptIndexError, IndexStoreError
from ..files import writing
from .arrays import map_array
from .layout import MANIFEST_NAME, PROJECTION_NAME, read_manifest, write_manifest
from .lock import writer_lock
from .segment import Segment, check_file, write_tombstones

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .layout import IndexManifest, SegmentEntry

_ATTEMPTS = 20


class Store:
    """A consistent snapshot. Whoever reads keeps it, whatever a writer does meanwhile."""

    def __init__(self, path: Path, manifest: IndexManifest, segments: Sequence[Segment]) -> None:
        self.path = path
        self.manifest = manifest
        self.segments = tuple(segments)
        self.projection = _map_projection(path, manifest)

    @classmethod
    def read(cls, path: Path) -> Store:
        """Open what was last committed.

        Raises:
            IndexStoreError: See `read_manifest`.
            CorruptIndexError: A file is missing or has the wrong size or shape.
        """
        for _ in range(_ATTEMPTS):
            manifest = read_manifest(path)
            if (store := cls._open_unless_changed(path, manifest)) is not None:
                return store
        raise IndexStoreError(f"{path} changed {_ATTEMPTS} times while it was opened: try again")

    @classmethod
    def _open_unless_changed(cls, path: Path, manifest: IndexManifest) -> Store | None:
        """The state of `manifest`, or None if a writer committed meanwhile and removed some of its files."""
        try:
            return cls(path, manifest, _map_segments(path, manifest))
        except CorruptIndexError:
            if read_manifest(path) == manifest:
                raise
        except FileNotFoundError as error:
            if read_manifest(path) == manifest:
                gone = f"{error.filename} is missing; copy the index again, or build it again"
                raise CorruptIndexError(gone) from None
        return None

    def check(self) -> None:
        """Read every committed byte and compare it with its hash.

        Raises:
            CorruptIndexError: A file changed since it was written.
            IndexStoreError: Another process has changed the index since it was opened.
        """
        self._check_latest()
        if self.manifest.projection is not None:
            check_file(self.path / PROJECTION_NAME, self.manifest.projection)
        for segment in self.segments:
            segment.check()

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """Hold the index for writing, cleared of what a killed writer left.

        Raises:
            IndexStoreError: Another process writes to it, or has written since it was opened.
            StorageError: The disk refuses.
        """
        with writing(self.path), writer_lock(self.path):
            self._check_latest()
            self._sweep()
            try:
                yield
            finally:
                self._sweep()

    def entomb(self, gone: Sequence[NDArray[np.int64]]) -> list[SegmentEntry]:
        """Entries of all segments, the given rows of each deleted as well."""
        entries = []
        for segment, rows in zip(self.segments, gone, strict=True):
            entry = segment.entry
            if len(rows):
                mask = np.zeros(entry.documents, bool)
                mask[rows] = True
                if segment.documents.alive is not None:
                    mask |= ~segment.documents.alive
                stones = write_tombstones(segment.path, mask, self.manifest.generation + 1)
                entry = dataclasses.replace(entry, deleted=stones)
            entries.append(entry)
        return entries

    def commit(self, manifest: IndexManifest) -> None:
        """Make `manifest` the state of the index, on disk and here."""
        sealed = dataclasses.replace(manifest, generation=self.manifest.generation + 1).sealed()
        segments = _map_segments(self.path, sealed, self.segments)
        projection = _map_projection(self.path, sealed)
        try:
            write_manifest(self.path, sealed)
        finally:
            # Whatever stopped us (a full disk, Ctrl-C), the manifest on disk says whether the rename was done.
            if read_manifest(self.path) == sealed:
                self.manifest, self.segments, self.projection = sealed, segments, projection

    def _check_latest(self) -> None:
        if read_manifest(self.path) != self.manifest:
            raise IndexStoreError(f"{self.path} was changed by another process: open it again")

    def _sweep(self) -> None:
        """Remove what the commit on the disk does not name: left by a killed writer, or no longer needed."""
        manifest = read_manifest(self.path)
        committed = {entry.name: entry for entry in manifest.segments}
        for path in [*self.path.glob("segment-*"), *self.path.glob(".segment-*")]:
            if path.name not in committed:
                shutil.rmtree(path, ignore_errors=True)
                continue
            stones = committed[path.name].deleted
            for file in path.glob("deleted-*.npy"):
                if stones is None or file.name != stones.name:
                    file.unlink(missing_ok=True)
        for path in self.path.glob(f".{MANIFEST_NAME}.*"):
            path.unlink(missing_ok=True)
        if manifest.projection is None:
            (self.path / PROJECTION_NAME).unlink(missing_ok=True)


def _map_projection(path: Path, manifest: IndexManifest) -> NDArray[np.float32] | None:
    """The matrix that token vectors are projected with, if there is one yet."""
    if manifest.projection is None:
        return None
    return np.array(map_array(path / PROJECTION_NAME, "<f4", (manifest.token_dim, manifest.stored_dim)))


def _map_segments(path: Path, manifest: IndexManifest, known: Sequence[Segment] = ()) -> tuple[Segment, ...]:
    """The segments of a manifest; those that are mapped already stay so."""
    by_entry = {(segment.entry.name, segment.entry.deleted): segment for segment in known}
    return tuple(
        by_entry.get((entry.name, entry.deleted)) or Segment.open(path / entry.name, entry, manifest)
        for entry in manifest.segments
    )
