"""Encoded texts on disk, found again by the hash of all that decides them.

An entry is one ``KEY.npz`` without pickle: its key, ``pooled``, ``values`` and ``offsets`` of the tokens,
``truncated``; float32 to the last bit. KEY is a SHA-256 over the encoder, the side and the texts, so an entry is never
out of date, only no longer asked for: the least recently used go when room is needed. Any number of processes may share
a directory. An entry appears by renaming, and one that is removed stays readable to whoever has it open.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.cli.terminal import note
from smartrt.errors import OptionError
from smartrt.evaluation.quality import encode_once
from smartrt.files import writing
from smartrt.fusion import check_unit
from smartrt.types import Embeddings, TokenStates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from smartrt.evaluation.quality import Encodes
    from smartrt.manifest import Side

DEFAULT_LIMIT = 10 * 10**9
"""Bytes: the token vectors of some dozens of sets of a small model."""

_FORMAT = 1  # of an entry; counts in its key, so that entries of another format are never looked at
_MEMBERS = {"key", "pooled", "values", "offsets", "truncated"}
_OVERHEAD = 4096  # bytes of a file that are not vectors
_ABANDONED = 3600  # seconds since a temporary file was last written to
# What zipfile and NumPy raise on damaged files; InputError, of vectors that do not fit together, is a ValueError.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def default_directory() -> Path:
    """``$XDG_CACHE_HOME/smartrt/encoded``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smartrt" / "encoded"


def key_of(identity: Mapping[str, Any], texts: Iterable[str], side: Side) -> str:
    """The SHA-256 that an entry is found by, in hexadecimal.

    Args:
        identity: All that decides a bit of the vectors; JSON-ready.
        texts: In order. Each counts with its length: no two lists of texts run together to the same bytes.
        side: ``query`` or ``document``.
    """
    about = json.dumps({"format": _FORMAT, "side": side, "identity": identity}, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256()
    for text in (about, *texts):
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


class EncodedCache:
    """Embeddings of texts, kept in a directory of bounded size. Make one with `open`.

    Attributes:
        directory: Where the entries are.
        limit_bytes: What they may take together.
        hits: Sides of sets that were read.
        misses: Sides of sets that were encoded.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0

    @classmethod
    def open(cls, directory: Path, limit_bytes: int = DEFAULT_LIMIT) -> EncodedCache:
        """Make the directory, and remove what killed processes left half-written in it.

        Raises:
            OptionError: The limit is below 1 byte.
            StorageError: The directory cannot be made.
        """
        if limit_bytes < 1:
            raise OptionError(f"a cache needs a limit of at least 1 byte, got {limit_bytes}")
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.glob(".*.tmp"):
                with contextlib.suppress(FileNotFoundError):  # another process cleans up too
                    if time.time() - left.stat().st_mtime > _ABANDONED:
                        left.unlink()
        return cls(directory, limit_bytes)

    def encode(self, identity: Mapping[str, Any], encode: Encodes, texts: Sequence[str], side: Side) -> Embeddings:
        """Embeddings of the texts in their order, from the cache or from `encode`, each distinct text once.

        A damaged entry is encoded again and replaced. A disk that refuses an entry costs the entry, not the
        measurement. Both are said in a line on standard error.

        Args:
            identity: All that decides a bit of the vectors, JSON-ready: weights, library versions, options, hardware.
            encode: Called with the distinct texts if they are not in the cache.
            texts: Of one side.
            side: ``query`` or ``document``.

        Raises:
            InputError: `encode` returned another number of rows, or NaN or infinity; nothing is kept of it.
        """
        return encode_once(functools.partial(self._find, identity, encode), texts, side)

    def _find(self, identity: Mapping[str, Any], encode: Encodes, texts: Sequence[str], side: Side) -> Embeddings:
        key = key_of(identity, texts, side)
        path = self.directory / f"{key}.npz"
        found = _read(path, key, len(texts))
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        encoded = encode(texts, side)
        if _problem(encoded, len(texts)) is None:  # what is wrong is the caller's to refuse
            self._keep(path, key, encoded)
        return encoded

    def _keep(self, path: Path, key: str, encoded: Embeddings) -> None:
        arrays = _arrays(key, encoded)
        size = sum(array.nbytes for array in arrays.values()) + _OVERHEAD
        if size > self.limit_bytes:
            note(f"not cached: {size / 1e9:.3g} GB is over the limit of {self.limit_bytes / 1e9:.3g} GB (--cache-gb)")
            return
        try:
            self._make_room(size, path)
            _write(path, arrays)
        except OSError as error:
            note(f"not cached: {self.directory} refuses an entry: {error.strerror or error}")

    def _make_room(self, size: int, path: Path) -> None:
        """Remove the least recently used entries until `size` bytes at `path` fit below the limit."""
        entries = []
        for entry in self.directory.glob("*.npz"):
            with contextlib.suppress(FileNotFoundError):  # another process made room
                if entry != path:  # that one is replaced
                    about = entry.stat()
                    entries.append((about.st_mtime_ns, entry.name, about.st_size, entry))
        total = sum(taken for _, _, taken, _ in entries) + size
        for _, _, taken, entry in sorted(entries):
            if total <= self.limit_bytes:
                break
            entry.unlink(missing_ok=True)
            total -= taken


def _arrays(key: str, encoded: Embeddings) -> dict[str, NDArray[Any]]:
    tokens = encoded.tokens
    return {
        "key": np.array(key),
        "pooled": encoded.pooled,
        "values": tokens.values,
        "offsets": tokens.offsets,
        "truncated": encoded.truncated,
    }


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an entry under another name and rename it. Nothing is flushed to the disk: a reader compares checksums."""
    with tempfile.NamedTemporaryFile(prefix=".", suffix=".tmp", dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for the flag allow_pickle
            file.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _read(path: Path, key: str, rows: int) -> Embeddings | None:
    """An entry, marked as used now; None if there is none, or none that can be trusted."""
    try:
        with path.open("rb") as file:
            found = _parse(file, key)
            if problem := _problem(found, rows):
                raise ValueError(problem)
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        note(f"the cached vectors {path} are damaged ({reason}): encoding again")
        return None
    with contextlib.suppress(OSError):  # a directory that may only be read has no order of use
        os.utime(path)
    return found


def _parse(file: Any, key: str) -> Embeddings:
    """The embeddings in an open entry; raises one of `_DAMAGE`."""
    with zipfile.ZipFile(file) as archive:
        # Before NumPy reads a header: after this, what it reads is what was written.
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
        if set(archive.namelist()) != {f"{name}.npy" for name in _MEMBERS}:
            raise ValueError("it holds other arrays")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in _MEMBERS}
    if not np.array_equal(arrays["key"], key):
        raise ValueError("it is the entry of another key")
    tokens = TokenStates(arrays["values"], arrays["offsets"])
    return Embeddings(arrays["pooled"], tokens, arrays["truncated"])


def _problem(encoded: Embeddings, rows: int) -> str | None:
    """What no encoder returns; None if it is sound."""
    if len(encoded) != rows:
        return f"{len(encoded)} rows for {rows} texts"
    for values in (encoded.pooled, encoded.tokens.values):
        if not np.isfinite([values.min(initial=0.0), values.max(initial=0.0)]).all():
            return "NaN or infinity"
    if not encoded.tokens.lengths.all() or (encoded.truncated < 0).any():
        return "a text without a token vector, or with less than nothing cut off"
    try:
        check_unit(encoded.tokens, "entry")
    except ValueError as error:
        return str(error)
    return None
