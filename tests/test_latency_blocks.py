"""A benchmark that can fail: slow, wrong, failing and killed contenders show as such, in real processes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from latency_runs import (
    DOCUMENT,
    QUERY,
    TINY,
    WHILE_STARTING,
    WHILE_VISITED,
    Steps,
    cold_of,
    fake,
    rows_of,
    run,
    small_grid,
    small_probes,
    workers,
)  # fmt: skip
from smartrt.benchmarks.latency.blocks import Block
from smartrt.benchmarks.latency.grid import Contender, Grid
from smartrt.benchmarks.latency.measure import measure, problems
from smartrt.benchmarks.latency.process import Process
from smartrt.benchmarks.sensors import Energy
from smartrt.errors import EngineError

pytestmark = pytest.mark.usefixtures("library_read_once")

DELAY = 0.05


@pytest.fixture(scope="module")
def mixed(library_read_once: None) -> dict[str, Any]:  # noqa: ARG001  (it reads the library)
    """Contenders of every kind."""
    return run(
        small_grid(
            fake("plain"), fake("twin"), fake("slow", delay=DELAY), fake("shifted", shift=1),
            fake("crashes", runs=WHILE_VISITED), fake("never starts", runs=WHILE_STARTING), Contender("real", TINY),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def without_reference(library_read_once: None) -> dict[str, Any]:  # noqa: ARG001
    return run(small_grid(fake("plain"), fake("crashes", runs=WHILE_VISITED), reference="crashes"))


@pytest.mark.parametrize("label", [QUERY, DOCUMENT])
def test_a_slowed_contender_is_slower_by_as_much_on_the_clock_and_not_on_the_cpu(mixed: Any, label: str) -> None:
    rows = rows_of(mixed, label)
    slow, plain = rows["slow"], rows["plain"]
    assert slow["status"] == plain["status"] == "ok"
    assert 1e3 * DELAY <= slow["p50_ms"] < 4e3 * DELAY
    assert plain["p50_ms"] < 0.5e3 * DELAY
    assert slow["ratio"] < 0.5
    assert slow["ratio"] == pytest.approx(plain["p50_ms"] / slow["p50_ms"], rel=0.9)
    assert slow["cpu_ms"] < 0.5e3 * DELAY
    assert slow["items_per_s"] < 0.5 * plain["items_per_s"]
    assert slow["stages"]["encoder"]["p50_ms"] >= 1e3 * DELAY
    assert slow["stages"]["preprocess"]["p50_ms"] < 0.5e3 * DELAY
    assert mixed["groups"][0]["cold"][2]["wall_s"] >= DELAY


def test_a_contender_like_the_reference_has_a_ratio_near_one(mixed: Any) -> None:
    row = rows_of(mixed, QUERY)["twin"]
    assert 0.2 < row["ratio"] < 5


def test_times_are_of_calls_that_were_made_and_stages_are_within_them(mixed: Any) -> None:
    for label in (QUERY, DOCUMENT):
        for row in rows_of(mixed, label).values():
            if row["status"] != "ok":
                continue
            assert row["calls"] == len(row["samples_ms"]) >= 1
            assert min(row["samples_ms"]) * 0.999 <= row["p50_ms"] <= max(row["samples_ms"]) * 1.001
            assert sum(stage["p50_ms"] for stage in row["stages"].values()) <= 1.2 * max(row["samples_ms"])


def test_queries_are_scored_and_documents_are_not(mixed: Any) -> None:
    assert list(rows_of(mixed, QUERY)["plain"]["stages"]) == ["preprocess", "encoder", "score"]
    assert list(rows_of(mixed, DOCUMENT)["plain"]["stages"]) == ["preprocess", "encoder"]


@pytest.mark.parametrize("label", [QUERY, DOCUMENT])
@pytest.mark.parametrize("name", ["shifted", "real"])
def test_another_model_is_wrong_and_has_no_times(mixed: Any, label: str, name: str) -> None:
    row = rows_of(mixed, label)[name]
    assert row["status"] == "wrong"
    assert row["message"].startswith("wrong outputs: ")
    assert "pooled cosine" in row["message"]
    assert set(row) == {"contender", "status", "message", "outputs"}


@pytest.mark.parametrize(("name", "runs"), [("crashes", WHILE_VISITED), ("never starts", WHILE_STARTING)])
def test_a_contender_that_crashes_failed_with_the_engines_words_and_the_others_are_there(
    mixed: Any, name: str, runs: int
) -> None:
    words = f"exit code 1: this engine fails after {runs} runs, as it was told to"
    for label in (QUERY, DOCUMENT):
        rows = rows_of(mixed, label)
        assert rows[name] == {"contender": name, "status": "failed", "message": words, "outputs": None}
        assert rows["twin"]["p50_ms"] > 0
    assert cold_of(mixed)[name] == {"contender": name, "failed": words}
    assert cold_of(mixed)["twin"]["wall_s"] > 0


def test_every_problem_is_said_and_nothing_else(mixed: Any) -> None:
    found = problems(mixed)
    assert len(found) == 2 + 2 * 2
    for name in ("crashes", "never starts", "shifted", "real"):
        assert any(each.startswith(name) for each in found)


def test_without_a_reference_times_stay_and_it_is_said_that_nothing_was_compared(without_reference: Any) -> None:
    row = rows_of(without_reference, QUERY)["plain"]
    assert row["p50_ms"] > 0
    assert "ratio" not in row
    assert row["outputs"] is None or row["outputs"]["problem"] is None
    assert "ratio" not in cold_of(without_reference)["plain"]
    assert rows_of(without_reference, QUERY)["crashes"]["status"] == "failed"


def test_a_reference_that_never_started_leaves_outputs_that_were_not_compared() -> None:
    result = run(small_grid(fake("plain"), fake("never", runs=WHILE_STARTING), reference="never"))
    row = rows_of(result, QUERY)["plain"]
    assert (row["status"], row["message"]) == ("ok", "outputs were not compared: never failed")


@pytest.mark.parametrize("together", [True, False], ids=["together", "one at a time"])
def test_a_process_that_is_killed_from_outside_fails_alone(together: bool) -> None:
    killed: list[int] = []

    def kill(done: int) -> None:
        if done >= 1 and not killed and "victim" in (alive := workers()):
            killed.append(alive["victim"].pid)
            alive["victim"].kill()

    result = run(small_grid(fake("plain"), fake("victim"), together=together), on_step=kill)
    assert len(killed) == 1
    assert rows_of(result, QUERY)["victim"]["message"].startswith("exit code -9")
    assert rows_of(result, QUERY)["plain"]["status"] == "ok"
    assert workers() == {}


def test_outputs_are_compared_with_those_of_their_own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Process.start.__func__  # type: ignore[attr-defined]

    def fails_on_two_threads(cls: Any, contender: Contender, grid: Grid, threads: int, *rest: Any) -> Process:
        if contender.name == "base" and threads == 2:
            raise EngineError("no memory")
        return start(cls, contender, grid, threads, *rest)

    monkeypatch.setattr(Process, "start", classmethod(fails_on_two_threads))
    result = run(small_grid(fake("base"), fake("other"), threads=(1, 2)))
    assert rows_of(result, QUERY)["other"]["message"] is None
    assert rows_of(result, QUERY, group=1)["other"]["message"] == "outputs were not compared: base failed"


def test_a_reference_that_is_killed_while_it_writes_its_outputs_only_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Process.ask

    def killed_while_writing(self: Process, name: str, *given: Any) -> Any:
        if (name, self.name) == ("outputs", "base"):
            Path(given[1]).touch()
            raise EngineError("exit code -9")
        return ask(self, name, *given)

    monkeypatch.setattr(Process, "ask", killed_while_writing)
    result = run(small_grid(fake("base"), fake("other")))
    assert rows_of(result, QUERY)["base"]["status"] == "failed"
    assert rows_of(result, QUERY)["other"]["message"] == "outputs were not compared: base failed"


def test_all_processes_of_a_start_live_at_once_or_one_by_one() -> None:
    def most_at_once(together: bool) -> int:
        alive: list[int] = []
        run(small_grid(fake("a"), fake("b"), together=together), on_step=lambda _: alive.append(len(workers())))
        return max(alive)

    assert (most_at_once(True), most_at_once(False)) == (2, 1)


def interrupted(grid: Grid, at: int) -> None:
    def interrupt(done: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with small_probes(), pytest.raises(KeyboardInterrupt):
        measure(grid, Steps(interrupt))


@pytest.mark.parametrize("at", [1, 2, 3, 6], ids=["one started", "both started", "a visit", "the end"])
def test_an_interruption_leaves_no_process_and_no_thread(at: int) -> None:
    before = threading.active_count()
    interrupted(small_grid(fake("a"), fake("b")), at)
    assert workers() == {}
    assert threading.active_count() == before


def test_an_interruption_while_a_process_is_made_ready_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start, ask = Process.start.__func__, Process.ask  # type: ignore[attr-defined]

    def interrupt(self: Process, name: str, *given: Any) -> Any:
        if name == "load":
            raise KeyboardInterrupt
        return ask(self, name, *given)

    monkeypatch.setattr(Process, "ask", interrupt)
    monkeypatch.setattr(
        Process, "start", classmethod(lambda cls, *given: started.append(start(cls, *given)) or started[-1])
    )
    try:
        with small_probes(), pytest.raises(KeyboardInterrupt):
            measure(small_grid(fake("a")), Steps())
        assert workers() == {}
    finally:
        for process in started:
            process.stop()


def test_each_start_visits_in_another_order_and_the_same_start_in_the_same(tmp_path: Path) -> None:
    grid = small_grid(*map(fake, "abcdefgh"))

    def order(threads: int, start: int) -> list[str]:
        with small_probes():
            block = Block(grid, threads, start, tmp_path, Energy([], {}))
        names = [each.name for each in grid.contenders]
        block._random.shuffle(names)
        return names

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(threads, start)) for threads in (1, 2) for start in range(4)}) == 8
