"""Latency and accuracy of each variant, joined, and the Pareto fronts against what every pair of points says."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_runs import TINY
from smartrt.benchmarks.study.config import Config, Entry
from smartrt.benchmarks.study.join import COSTS, join, pareto

NUMBER = st.none() | st.integers(0, 4).map(float) | st.floats(0, 10)
ENTRIES = (
    Entry("torch", pytorch="fp32"), Entry("full", bundle="b"), Entry("small", bundle="b", kept="int8"),
    Entry("plain", bundle="b", system="pooled"),
)  # fmt: skip
CONFIG = Config(ENTRIES, source="minilm", reference="torch", title="T")
NAMES = [entry.name for entry in ENTRIES]
SYSTEMS = {
    "torch": "PyTorch fp32 hybrid", "full": "tiny hybrid, int16", "small": "tiny hybrid, int8", "plain": "tiny pooled",
}  # fmt: skip
P50 = {"torch": 8.0, "full": 4.0, "small": 3.0, "plain": 1.0}
NDCG = {"torch": (0.8, 0.6), "full": (0.8, 0.6), "small": (0.7, 0.6), "plain": (0.5, 0.4)}
BYTES = {"torch": 4000.0, "full": 2000.0, "small": 1000.4, "plain": 200.0}


def latency() -> dict[str, Any]:
    """As `latency.measure` says it."""
    rows = [
        {
            "contender": name, "status": "ok", "message": None, "p50_ms": P50[name], "ratio": 8 / P50[name],
            "ratio_interval": [7 / P50[name], 9 / P50[name]], "joules": {"CPU": P50[name] / 10, "GPU": 0.1},
        }
        for name in NAMES
    ]  # fmt: skip
    cold = [{"contender": name, "failed": None, "wall_s": 0.3, "peak_rss_mb": 80.0} for name in NAMES]
    cells = [
        {"cell": "document 2x6", "side": "document", "rows": []},
        {"cell": "query 1x8", "side": "query", "rows": rows},
    ]
    groups = [
        {"threads": 2, "noisy": True, "cold": cold, "cells": cells},
        {"threads": 1, "noisy": False, "cold": [], "cells": []},
    ]  # fmt: skip
    return {
        "machine": {"command": "smartrt bench study"}, "sensors": {"total": ["CPU", "GPU"]},
        "grid": {"reference": "torch"}, "groups": groups,
    }  # fmt: skip


def accuracy() -> dict[str, Any]:
    """As `accuracy.measure` says it."""
    about = {"difference": -0.1, "interval": [-0.2, 0.0], "p_holm": 0.04, "significant": True}
    results = [
        {
            "set": name,
            "systems": [
                {"name": SYSTEMS[each], "ndcg@10": NDCG[each][at], "bytes_per_document": BYTES[each]} | about
                for each in NAMES
            ],
        }
        for at, name in enumerate(("one", "two"))
    ]
    return {"baseline": "PyTorch fp32 hybrid", "results": results}


def joined(timed: dict[str, Any] | None = None, found: dict[str, Any] | None = None) -> dict[str, Any]:
    bundles: dict[str, Path] = dict.fromkeys(NAMES, TINY)
    return join(CONFIG, dict.fromkeys(NAMES, "tiny"), bundles, timed or latency(), found or accuracy())


def point(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in result["points"] if each["name"] == name]
    return found


def rows(timed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["contender"]: row for row in timed["groups"][0]["cells"][1]["rows"]}


def brute_force(points: list[tuple[float | None, float | None]]) -> list[bool]:
    """On the front is who no other point dominates: as cheap and as good, and one of both strictly."""
    on = []
    for cost, quality in points:
        known = cost is not None and quality is not None
        if known:
            for c, q in points:
                if c is None or q is None:
                    continue
                if (c < cost and q >= quality) or (c <= cost and q > quality):
                    known = False
        on.append(known)
    return on


@given(st.lists(st.tuples(NUMBER, NUMBER), max_size=12))
def test_a_front_is_what_every_pair_of_points_says(points: list[tuple[float | None, float | None]]) -> None:
    assert pareto(points) == brute_force(points)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=12))
def test_the_cheapest_of_the_best_and_the_best_of_the_cheapest_are_on_it(points: list[tuple[float, float]]) -> None:
    on = pareto(points)
    assert on[points.index(min(points, key=lambda each: (each[0], -each[1])))]
    assert on[points.index(min(points, key=lambda each: (-each[1], each[0])))]
    front = sorted(each for each, is_on in zip(points, on, strict=True) if is_on)
    for (cost, quality), (more, better) in itertools.pairwise(front):
        assert (more > cost and better > quality) or (more, better) == (cost, quality)


@pytest.mark.parametrize(
    ("points", "on"),
    [
        ([], []),
        ([(None, None)], [False]),
        ([(None, 9.0), (1.0, None), (5.0, 1.0)], [False, False, True]),
        ([(1.0, 1.0), (1.0, 1.0)], [True, True]),
        ([(1.0, 1.0), (1.0, 2.0)], [False, True]),
        ([(1.0, 1.0), (2.0, 1.0)], [True, False]),
        ([(1.0, 1.0), (2.0, 2.0)], [True, True]),
    ],
    ids=["none", "unknown", "half known", "equal", "as cheap", "as good", "both"],
)
def test_ties_and_unknown_figures(points: list[Any], on: list[bool]) -> None:
    assert pareto(points) == on


def test_a_point_has_the_figures_of_its_row_and_of_its_system() -> None:
    result = joined()
    small = point(result, "small")
    assert small["quality"] == pytest.approx(0.65)
    assert (small["system"], small["status"], small["noisy"]) == ("tiny hybrid, int8", "ok", True)
    assert (small["p50_ms"], small["ratio"], small["ratio_interval"]) == (3.0, 8 / 3, [7 / 3, 3.0])
    assert (small["bytes_per_document"], small["cold_s"], small["peak_rss_mb"]) == (1000, 0.3, 80.0)
    assert small["sets"]["one"] == {
        "ndcg": 0.7, "difference": -0.1, "interval": [-0.2, 0.0], "p_holm": 0.04, "significant": True,
    }  # fmt: skip
    assert small["joules"] == pytest.approx(0.4)
    assert small["bundle_bytes"] == sum(path.stat().st_size for path in TINY.iterdir())
    assert point(result, "torch")["bundle_bytes"] is None


def test_the_picture_is_of_the_first_thread_count_and_the_first_query() -> None:
    result = joined()
    assert result["at"] == {"threads": 2, "cell": "query 1x8"}
    assert result["quality"] == "mean nDCG@10 over one, two"
    assert (result["reference"], result["baseline"], result["title"]) == ("torch", "PyTorch fp32 hybrid", "T")
    assert result["latency"] == latency()
    assert result["accuracy"] == accuracy()


def test_each_cost_has_its_front() -> None:
    result = joined()
    fronts = {name: [each["name"] for each in result["points"] if name in each["fronts"]] for name in COSTS}
    assert fronts == {name: ["full", "small", "plain"] for name in ("time", "bytes", "energy")}


@pytest.mark.parametrize("status", ["failed", "wrong"])
def test_a_variant_without_a_time_has_no_quality_and_is_on_no_front(status: str) -> None:
    timed = latency()
    rows(timed)["plain"].clear()
    timed["groups"][0]["cells"][1]["rows"][3] |= {"contender": "plain", "status": status, "message": "why"}
    timed["groups"][0]["cold"][3] = {"contender": "plain", "failed": "why"}
    plain = point(joined(timed), "plain")
    assert (plain["status"], plain["message"]) == (status, "why")
    for key in ("quality", "p50_ms", "ratio", "ratio_interval", "joules", "cold_s", "peak_rss_mb"):
        assert plain[key] is None
    assert plain["fronts"] == []
    assert plain["sets"]["one"]["ndcg"] == 0.5


def test_a_failed_reference_leaves_points_without_ratios() -> None:
    timed = latency()
    for row in rows(timed).values():
        del row["ratio"], row["ratio_interval"]
    full = point(joined(timed), "full")
    assert (full["ratio"], full["ratio_interval"], full["quality"]) == (None, None, pytest.approx(0.7))


@pytest.mark.parametrize(
    "joules", ["not measured", {"CPU": 1.0}, {}], ids=["no sensor", "one of two domains", "no domain"]
)
def test_energy_that_was_not_measured_whole_is_not_known(joules: Any) -> None:
    timed = latency()
    rows(timed)["full"]["joules"] = joules
    full = point(joined(timed), "full")
    assert full["joules"] is None
    assert "energy" not in full["fronts"]
    assert "time" in full["fronts"]


def test_a_machine_without_a_total_has_no_energy_at_all() -> None:
    timed = latency()
    timed["sensors"]["total"] = []
    assert {each["joules"] for each in joined(timed)["points"]} == {None}


def test_domains_beside_the_total_are_not_counted() -> None:
    timed = latency()
    timed["sensors"]["total"] = ["GPU"]
    assert point(joined(timed), "full")["joules"] == pytest.approx(0.1)


def test_joining_changes_nothing_of_what_it_joins() -> None:
    timed, found = latency(), accuracy()
    before = copy.deepcopy((timed, found))
    joined(timed, found)
    assert (timed, found) == before


def test_a_variant_that_accuracy_left_out_of_a_set_has_no_quality() -> None:
    found = accuracy()
    found["results"][1]["systems"] = [each for each in found["results"][1]["systems"] if "int8" not in each["name"]]
    assert point(joined(found=found), "small")["quality"] is None
