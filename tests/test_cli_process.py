"""The command line as a process: signals, pipes, terminals, limits of the disk."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from commandline import (
    FAKE,
    INTERRUPTIBLE,
    TEXTS,
    build_index,
    call,
    finish,
    one_line,
    refused,
    start,
    tree,
    write_corpus,
)
from smartrt import Index

LONG = "sort a list of keys by their order in the file " * 8
LIMITED = """
import resource, signal, sys
limit = int(sys.argv.pop(1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from smartrt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A corpus of which every 512 documents are 3 MB of vectors, and a segment."""
    return write_corpus(tmp_path_factory.mktemp("many") / "corpus.jsonl", [f"{i} {LONG}" for i in range(6000)])


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_path):
    """Arguments of a search in an index of 2,000 documents, which prints more than a pipe holds."""
    directory = tmp_path_factory.mktemp("asked")
    corpus = write_corpus(directory / "corpus.jsonl", [f"{i} sort a list by key" for i in range(2000)])
    return "search", tiny_path, build_index(directory / "docs.index", tiny_path, corpus)


def test_ctrl_c_in_a_build_says_what_is_committed_and_resume_completes_it(capsys, tmp_path, tiny_path, many):
    path = tmp_path / "docs.index"
    build = ("index", "build", tiny_path, many, "-o", path, *FAKE, "--commit-mb", "1")
    slowly = ("--token-budget", "48")  # one document at a time
    process = start(*build, *slowly, script=INTERRUPTIBLE)
    deadline = time.monotonic() + 30
    while not (path / "index.json").is_file() or b"segment-000001" not in (path / "index.json").read_bytes():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    line = refused(finish(process), "interrupted", path, "--resume")
    index = Index.open(path)
    index.check()
    assert 512 <= len(index) < 6000
    assert f"; {len(index):,} of 6,000 documents are committed" in line
    assert not list(path.glob(".*"))
    resumed = call(capsys, *build, "--resume", "--json")
    assert (resumed.code, resumed.json["documents"]) == (0, 6000)
    assert Index.open(path).ids() == [f"d{i}" for i in range(6000)]
    assert call(capsys, "index", "check", path).code == 0


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(100),
        20_000,
        400_000,
    ],
    ids=lambda limit: f"{limit:,} bytes",
)
def test_a_full_disk_stops_a_build_in_one_line_and_leaves_an_index_to_resume(capsys, tmp_path, tiny_path, many, limit):
    path = tmp_path / "docs.index"
    build = ("index", "build", tiny_path, many, "-o", path, *FAKE)
    line = refused(finish(start(limit, *build, script=LIMITED)), f"cannot write {path}")
    assert "File too large" in line  # what the system said; on a full disk it says "No space left on device"
    left = {name for name in tree(tmp_path) if "segment" in name or ".docs" in name}
    assert not left
    if path.exists():
        assert "0 of 6,000 documents are committed" in line
        assert "--resume" in line
        assert call(capsys, "index", "check", path).code == 0
        corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
        assert call(capsys, "index", "build", tiny_path, corpus, "-o", path, *FAKE, "--resume").code == 0
    else:
        assert limit == 100


def test_a_full_disk_stops_encode_in_one_line_and_keeps_the_old_file(tmp_path, tiny_path):
    output = tmp_path / "vectors.npz"
    output.write_bytes(b"what was there")
    finished = finish(start(1000, "encode", tiny_path, *TEXTS, "-o", output, *FAKE, script=LIMITED))
    refused(finished, f"cannot write {output}", "File too large")
    assert tree(tmp_path) == {"vectors.npz": b"what was there"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json"), ("--help",)], ids=" ".join)
def test_standard_output_that_is_full_is_one_line_and_exit_code_2(arguments):
    with Path("/dev/full").open("wb") as full:
        finished = finish(start(*arguments, stdout=full))
    assert finished.code == 2, finished
    one_line(finished.err, "No space left on device")


@pytest.mark.parametrize("output", [(), ("--json",)], ids=["text", "json"])
def test_a_reader_that_goes_away_leaves_no_traceback(asked, output):
    with start(*asked, "list", *FAKE, "-k", "2000", *output) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [("doctor",), ("--help",), ("--version",)], ids=" ".join)
def test_a_reader_that_was_never_there_leaves_no_traceback(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    finished = finish(start(*arguments, stdout=writer))
    os.close(writer)
    assert finished.err == ""


def test_queries_are_read_from_standard_input_one_a_line(asked):
    finished = finish(
        start(*asked, *FAKE, "-k", "1", stdin=subprocess.PIPE), "a list\n\n  \nné\u2028n\n12 sort".encode()
    )
    assert (finished.code, finished.err) == (0, "")
    lines = finished.out.split("\n")[:-1]
    assert [line for line in lines if not line.startswith(" ")] == ["a list", "né\u2028n", "12 sort"]
    assert len(lines) == 6


def test_no_query_on_standard_input_prints_nothing(asked):
    finished = finish(start(*asked, *FAKE, stdin=subprocess.PIPE), b"")
    assert (finished.code, finished.out, finished.err) == (0, "", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape"])
def test_standard_input_that_is_not_utf_8_is_refused(asked, encoding):
    process = start(*asked, *FAKE, stdin=subprocess.PIPE, env={"PYTHONIOENCODING": encoding})
    refused(finish(process, b"\xff\n"), "standard input" if encoding == "utf-8" else "not valid Unicode")


def test_answers_to_standard_input_are_one_line_of_json_each(asked):
    finished = finish(start(*asked, *FAKE, "-k", "2", "--json", stdin=subprocess.PIPE), b"a list\nkey\n")
    assert finished.code == 0
    answers = [json.loads(line) for line in finished.out.splitlines()]
    assert [answer["query"] for answer in answers] == ["a list", "key"]
    assert [set(answer) for answer in answers] == [{"query", "hits"}] * 2


def test_a_program_that_asks_one_query_at_a_time_gets_each_answer_at_once(asked):
    with start(*asked, *FAKE, "-k", "1", stdin=subprocess.PIPE) as process:
        try:
            process.stdin.write(b"a list\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 5)[0], "no answer before the end of input"
            assert os.read(process.stdout.fileno(), 100).startswith(b"a list\n")
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.mark.parametrize("output", [(), ("--json",)], ids=["text", "json"])
def test_an_output_that_is_not_utf_8_gets_every_result_without_a_traceback(tmp_path, tiny_path, output):
    path = build_index(tmp_path / "i", tiny_path, write_corpus(tmp_path / "c.jsonl", ["sort ☃ 😀"]))
    process = start("search", tiny_path, path, "naïve", *FAKE, "-k", "1", *output, env={"PYTHONIOENCODING": "latin-1"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"d0" in out
    if output:
        assert json.loads(out)[0]["hits"][0]["id"] == "d0"


def test_somebody_who_types_is_prompted_and_told_how_long_it_took(asked):
    ours, theirs = pty.openpty()
    process = start(*asked, *FAKE, "-k", "1", stdin=theirs)
    os.close(theirs)
    os.write(ours, b"a list\n\x04")  # the last one ends the input
    finished = finish(process)
    os.close(ours)
    assert finished.code == 0
    assert finished.out.startswith("a list\n  1  ")
    assert re.fullmatch(r"query> \d+ ms\nquery> \n?", finished.err)


def on_terminal(*arguments, **options):
    """Run with standard error on a terminal of 100 columns; what the terminal got, and the exit code."""
    ours, theirs = pty.openpty()
    process = start(*arguments, stderr=theirs, env={"COLUMNS": "100"}, **options)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # noqa: PERF203  (how Linux says that the other side was closed)
            break
    os.close(ours)
    return shown.decode(), finish(process).code


@pytest.mark.parametrize("command", ["index build", "encode"])
def test_a_bar_is_drawn_on_a_terminal_and_removed_again(tmp_path, tiny_path, command):
    corpus = write_corpus(tmp_path / "corpus.jsonl", [f"{i} list" for i in range(600)])
    where = (corpus,) if command == "index build" else ("--input", corpus)
    shown, code = on_terminal(*command.split(), tiny_path, *where, "-o", tmp_path / "out", *FAKE)
    assert code == 0
    label = {"index build": "indexing", "encode": "encoding"}[command]
    states = [state for state in shown.split("\r") if state.startswith(label)]
    assert states
    assert all(len(state.removesuffix("\x1b[K")) < 100 for state in states)
    assert f"{label} {'█' * 24} 600/600" in states[-1]
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize("command", ["index build", "encode"])
def test_no_bar_is_drawn_in_a_pipe(tmp_path, tiny_path, command):
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    where = (corpus,) if command == "index build" else ("--input", corpus)
    finished = finish(start(*command.split(), tiny_path, *where, "-o", tmp_path / "out", *FAKE))
    assert (finished.code, finished.err) == (0, "")


def test_what_a_process_encodes_is_the_same_twice(tmp_path, tiny_path):
    for name in ("a.npz", "b.npz"):
        assert finish(start("encode", tiny_path, *TEXTS, "-o", tmp_path / name, "--threads", "1")).code == 0
    first, second = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    first.close()
    second.close()
