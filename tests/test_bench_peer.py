"""maxsim-cpu beside `smartrt bench maxsim`: in a process of its own, whatever becomes of it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys

import numpy as np
import pytest

from commandline import call
from smartrt.benchmarks.scoring import measure as measuring
from smartrt.benchmarks.scoring import peer
from smartrt.benchmarks.scoring.cases import CASES, Case, make
from smartrt.benchmarks.scoring.measure import OURS, PEER, measure

TINY = {"tiny": Case(2, 6, 64, 40, (3, 20)), "same length": Case(1, 5, 64, 25, (7, 7))}
# The other process knows only the cases of the program, until the module that it imports has added these.
HEAD = """
import os, threading
import numpy as np
from smartrt.benchmarks.scoring.cases import CASES, Case
CASES["tiny"] = Case(2, 6, 64, 40, (3, 20))
CASES["same length"] = Case(1, 5, 64, 25, (7, 7))
calls = []
"""
GOOD = """
def maxsim_scores(query, documents):
    assert documents.ndim == 3
    return (query @ documents.transpose(0, 2, 1)).max(axis=2).sum(axis=1)

def maxsim_scores_variable(query, documents):
    return np.array([(query @ rows.T).max(axis=1).sum() for rows in documents], np.float32)
"""
CRASHES = {
    "at the first call": "def maxsim_scores_variable(query, documents):\n    os._exit(139)\n",
    "on import": "os._exit(139)\n",
    "by an exception": "def maxsim_scores_variable(query, documents):\n    raise MemoryError\n",
    "a function that is missing": "",
}
LATER = (
    GOOD
    + """
honest = maxsim_scores_variable
def maxsim_scores_variable(query, documents):
    calls.append(query)
    if len(calls) > 4:  # two queries a round
        os._exit(139)
    return honest(query, documents)
"""
)
AFTERWARDS = (
    GOOD
    + """
honest = maxsim_scores_variable
def maxsim_scores_variable(query, documents):
    threading.Timer(0.3, os._exit, [139]).start()
    return honest(query, documents)
"""
)


@pytest.fixture(autouse=True)
def tiny_cases(monkeypatch):
    for name, case in TINY.items():
        monkeypatch.setitem(CASES, name, case)


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Installs a module of this name where this process and others find it before any real one."""

    def write(content):
        (tmp_path / f"{peer.MODULE}.py").write_text(HEAD + content)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, peer.MODULE, raising=False)

    return write


@pytest.fixture
def started():
    """Starts the other process, and ends it with the test."""
    processes = []

    def start(case="tiny", threads=1):
        processes.append(peer.Peer(case, threads))
        return processes[-1]

    yield start
    for each in processes:
        each._process.kill()
        each._process.wait()
        for stream in (each._process.stdin, each._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def truth_of(data):
    queries, documents = data.queries.tokens, data.documents.tokens
    return np.array([[(query @ rows.T).max(axis=1).mean() for rows in documents] for query in queries])


@pytest.mark.parametrize("case", TINY)
def test_a_library_that_works_gives_its_scores(install, started, case):
    install(GOOD)
    assert peer.installed()
    other = started(case)
    assert not other.crashed
    for _ in range(2):
        wall, cpu, scores = other.score()
        assert wall > 0
        assert cpu > 0
        np.testing.assert_allclose(scores, truth_of(make(TINY[case])), rtol=0, atol=1e-5)
    other.close()
    assert not other.crashed
    assert other._process.returncode == 0


def test_it_gets_as_many_threads_as_the_others(install, started):
    install("names = 'RAYON_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'\n"
            "def maxsim_scores_variable(query, documents):\n"
            "    return np.full(len(documents), float(''.join(os.environ[name] for name in names)))\n")  # fmt: skip
    other = started(threads=3)
    assert (other.score()[2] * 6 == 333).all()  # a mean over 6 query tokens
    other.close()


def test_its_figures_stand_beside_the_others(install):
    install(GOOD)
    result = measure("tiny", 1, 2)
    assert result["crashed"] == []
    values = result["contenders"][PEER]
    assert set(values) == set(result["contenders"][OURS])
    assert values["max_error"] < 1e-5
    assert (values["top_10"], len(values["samples"])) == (1, 2)
    assert values["wall_ratio"] > 0


@pytest.mark.parametrize("scores", ["np.arange(len(documents), dtype=float)", "np.full(len(documents), np.inf)"])
def test_wrong_scores_of_the_library_are_not_timed_but_named(install, scores):
    install(f"def maxsim_scores_variable(query, documents):\n    return {scores}\n")
    result = measure("tiny", 1, 1)
    assert PEER not in result["contenders"]
    assert (result["wrong"], result["crashed"]) == ([PEER], [])


def test_without_the_library_nothing_is_started(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == peer.MODULE else find(name))
    monkeypatch.setattr(measuring, "Peer", lambda *_: pytest.fail("was started"))
    assert not peer.installed()
    result = measure("tiny", 1, 1)
    assert PEER not in result["contenders"]
    assert result["crashed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("content", CRASHES.values(), ids=CRASHES)
def test_a_library_that_crashes_is_listed_and_the_others_are_measured(install, content):
    install(content)
    result = measure("tiny", 1, 1)
    assert result["crashed"] == [PEER]
    assert PEER not in result["contenders"]
    assert len(result["contenders"][OURS]["samples"]) == 1


@pytest.mark.slow
def test_what_it_did_before_it_crashed_is_kept(install):
    install(LATER)
    result = measure("tiny", 1, 4)
    assert result["crashed"] == [PEER]
    assert len(result["contenders"][PEER]["samples"]) == 1  # the warm-up took the first
    assert len(result["contenders"][OURS]["samples"]) == 4


def test_it_is_not_asked_again_behind_a_crash(install, started):
    install(CRASHES["at the first call"])
    other = started()
    assert not other.crashed
    assert other.score() is None
    assert other.crashed
    assert other.score() is None
    other.close()


def test_a_crash_between_two_calls_is_one_too(install, started):
    install(AFTERWARDS)
    other = started()
    assert other.score() is not None
    other._process.wait(30)
    assert other.score() is None
    assert other.crashed
    other.close()


@pytest.mark.slow
def test_the_command_says_that_it_crashed(capsys, install):
    install(CRASHES["at the first call"])
    flags = ("--cases", "tiny", "--threads", "1", "--rounds", "1")
    finished = call(capsys, "bench", "maxsim", *flags)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.splitlines()[-1] == "  maxsim-cpu crashed"
    (result,) = call(capsys, "bench", "maxsim", *flags, "--json").json["results"]
    assert result["crashed"] == [PEER]
