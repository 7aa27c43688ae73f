"""Writing: the old state or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from commandline import tree
from smartrt.errors import StorageError
from smartrt.files import new_directory, replace_file, writing
from support import message_of


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("content", [b"", b"new", bytes(range(256)) * 999], ids=len)
@pytest.mark.parametrize("old", [None, b"what was there before"], ids=["new file", "old file"])
def test_a_file_gets_its_content(tmp_path, old, content):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    replace_file(path, content)
    assert tree(tmp_path) == {"file": content}


def test_a_file_gets_the_permissions_the_umask_gives(tmp_path, umask):
    replace_file(tmp_path / "file", b"x")
    assert mode(tmp_path / "file") == 0o666 & ~umask


def test_writing_leaves_the_umask_as_it_was(tmp_path, umask):
    replace_file(tmp_path / "file", b"x")
    with new_directory(tmp_path / "directory") as directory:
        (directory / "file").touch()
    assert os.umask(umask) == umask


def fail(error):
    def raises(*_, **__):
        raise error

    return raises


def make_directory(path, then):
    """Put a file into the new directory, then let `then` happen inside the block."""
    with new_directory(path) as directory:
        (directory / "file").write_bytes(b"x")
        then()


FULL = OSError(errno.ENOSPC, "No space left on device")
STEPS = {"flushing": (os, "fsync"), "permissions": (Path, "chmod"), "renaming": (Path, "replace")}


@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_a_disk_that_fails_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, module, name):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(module, name, fail(FULL))
    with pytest.raises(StorageError) as caught:
        replace_file(path, b"new")
    monkeypatch.undo()
    message_of(caught.value, f"cannot write {path}: No space left on device")
    assert tree(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_an_interruption_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, module, name):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(module, name, fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert tree(tmp_path) == {"file": b"old"}


def test_the_new_content_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    path, steps = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(f"flush of {os.fstat(fd).st_size} bytes"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda source, to: (steps.append("rename"), replace(source, to)))
    replace_file(path, b"12345")
    assert steps[:2] == ["flush of 5 bytes", "rename"]
    assert len(steps) == 3  # and the directory behind it


@pytest.mark.parametrize("name", ["missing/file", "file/inside", "directory"])
def test_a_place_that_takes_no_file_is_a_storage_error(tmp_path, name):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "directory").mkdir()
    before = tree(tmp_path)
    with pytest.raises(StorageError) as caught:
        replace_file(tmp_path / name, b"new")
    message_of(caught.value, f"cannot write {tmp_path / name}: ")
    assert tree(tmp_path) == before


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path):
    """`-o /dev/null` as root must not leave the machine without /dev/null."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StorageError):
        replace_file(path, b"new")
    assert stat.S_ISFIFO(path.lstat().st_mode)


def test_a_directory_appears_with_everything_in_it(tmp_path):
    path = tmp_path / "made" / "here"
    with new_directory(path) as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_bytes(b"x")
        assert not path.exists()
        assert directory.parent == path.parent  # one file system, so that renaming is one step
    assert tree(tmp_path) == {"made": None, "made/here": None, "made/here/inner": None, "made/here/inner/file": b"x"}


def test_a_directory_and_its_files_get_the_permissions_the_umask_gives(tmp_path, umask):
    with new_directory(tmp_path / "new") as directory:
        for name in ("open", "closed"):
            (directory / name).write_bytes(b"x")
        (directory / "closed").chmod(0o600)
        (directory / "inner").mkdir()
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "inner") == 0o777 & ~umask
    assert mode(tmp_path / "new" / "open") == mode(tmp_path / "new" / "closed") == 0o666 & ~umask


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyboardInterrupt(), StorageError("no"), SystemExit(3)],
    ids=lambda error: type(error).__name__,
)
def test_a_block_that_fails_leaves_no_directory_and_keeps_its_error(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        make_directory(tmp_path / "new", fail(error))
    assert caught.value is error
    assert tree(tmp_path) == {}


def test_a_full_disk_inside_the_block_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError) as caught:
        make_directory(tmp_path / "new", fail(FULL))
    message_of(caught.value, f"cannot write {tmp_path / 'new'}: No space left on device")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("module", "name"), [(os, "fsync"), (Path, "chmod"), (Path, "rename")], ids=["flush", "permissions", "rename"]
)
def test_a_disk_that_fails_behind_the_block_leaves_no_directory(tmp_path, monkeypatch, module, name):
    with pytest.raises(StorageError):
        make_directory(tmp_path / "new", lambda: monkeypatch.setattr(module, name, fail(FULL)))
    monkeypatch.undo()
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")], ids=["directory", "file", "link"]
)
def test_what_exists_is_not_replaced_by_a_directory(tmp_path, make):
    make(tmp_path / "there")
    entered = []
    with pytest.raises(StorageError) as caught, new_directory(tmp_path / "there"):
        entered.append(True)
    message_of(caught.value, f"{tmp_path / 'there'}")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_directory_that_somebody_filled_meanwhile_is_kept(tmp_path):
    path = tmp_path / "new"

    def interfere():
        path.mkdir()
        (path / "theirs").write_bytes(b"x")

    with pytest.raises(StorageError):
        make_directory(path, interfere)
    assert tree(tmp_path) == {"new": None, "new/theirs": b"x"}


@pytest.mark.parametrize("error", [FULL, OSError("short write")], ids=["with a number", "without"])
def test_an_error_of_the_disk_becomes_one_line_and_keeps_its_cause(error):
    with pytest.raises(StorageError) as caught, writing(Path("place")):
        raise error
    message_of(caught.value, "cannot write place: ", error.strerror or "short write")
    assert caught.value.__cause__ is error
