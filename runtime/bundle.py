"""A bundle on disk: `NAME.smartrt/`, opened, checked, and handed on.

Nothing of a bundle is used before it was compared with the manifest: format version first, then keys
and types, then every file's size and hash. The layout is specified in docs/format.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from . import strict_json
from .errors import BundleError, CorruptBundleError, UnsupportedFormatError
from .manifest import FORMAT_VERSION, Manifest

if TYPE_CHECKING:
    import os

MANIFEST_NAME = "manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: where it lies and what its manifest says."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
        """Read the manifest of the directory `path` and compare every file with it.

        Args:
            path: The bundle directory.
            verify: Hash every file. ``False`` compares sizes only: for a bundle this process already
                hashed, not for one that came over a network.

        Raises:
            BundleError: There is no bundle at `path`.
            UnsupportedFormatError: A newer format version, an unknown key, a value of the wrong type.
            CorruptBundleError: A file is missing, or has another size or hash than the manifest says.
        """
        directory = Path(path)
        try:
            manifest = _read_manifest(directory)
            for name, entry in manifest.files.items():
                _check_file(directory, name, entry.bytes, entry.sha256 if verify else None)
        except OSError as error:
            raise BundleError(f"cannot read {error.filename or directory}: {error.strerror}") from error
        if problem := next(manifest.problems(), None):
            raise CorruptBundleError(f"{directory / MANIFEST_NAME}: {problem}; export it again")
        return cls(directory, manifest)

    @property
    def identity(self) -> str:
        """SHA-256 over all that decides the vectors; an index remembers it."""
        return self.manifest.identity()

    def file(self, name: str) -> Path:
        """Path of one file of the bundle."""
        return self.path / name


def sha256_of(*paths: Path) -> str:
    """SHA-256 of a file, or of several one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST_NAME
    if not path.is_file():
        reason = f"it has no {MANIFEST_NAME}" if directory.is_dir() else "there is no such directory"
        raise BundleError(f"{directory} is not a bundle: {reason}; make one with `smartrt export`")
    try:
        return strict_json.read(Manifest, path, FORMAT_VERSION, "bundle")
    except strict_json.StrictJsonError as error:
        if error.from_the_future:
            raise UnsupportedFormatError(f"{path}: {error}; upgrade smartrt, or export again") from None
        raise CorruptBundleError(f"{path}: {error}; export it again") from None


def _is_inside(name: str) -> bool:
    """Whether `name` is a plain relative file name that stays inside its directory."""
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and name == "/".join(parts)
    return plain and bool(parts) and parts[0] != "/" and ".." not in parts


def _check_file(directory: Path, name: str, size: int, sha256: str | None) -> None:
    if not _is_inside(name):
        raise CorruptBundleError(f"{directory}: {name!r} is not a file name inside a bundle; export it again")
    path = directory / name
    if not path.is_file():
        raise CorruptBundleError(f"{directory} misses {name}: copy the bundle again, or export it again")
    actual = path.stat().st_size
    if actual != size:
        raise CorruptBundleError(
            f"{path} has {actual} bytes, the manifest says {size}: copy the bundle again, or export it again"
        )
    if sha256 is not None and (digest := sha256_of(path)) != sha256:
        raise CorruptBundleError(
            f"{path} has SHA-256 {digest[:12]}…, the manifest says {sha256[:12]}…: "
            "copy the bundle again, or export it again"
        )
