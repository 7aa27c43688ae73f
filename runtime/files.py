"""Writing so that a reader finds the old state or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART = ".part-"  # in the name of a directory that is being written


def replace_file(path: Path, content: bytes) -> None:
    """Give `path` the new content in one step: a temporary file beside it, flushed, renamed over it.

    Raises:
        StorageError: `path` is something else than a file, or the disk refuses.
    """
    if path.exists() and not path.is_file():
        raise StorageError(f"cannot write {path}: it is there and no file; choose another name")
    with writing(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path` that becomes `path` if the block succeeds, else vanishes.

    What a process that was killed left of an earlier try for the same `path` vanishes as well.

    Raises:
        StorageError: `path` exists already, or the disk refuses.
    """
    if path.exists():
        raise StorageError(f"{path} exists already: choose another name, or remove it first")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}{_PART}", dir=path.parent))
        try:
            with _held(temporary):
                yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    file.chmod(0o666 & ~_umask())  # some libraries write files only their owner can read
                sync_file(file)
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)
            sync_directory(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk answers into one line: full, read-only, not permitted, gone."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}; nothing was left half-written") from error


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold `directory`, so that nobody takes it for abandoned. The kernel lets go when the process ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    pattern = re.compile(re.escape(f".{path.name}{_PART}") + r"\w{8}")
    for found in path.parent.iterdir():
        if not pattern.fullmatch(found.name) or not found.is_dir() or found.is_symlink():
            continue
        descriptor = os.open(found, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(found, ignore_errors=True)
        except BlockingIOError:  # another process is writing it
            pass
        finally:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush a directory, so that a rename in it survives a power cut (not possible on Windows)."""
    if os.name != "nt":
        sync_file(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
