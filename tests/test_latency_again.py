"""Intervals of ratios, and whether two runs agree: by hand, and on simulated runs whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.benchmarks.latency.again import moved, reference_of
from smartrt.benchmarks.latency.summary import interval
from smartrt.errors import InputError
from support import message_of

DRAWS = 1000
NOISE = 0.02


def result(ratios: dict[str, tuple[float, list[float] | None]], *, cold: Any = (), threads: int = 1) -> dict[str, Any]:
    """A result with one cell; by contender its ratio and interval, which the CPU ratio repeats."""
    rows = [
        {"contender": name, "ratio": ratio, "ratio_interval": limits, "cpu_ratio": 1.0, "cpu_ratio_interval": None}
        for name, (ratio, limits) in ratios.items()
    ]
    cells = [{"cell": "query 1x8", "rows": rows}]
    return {"grid": {"reference": "base"}, "groups": [{"threads": threads, "cold": list(cold), "cells": cells}]}


def simulated(rng: np.random.Generator, ratio: float, starts: int) -> dict[str, Any]:
    """A run whose starts differ by `NOISE`."""
    middle, limits = interval(ratio * np.exp(rng.normal(0, NOISE, starts)))
    return result({"a": (middle, None if limits is None else list(limits))})


@pytest.mark.parametrize(
    ("ratios", "middle", "t"),
    [
        ((1.0, 4.0), 2.0, 12.706),
        ((2.0, 2.0, 2.0), 2.0, 4.303),
        ((1.0, 2.0, 4.0), 2.0, 4.303),
        ((1.1, 1.2, 1.3, 1.25, 1.15), 1.19791, 2.776),
    ],
    ids=["two starts", "no difference", "three starts", "five starts"],
)
def test_an_interval_is_what_a_hand_computes(ratios: tuple[float, ...], middle: float, t: float) -> None:
    logs = [math.log(ratio) for ratio in ratios]
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1))
    half = t * deviation * math.sqrt(2 / len(logs))
    found, limits = interval(ratios)
    assert found == pytest.approx(middle, rel=1e-5)
    assert limits == pytest.approx((math.exp(mean - half), math.exp(mean + half)))


def test_one_start_has_a_ratio_and_no_interval() -> None:
    assert interval([1.7]) == (pytest.approx(1.7), None)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=40))
def test_the_ratio_lies_within_its_interval_and_turns_with_the_direction(ratios: list[float]) -> None:
    middle, limits = interval(ratios)
    other, turned = interval([1 / ratio for ratio in ratios])
    assert limits is not None
    assert turned is not None
    assert limits[0] <= middle * (1 + 1e-9)
    assert middle <= limits[1] * (1 + 1e-9)
    assert other == pytest.approx(1 / middle)
    assert math.log(turned[0]) == pytest.approx(-math.log(limits[1]), abs=1e-9)


def test_more_degrees_of_freedom_than_the_table_has_use_its_last() -> None:
    ratios = [1.0, 1.1] * 20
    middle, limits = interval(ratios)
    logs = np.log(ratios)
    assert limits is not None
    assert math.log(limits[1] / middle) == pytest.approx(2.131 * logs.std(ddof=1) * math.sqrt(2 / 40))


@pytest.mark.parametrize("starts", [3, 5, 10])
def test_another_run_lies_within_the_interval_as_often_as_is_said(starts: int) -> None:
    rng = np.random.default_rng(starts)
    inside = 0
    for _ in range(4 * DRAWS):
        _, limits = interval(np.exp(rng.normal(0, NOISE, starts)))
        again = float(np.exp(rng.normal(0, NOISE, starts).mean()))
        assert limits is not None
        inside += limits[0] <= again <= limits[1]
    assert inside / (4 * DRAWS) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("starts", [3, 5, 10])
def test_two_runs_of_the_same_agree(starts: int) -> None:
    rng = np.random.default_rng(starts)
    agree = sum(not moved(simulated(rng, 1.5, starts), simulated(rng, 1.5, starts))[1] for _ in range(DRAWS))
    assert agree > 0.98 * DRAWS


@pytest.mark.parametrize(("starts", "found"), [(3, 0.9), (5, 0.999), (10, 0.999)])
def test_a_contender_that_became_slower_by_a_third_is_found(starts: int, found: float) -> None:
    rng = np.random.default_rng(starts)
    seen = sum(bool(moved(simulated(rng, 1.5, starts), simulated(rng, 1.5 / 1.3, starts))[1]) for _ in range(DRAWS))
    assert seen > found * DRAWS


def test_two_starts_are_too_few_to_find_it() -> None:
    """Which is why the default is five: with one degree of freedom an interval is as wide as anything."""
    rng = np.random.default_rng(2)
    seen = sum(bool(moved(simulated(rng, 1.5, 2), simulated(rng, 1.5 / 1.3, 2))[1]) for _ in range(DRAWS))
    assert seen < 0.9 * DRAWS


def test_what_moved_is_said_with_place_and_both_ratios() -> None:
    before = result({"a": (2.0, [1.9, 2.1]), "b": (1.0, [0.9, 1.1])}, threads=4)
    after = result({"a": (1.5, [1.4, 1.6]), "b": (1.1, [1.0, 1.2])}, threads=4)
    compared, found = moved(before, after)
    assert compared == 2
    (only,) = found
    assert only.where == "a, query 1x8, 4 threads, ratio"
    assert (only.before, only.after) == (2.0, 1.5)
    assert moved(after, before)[1][0].after == 2.0


@pytest.mark.parametrize("limits", [[1.0, 2.0], [1.5, 1.5]], ids=["touching", "inside"])
def test_intervals_that_touch_agree(limits: list[float]) -> None:
    assert moved(result({"a": (1.5, limits)}), result({"a": (2.5, [1.5, 3.0])}))[1] == []


def test_cold_starts_and_cpu_ratios_are_compared_too() -> None:
    def cold(low: float, high: float) -> list[dict[str, Any]]:
        return [{"contender": "a", "cpu_ratio": low, "cpu_ratio_interval": [low, high]}]

    compared, found = moved(result({}, cold=cold(1.0, 1.1)), result({}, cold=cold(2.0, 2.1)))
    assert (compared, [each.where for each in found]) == (1, ["a, cold start, 1 threads, cpu ratio"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (result({"a": (1.0, [0.9, 1.1])}), result({"b": (1.0, [0.9, 1.1])})),
        (result({"a": (1.0, [0.9, 1.1])}), result({"a": (1.0, None)})),
        (result({"a": (1.0, None)}), result({"a": (1.0, [0.9, 1.1])})),
        (result({"a": (1.0, [0.9, 1.1])}, threads=2), result({"a": (1.0, [0.9, 1.1])}, threads=4)),
        ({"grid": {"reference": "base"}, "groups": []}, result({"a": (1.0, [0.9, 1.1])})),
    ],
    ids=["other contenders", "one start now", "one start before", "other threads", "nothing"],
)
def test_results_without_a_ratio_in_common_are_refused(before: dict[str, Any], after: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        moved(before, after)
    message_of(caught.value, "nothing to compare")


def test_the_reference_against_itself_is_no_comparison() -> None:
    before, after = (result({"base": (1.0, [1.0, 1.0]), name: (1.5, [1.4, 1.6])}) for name in ("old", "new"))
    with pytest.raises(InputError) as caught:
        moved(before, after)
    message_of(caught.value, "nothing to compare")


def test_ratios_against_another_reference_are_not_compared() -> None:
    before, after = (result({"a": (ratio, [ratio, ratio])}) for ratio in (1.5, 12.0))
    after["grid"]["reference"] = "PyTorch fp32"
    with pytest.raises(InputError) as caught:
        moved(before, after)
    message_of(caught.value, "reference", "'base'", "'PyTorch fp32'", "do not compare")


@pytest.mark.parametrize(
    "data",
    [None, [], 5, {}, {"groups": 5}, {"groups": [{}]}, {"groups": [], "grid": {}}, {"groups": [], "grid": None},
     {"grid": {"reference": "base"}, "groups": [{"threads": 1, "cold": [{}], "cells": [{"cell": "a"}]}]}],
    ids=repr,
)  # fmt: skip
def test_what_is_no_result_is_said_to_be_none(data: Any) -> None:
    with pytest.raises(InputError) as caught:
        reference_of(data)
    message_of(caught.value, "no result of smartrt bench latency --json")


@pytest.mark.parametrize(
    ("place", "key", "name"),
    [("corpus", "documents", "corpus"), ("machine", "cpu", "processor"), ("machine", "cores", "cores")],
    ids=["corpus", "processor", "cores"],
)
def test_results_that_were_measured_otherwise_are_not_compared(place: str, key: str, name: str) -> None:
    before, after = (result({"a": (1.5, [1.4, 1.6])}) for _ in range(2))
    before[place], after[place] = {key: 1}, {key: 2}
    with pytest.raises(InputError) as caught:
        moved(before, after)
    message_of(caught.value, name, "do not compare")
