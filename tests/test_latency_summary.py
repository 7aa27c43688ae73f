"""Raw samples to rows: percentiles, ratios, energy, memory, failures and noise, each against a hand's computation."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from latency_runs import DOCUMENT, QUERY, fake, small_grid
from smartrt.benchmarks.latency.measure import problems
from smartrt.benchmarks.latency.summary import summarise

GRID = small_grid(fake("base"), fake("other"), starts=2)
RIGHT = {
    "problem": None, "pooled_cosine": 1.0, "pooled_cosine_min": 1.0, "token_cosine": 1.0, "token_cosine_min": 1.0,
    "same_best": 1.0, "score_error": 0.0,
}  # fmt: skip


def contender(wall: float, calls: int = 4, **changes: Any) -> dict[str, Any]:
    """What a block says of a contender each call of which takes `wall` seconds, half of it on the CPU."""
    call = {"whole": [wall, wall / 2], "encoder": [wall / 4, wall / 8]}
    return {
        "failed": None,
        "cold": {"wall_s": 100 * wall, "cpu_s": 50 * wall, "peak_rss_mb": 80.0},
        "memory": {"peak_rss_mb": 90.0, "device_mb": None},
        "cells": {
            label: {"calls": [copy.deepcopy(call) for _ in range(calls)], "made": calls + 1, "joules": {}}
            for label in (QUERY, DOCUMENT)
        },
        "outputs": {QUERY: RIGHT, DOCUMENT: RIGHT},
    } | changes


def block(start: int = 0, *, base: Any = None, other: Any = None, probes: Any = None, threads: int = 1) -> Any:
    """A block of both contenders: the second is twice as fast."""
    return {
        "kept": start > 0, "threads": threads, "start": start, "load": [0.0, 0.0, 0.0],
        "probes": probes or [{"read_gb_per_s": 10.0}],
        "contenders": {"base": base or contender(0.008), "other": other or contender(0.004)},
    }  # fmt: skip


def row(blocks: list[Any], name: str = "other", label: str = QUERY) -> dict[str, Any]:
    (group,) = summarise(GRID, blocks)
    cell = next(cell for cell in group["cells"] if cell["cell"] == label)
    return next(each for each in cell["rows"] if each["contender"] == name)


def timed(walls: Any) -> Any:
    """A contender with calls of these lengths."""
    made = contender(0.001)
    made["cells"][QUERY]["calls"] = [{"whole": [wall, wall]} for wall in walls]
    return made


def test_a_ratio_is_the_geometric_mean_of_the_ratios_of_medians_of_the_starts() -> None:
    found = row([block(0), block(1, base=contender(0.016), other=contender(0.002))])
    assert found["ratio"] == pytest.approx(math.sqrt(2 * 8))
    half = 12.706 * np.log([2, 8]).std(ddof=1)  # times sqrt(2 / 2)
    assert found["ratio_interval"] == pytest.approx([4 / math.exp(half), 4 * math.exp(half)], abs=1e-4)
    assert found["cpu_ratio"] == found["ratio"]


def test_a_slow_call_among_many_moves_no_ratio_and_is_seen_in_the_percentiles() -> None:
    found = row([block(0, other=timed([0.004] * 99 + [4.0]))])
    assert found["ratio"] == pytest.approx(2.0)
    assert found["p50_ms"] == pytest.approx(4.0)
    assert found["p99_ms"] > 5 * found["p50_ms"]
    assert found["items_per_s"] == pytest.approx(100 / (99 * 0.004 + 4), rel=1e-3)


def test_the_reference_has_a_ratio_of_one() -> None:
    found = row([block(0), block(1)], "base")
    assert (found["ratio"], found["ratio_interval"]) == (1.0, [1.0, 1.0])


def test_percentiles_are_those_of_all_calls_of_all_starts() -> None:
    one, other = np.linspace(0.001, 0.002, 60), np.linspace(0.002, 0.009, 60)
    found = row([block(0, other=timed(one)), block(1, other=timed(other))])
    walls = np.concatenate([one, other]) * 1e3
    assert found["calls"] == 120
    for name, at in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        assert found[f"{name}_ms"] == pytest.approx(np.percentile(walls, at), abs=1e-4)
    np.testing.assert_allclose(found["samples_ms"], walls, rtol=1e-3)


@pytest.mark.parametrize(
    ("calls", "known"),
    [(1, ["p50"]), (9, ["p50"]), (10, ["p50", "p90"]), (19, ["p50", "p90"]), (20, ["p50", "p90", "p95"]),
     (99, ["p50", "p90", "p95"]), (100, ["p50", "p90", "p95", "p99"])],
)  # fmt: skip
def test_a_percentile_needs_enough_calls(calls: int, known: list[str]) -> None:
    found = row([block(0, other=timed([0.001] * calls))])
    assert [name for name in ("p50", "p90", "p95", "p99") if found[f"{name}_ms"] is not None] == known


def test_stages_have_medians_and_a_stage_that_some_calls_lack_counts_as_nothing_there() -> None:
    made = contender(0.004, calls=3)
    made["cells"][QUERY]["calls"][0]["score"] = [0.001, 0.002]
    stages = row([block(0, other=made)])["stages"]
    assert list(stages) == ["encoder", "score"]
    assert stages["encoder"] == {"p50_ms": 1.0, "cpu_ms": 0.5}
    assert stages["score"] == {"p50_ms": 0.0, "cpu_ms": 0.0}


def spent(joules: dict[str, float], made: int = 5) -> Any:
    each = contender(0.004)
    each["cells"][QUERY] |= {"joules": joules, "made": made}
    return each


def test_energy_is_joules_of_all_calls_that_were_made_by_their_number() -> None:
    blocks = [block(0, other=spent({"CPU": 10.0, "GPU": 1.0})), block(1, other=spent({"CPU": 20.0, "GPU": 5.0}, 10))]
    assert row(blocks)["joules"] == {"CPU": 2.0, "GPU": 0.4}


def test_without_a_sensor_energy_is_not_measured_and_never_zero() -> None:
    assert row([block(0)])["joules"] == "not measured"


def test_a_domain_that_the_first_start_lacked_is_not_reported() -> None:
    assert row([block(0, other=spent({"CPU": 10.0})), block(1, other=spent({"CPU": 10.0, "GPU": 9.0}))])["joules"] == {
        "CPU": 2.0
    }


def test_a_domain_that_was_lost_between_starts_is_not_reported_as_less() -> None:
    found = row([block(0, other=spent({"CPU": 10.0, "GPU": 50.0})), block(1, other=spent({"CPU": 10.0}))])["joules"]
    assert found == {"CPU": 2.0}


@pytest.mark.parametrize(("value", "noisy"), [(11.6, True), (11.4, False), (8.4, True), (8.6, False)])
def test_a_group_is_noisy_if_a_probe_moved_by_more_than_15_percent(value: float, noisy: bool) -> None:
    steady = {"gflop_per_s": 100.0}
    probes = [steady | {"read_gb_per_s": each} for each in (10.0, 10.0, value)]
    (group,) = summarise(GRID, [block(0, probes=probes[:1]), block(1, probes=probes[1:])])
    assert group["noisy"] is noisy
    assert group["probes"]["gflop_per_s"] == {"median": 100.0, "moved": 0.0}
    assert group["probes"]["read_gb_per_s"]["moved"] == pytest.approx(abs(value / 10 - 1))


def test_noise_of_one_thread_count_is_not_that_of_another() -> None:
    grid = small_grid(fake("base"), fake("other"), threads=(1, 2))
    moving = [{"read_gb_per_s": 10.0}, {"read_gb_per_s": 20.0}, {"read_gb_per_s": 10.0}]
    groups = summarise(grid, [block(0, probes=moving), block(0, threads=2)])
    assert [(group["threads"], group["noisy"]) for group in groups] == [(1, True), (2, False)]


def failed(reason: str = "exit code 1: no memory") -> Any:
    return contender(0.004, failed=reason, cold=None, memory=None, cells={}, outputs={})


def test_a_contender_that_failed_once_has_no_numbers_at_all() -> None:
    blocks = [block(0), block(1, other=failed())]
    found = row(blocks)
    assert found == {"contender": "other", "status": "failed", "message": "exit code 1: no memory", "outputs": None}
    assert row(blocks, "base")["ratio"] == 1.0
    (group,) = summarise(GRID, blocks)
    assert group["cold"][1] == {"contender": "other", "failed": "exit code 1: no memory"}
    assert problems({"groups": [group]}) == ["other, 1 threads: failed: exit code 1: no memory"]


def test_where_the_reference_failed_there_is_no_ratio_and_it_is_said() -> None:
    other = contender(0.004, outputs={})
    blocks = [block(0, base=failed(), other=other)]
    found = row(blocks)
    assert (found["status"], found["message"]) == ("ok", "outputs were not compared: base failed")
    assert found["p50_ms"] == 4.0
    assert not [key for key in found if "ratio" in key]
    (group,) = summarise(GRID, blocks)
    assert not [key for key in group["cold"][1] if "ratio" in key]
    assert row(blocks, "base")["status"] == "failed"


def test_wrong_outputs_have_no_times() -> None:
    wrong = {QUERY: RIGHT | {"pooled_cosine": 0.4}, DOCUMENT: RIGHT}
    blocks = [block(0, other=contender(0.004, outputs=wrong))]
    found = row(blocks)
    assert found["status"] == "wrong"
    assert "0.4000" in found["message"]
    assert set(found) == {"contender", "status", "message", "outputs"}
    assert row(blocks, label=DOCUMENT)["status"] == "ok"
    assert problems({"groups": summarise(GRID, blocks)}) == [f"other, {QUERY}, 1 threads: {found['message']}"]


def test_cold_starts_are_medians_and_memory_is_the_largest_of_all_starts() -> None:
    starts = [contender(0.004), contender(0.006), contender(0.1)]
    for start, peak in zip(starts, (90.0, 95.0, 70.0), strict=True):
        start["memory"] = {"peak_rss_mb": peak, "device_mb": peak / 10}
    (group,) = summarise(GRID, [block(number, other=start) for number, start in enumerate(starts)])
    found = group["cold"][1]
    assert (found["wall_s"], found["cpu_s"], found["peak_rss_mb"]) == (0.6, 0.3, 80.0)
    assert (found["end_peak_rss_mb"], found["end_device_mb"]) == (95.0, 9.5)
    assert found["ratio"] == pytest.approx((0.8**3 / (0.4 * 0.6 * 10)) ** (1 / 3), rel=1e-3)


def test_memory_on_a_device_that_one_start_could_not_read_is_not_known() -> None:
    starts = [contender(0.004), contender(0.004)]
    starts[0]["memory"]["device_mb"] = 500.0
    (group,) = summarise(GRID, [block(number, other=start) for number, start in enumerate(starts)])
    assert group["cold"][1]["end_device_mb"] is None


def test_how_many_starts_are_from_an_earlier_run_is_said() -> None:
    (group,) = summarise(GRID, [block(number) for number in range(3)])
    assert (group["starts"], group["kept"]) == (3, 2)
