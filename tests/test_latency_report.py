"""What a person reads: a table that shows who failed, who is wrong, what was noisy and what was not compared."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from latency_runs import DOCUMENT, QUERY, WHILE_STARTING, WHILE_VISITED, fake, rows_of, run, small_grid
from smartrt.benchmarks.latency.report import lines

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture(scope="module")
def mixed(library_read_once: None) -> dict[str, Any]:  # noqa: ARG001  (it reads the library)
    contenders = fake("plain"), fake("slow", delay=0.03), fake("shifted", shift=1), fake("crashes", runs=WHILE_VISITED)
    return run(small_grid(*contenders, starts=2))


@pytest.fixture(scope="module")
def without_reference(library_read_once: None) -> dict[str, Any]:  # noqa: ARG001
    return run(small_grid(fake("plain"), fake("never", runs=WHILE_STARTING), reference="never"))


def text_of(result: dict[str, Any]) -> str:
    return "\n".join(lines(result))


def lines_of(result: dict[str, Any], name: str) -> list[str]:
    """The lines that begin with a contender's name."""
    return [line for line in lines(result) if line.split()[:1] == [name]]


def test_the_head_says_machine_reference_and_corpus(mixed: Any) -> None:
    first = text_of(mixed).splitlines()[0]
    assert "ratios are plain / contender" in first
    assert "5 documents" in first
    assert f"{mixed['machine']['cores']} cores" in first


def test_each_cell_has_the_figures_of_its_rows(mixed: Any) -> None:
    for label in (QUERY, DOCUMENT):
        assert f"  {label} " in text_of(mixed)
    for name in ("plain", "slow"):
        # A line for the cold start; then for each cell one of calls and one of stages.
        _, query, stages, document, _ = lines_of(mixed, name)
        for line, label in ((query, QUERY), (document, DOCUMENT)):
            row = rows_of(mixed, label)[name]
            assert f"{row['p50_ms']:.2f}" in line
            assert f"{row['ratio']:.2f}x" in line
            low, high = row["ratio_interval"]
            assert f"{low:.2f}-{high:.2f}" in line
        for stage in ("preprocess", "encoder", "score"):
            assert f"{rows_of(mixed, QUERY)[name]['stages'][stage]['p50_ms']:.2f}" in stages


def test_a_failed_contender_is_said_to_have_failed_everywhere_and_has_no_figure(mixed: Any) -> None:
    found = lines_of(mixed, "crashes")
    assert len(found) == 3
    for line in found:
        assert line.endswith("FAILED: exit code 1: this engine fails after 8 runs, as it was told to")


def test_a_wrong_contender_is_said_to_be_wrong_and_has_no_figure_but_its_cold_start(mixed: Any) -> None:
    cold, *found = lines_of(mixed, "shifted")
    assert "WRONG" not in cold
    assert len(found) == 2
    for line in found:
        assert "WRONG: wrong outputs: " in line
        assert "pooled cosine" in line
        assert "x  " not in line


def test_noise_is_said_beside_the_group(mixed: Any) -> None:
    for noisy in (True, False):
        result = copy.deepcopy(mixed)
        result["groups"][0]["noisy"] = noisy
        (line,) = [line for line in lines(result) if line.startswith("threads 1")]
        assert ("NOISY" in line) is noisy
        assert "read_gb_per_s" in line


def test_percentiles_of_too_few_calls_are_a_dash(mixed: Any) -> None:
    result = copy.deepcopy(mixed)
    row = rows_of(result, QUERY)["slow"]
    row |= {"p50_ms": 31.0, "p90_ms": None, "p95_ms": None, "p99_ms": None}
    assert lines_of(result, "slow")[1].split()[1:5] == ["31.00", "-", "-", "-"]


def test_without_a_reference_there_are_times_and_no_ratios(without_reference: Any) -> None:
    for line in lines_of(without_reference, "plain"):
        assert "x" not in line
    assert "FAILED: exit code 1" in lines_of(without_reference, "never")[1]
    assert f"{rows_of(without_reference, QUERY)['plain']['p50_ms']:.2f}" in text_of(without_reference)


def test_outputs_that_were_not_compared_are_said_to_be_so(without_reference: Any) -> None:
    assert "not compared" in text_of(without_reference)


def test_energy_is_said_to_be_measured_or_not(mixed: Any) -> None:
    result = copy.deepcopy(mixed)
    result["sensors"]["domains"] = []
    assert text_of(result).splitlines()[-1] == "energy: not measured"
    result["sensors"]["domains"] = ["CPU package 0 (RAPL)"]
    assert "energy: not measured" not in text_of(result)


def test_joules_are_in_the_table(mixed: Any) -> None:
    result = copy.deepcopy(mixed)
    result["sensors"] |= {"domains": ["CPU"], "total": ["CPU"]}
    rows_of(result, QUERY)["plain"]["joules"] = {"CPU": 98.7654}
    head, line = (line.split() for line in text_of(result).splitlines() if "joules a call" in line or "98.77" in line)
    assert head == ["joules", "a", "call", "CPU"]
    assert line == ["plain", "98.77"]


def test_no_head_of_stages_stands_over_nothing(mixed: Any) -> None:
    result = copy.deepcopy(mixed)
    for label in (QUERY, DOCUMENT):
        for row in rows_of(result, label).values():
            row |= {"status": "failed", "message": "why"}
    assert "stages" not in text_of(result)
