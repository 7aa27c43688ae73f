"""The parent's hold on a process: what it asks, what it hears, and what it says when it hears nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from latency_runs import fake, small_grid
from smartrt.benchmarks.latency import process as module
from smartrt.benchmarks.latency.process import Process
from smartrt.errors import EngineError
from support import message_of

ECHO = "import sys\nfor line in sys.stdin: print('{\"heard\": %s}' % line.strip(), flush=True)"


@pytest.fixture
def started() -> Iterator[Callable[[str], Process]]:
    """Starts a script as if it were a contender; whatever it is, it ends with the test."""
    made: list[Process] = []

    def start(script: str) -> Process:
        complaint = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaint}
        made.append(Process(subprocess.Popen([sys.executable, "-c", script], **pipes), complaint, "script"))
        return made[-1]

    yield start
    for process in made:
        process.stop()


@pytest.fixture
def environments() -> list[dict[str, str]]:
    """Of the `children`."""
    return []


@pytest.fixture
def children(
    monkeypatch: pytest.MonkeyPatch, environments: list[dict[str, str]]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Every process that the module starts; what a test leaves is ended."""
    found: list[subprocess.Popen[bytes]] = []
    complaints = []

    def recording(*given: Any, **options: Any) -> subprocess.Popen[bytes]:
        complaints.append(options["stderr"])
        environments.append(options["env"])
        found.append(subprocess.Popen(*given, **options))
        return found[-1]

    class Recorded:
        PIPE, TimeoutExpired, Popen = subprocess.PIPE, subprocess.TimeoutExpired, staticmethod(recording)

    monkeypatch.setattr(module, "subprocess", Recorded)
    yield found
    for child, complaint in zip(found, complaints, strict=True):
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, complaint):
            pipe.close()


def test_a_question_is_a_line_of_json_and_so_is_the_answer(started: Callable[[str], Process]) -> None:
    process = started(ECHO)
    assert process.ask("visit", 3, 0.15) == {"heard": ["visit", 3, 0.15]}
    assert process.ask("memory") == {"heard": ["memory"]}


@pytest.mark.parametrize(
    ("script", "mentions"),
    [
        ("raise SystemExit('one\\ntwo: the last line')", ("exit code 1", "two: the last line")),
        ("import sys; sys.exit(7)", ("exit code 7",)),
        ("import os; os.kill(os.getpid(), 9)", ("exit code -9",)),
        ("print('no JSON', flush=True); raise SystemExit(3)", ("exit code 3",)),
        ("import sys; sys.stderr.buffer.write(b'\\xff' * 5000); sys.exit(1)", ("exit code 1", "\ufffd" * 300)),
    ],
    ids=["a message", "an exit code", "a signal", "nonsense", "no UTF-8, very long"],
)
def test_a_process_that_ends_is_one_line_with_its_last_words(
    started: Callable[[str], Process], script: str, mentions: tuple[str, ...]
) -> None:
    process = started(script)
    with pytest.raises(EngineError) as caught:
        process.ask("memory")
    assert len(message_of(caught.value, *mentions)) < 400
    assert not psutil.pid_exists(process.pid)


def test_a_process_that_says_nothing_is_lost_and_ended(
    started: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    process = started("import time; time.sleep(60)")
    with pytest.raises(EngineError) as caught:
        process.ask("memory")
    message_of(caught.value, "no answer in 0 seconds")
    assert not psutil.pid_exists(process.pid)


def test_a_process_that_ends_slowly_is_not_said_to_have_been_silent(started: Callable[[str], Process]) -> None:
    process = started("import os, time; os.close(1); time.sleep(1.3); raise SystemExit('out of memory')")
    with pytest.raises(EngineError) as caught:
        process.ask("memory")
    assert "900" not in str(caught.value)


def test_stopping_twice_is_stopping(started: Callable[[str], Process]) -> None:
    process = started("import time; time.sleep(60)")
    process.stop()
    process.stop()
    assert not psutil.pid_exists(process.pid)


def test_a_contender_starts_with_its_threads_and_says_what_it_took(tmp_path: Path) -> None:
    """It is enough to fail to see how it was started: there is no workload in this folder."""
    with pytest.raises(EngineError) as caught:
        Process.start(fake("a"), small_grid(fake("a")), 3, tmp_path)
    message_of(caught.value, "exit code 1", "cells.json")


def test_an_option_that_the_engine_does_not_have_fails_the_contender_with_the_engines_message(tmp_path: Path) -> None:
    contender = fake("a", dleay=1)
    with pytest.raises(EngineError) as caught:
        Process.start(contender, small_grid(contender), 1, tmp_path)
    message_of(caught.value, "'dleay'", "delay")


def test_the_pools_of_every_library_get_the_threads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: list[subprocess.Popen[bytes]],
    environments: list[dict[str, str]],
) -> None:
    monkeypatch.setattr(Process, "_answer", lambda _: {"cpu_s": 1.0})
    process = Process.start(fake("a"), small_grid(fake("a")), 3, tmp_path)
    process.stop()
    assert process.first.keys() == {"wall_s", "cpu_s"}
    (found,) = environments
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    assert [found[name] for name in pools] == ["3"] * 4
    assert found["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path))
    assert [child.returncode for child in children] == [-9]


def test_an_interruption_while_it_starts_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[subprocess.Popen[bytes]]
) -> None:
    def interrupt(_: Process) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Process, "_answer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Process.start(fake("a"), small_grid(fake("a")), 1, tmp_path)
    assert [child.poll() for child in children] == [-9]


def test_a_process_that_cannot_be_started_fails_its_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python here"))
    with tempfile.TemporaryFile() as complaint:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: complaint)
        with pytest.raises(EngineError):
            Process.start(fake("a"), small_grid(fake("a")), 1, tmp_path)
