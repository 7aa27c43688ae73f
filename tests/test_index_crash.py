"""A disk that is full, a process that dies, several at once: what was committed is there, and nothing else is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import crash_index
from indexes import broken, listing
from smartrt import Bundle, Index, IndexOptions
from smartrt.errors import IndexStoreError, StorageError
from smartrt.index import store
from support import embeddings, message_of, run_python

HERE = Path(__file__).parent
OPERATIONS = [*crash_index.STEPS, "first add"]


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture
def filled(tmp_path):
    """Two segments, a b c and d e, of which a is deleted."""
    return crash_index.prepared(tmp_path / "docs.index")


@pytest.fixture(params=OPERATIONS)
def start(request, bundle, filled, tmp_path):
    """An index, a change to make to it, and the ids before and after."""
    if request.param == "first add":
        index = Index.create(tmp_path / "pca.index", bundle, IndexOptions(projection="pca", dim=4))
        operation = crash_index.STEPS["add"]
    else:
        index, operation = filled, crash_index.STEPS[request.param]
    before = dict.fromkeys(index.ids(), 0)
    return index.path, operation, list(before), list(crash_index.changed(before, *operation))


# A disk that is full, or Ctrl-C.


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fail", "error"), [(no_space, StorageError), (interrupt, KeyboardInterrupt)])
def test_a_failure_at_any_step_leaves_the_index_as_it_was_or_as_it_would_be(start, tmp_path, fail, error):
    original, operation, before, after = start
    index = Index.open(shutil.copytree(original, tmp_path / "whole.index"))
    with broken(-1, fail) as steps:
        crash_index.change(index, *operation)
    assert len(steps) > 8
    for step in range(len(steps)):
        index = Index.open(shutil.copytree(original, tmp_path / f"{step}.index"))
        untouched = listing(index.path)
        with broken(step, fail), pytest.raises(error) as caught:
            crash_index.change(index, *operation)
        if error is StorageError:
            message_of(caught.value, "No space left on device", str(index.path))
        committed = "replace" in steps[:step]
        assert Index.open(index.path).ids() == index.ids() == (after if committed else before)
        assert committed or listing(index.path) == untouched
        if not committed:
            crash_index.change(index, *operation)
        assert Index.open(index.path).ids() == index.ids() == after
        Index.open(index.path).check()
        named = {segment.entry.name for segment in index.segments} | {"index.json", "writer.lock"}
        assert {entry.name for entry in index.path.iterdir()} - {"projection.npy"} == named


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError(errno.EMFILE, "Too many open files")], ids=["^C", "EMFILE"]
)
def test_a_failure_right_after_the_commit_loses_nothing(start, monkeypatch, error):
    path, operation, _, after = start
    index, read, replace = Index.open(path), store.read_manifest, Path.replace
    committed = []

    def refuse_after_the_commit(directory):
        if committed.pop():
            raise error
        return read(directory)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *paths: [replace(*paths), committed.append(True)][0])
        patch.setattr(store, "read_manifest", lambda *of: refuse_after_the_commit(*of) if committed else read(*of))
        with pytest.raises((KeyboardInterrupt, OSError, StorageError)):
            crash_index.change(index, *operation)
    assert Index.open(path).ids() == after


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[3])
import smartrt
from crash_index import STEPS, change
from support import embeddings

index = smartrt.Index.open(sys.argv[1])
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
try:
    if sys.argv[4] in STEPS:
        change(index, *STEPS[sys.argv[4]])
    else:
        index.add(["big"], embeddings([int(sys.argv[4])]))
except smartrt.errors.StorageError as error:
    sys.stdout.write(str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
left = sorted(str(path.relative_to(index.path)) for path in index.path.rglob("*"))
assert left == sys.argv[5].split(), left
index.add(["small"], embeddings([1]))
"""

LIMITS = {
    "not even a header fits": (100, "1"),
    "half an array fits": (200, "1"),
    "the tokens do not fit": (5_000, "1000"),
    "only index.json does not fit": (1_500, "1"),
    "no tombstones fit": (100, "delete"),
    "index.json of a deletion does not fit": (1_500, "delete"),
    "half a replacement fits": (200, "replace"),
    "half a compaction fits": (200, "compact"),
    "index.json of a compaction does not fit": (1_500, "compact"),
}


@pytest.mark.parametrize(("limit", "what"), LIMITS.values(), ids=LIMITS)
def test_a_file_size_limit_is_a_storage_error_and_nothing_is_left(filled, limit, what):
    entries = " ".join(sorted(str(path.relative_to(filled.path)) for path in filled.path.rglob("*")))
    ran = run_python(LIMITED, filled.path, limit, HERE, what, entries)
    assert (ran.returncode, ran.stderr) == (0, "")
    message_of(StorageError(ran.stdout), "cannot write", "File too large")
    assert Index.open(filled.path).ids() == ["b", "c", "d", "e", "small"]


# Death.


def crash(*arguments: object, timeout: int = 60) -> str:
    command = [sys.executable, "-W", "error", HERE / "crash_index.py", *map(str, arguments)]
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # a fork of one thread
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=alone)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_a_writer_killed_at_any_step_leaves_the_state_before_or_after():
    assert "one at each step" in crash("--steps")


@pytest.mark.parametrize("seed", [0, 1], ids=["int16", "int8"])
def test_a_writer_killed_at_random_loses_at_most_what_it_was_doing(seed):
    assert crash("--kills", 15, "--seed", seed).startswith("15 kills: ")


@pytest.mark.slow
def test_a_writer_killed_at_random_200_times_loses_at_most_what_it_was_doing():
    assert crash("--kills", 200, "--seed", 2, timeout=600).startswith("200 kills: ")


# Several readers and writers.

HOLD = """
import sys
from pathlib import Path
from smartrt.index.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@pytest.fixture
def holder(filled):
    """Another process that writes."""
    command = [sys.executable, "-c", HOLD, filled.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def test_a_second_writer_is_refused_while_the_first_writes_and_not_after(filled, holder):
    before = listing(filled.path)
    for operation in crash_index.STEPS.values():
        with pytest.raises(IndexStoreError) as caught:
            crash_index.change(filled, *operation)
        message_of(caught.value, f"process {holder.pid}", str(filled.path))
        assert listing(filled.path) == before
    assert len(Index.open(filled.path).search(embeddings([1]), k=5)[0]) == 4
    holder.stdin.close()
    holder.wait()
    filled.add(["f"], embeddings([1]))


def test_the_lock_of_a_killed_process_does_not_matter(filled, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (filled.path / "writer.lock").read_text() == f"{holder.pid}\n"
    filled.add(["f"], embeddings([1]))
    assert (filled.path / "writer.lock").read_text() == f"{os.getpid()}\n"
    (filled.path / "writer.lock").unlink()
    filled.delete(["f"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"nobody\n"], ids=["empty", "no text", "no number"])
@pytest.mark.usefixtures("holder")
def test_whatever_the_lock_file_says_the_message_is_one_line(filled, content):
    (filled.path / "writer.lock").write_bytes(content)
    with pytest.raises(IndexStoreError) as caught:
        filled.delete(["b"])
    message_of(caught.value, "another process")


def test_readers_always_see_a_committed_state(bundle, tmp_path):
    path = Index.create(tmp_path / "docs.index", bundle).path
    command = [sys.executable, HERE / "crash_index.py", "--write", path, "--seed", "5", "--count", "300"]
    seen, tokens = {}, embeddings([2])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        while writer.poll() is None:
            reader = Index.open(path)
            held = {hit.id: hit.meta for hit in reader.search(tokens, k=1000, candidates=1)[0]} if len(reader) else {}
            assert sorted(held) == sorted(reader.ids())
            seen[reader.manifest.generation] = [(name, held[name]) for name in reader.ids()]
        lines = writer.stdout.readlines()
    assert writer.returncode == 0
    last, _, states = crash_index.replay({}, lines)
    states[0] = {}
    assert len(seen) > 20
    for generation, held in seen.items():
        assert held == list(states[generation].items())
    crash_index.examine(path, last)
    assert len([line for line in map(json.loads, lines) if "done" in line]) == 300
