"""Raw samples to what is reported: percentiles, ratios with intervals, and which groups were noisy."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from ..clock import GRAPHS, in_order
from .outputs import disagreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .grid import Cell, Contender, Grid

STEADY = 0.15
"""A probe that moved by more than this from its median marks its group as noisy."""

PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}
_ENOUGH = {"p50": 1, "p90": 10, "p95": 20, "p99": 100}
"""Calls below which a percentile would be the maximum under another name."""

INTERVAL = (
    "95 % interval of the same ratio in another run like this one, on this machine and as busy, from the differences "
    "between starts: "
    "exp(m +- t * s * sqrt(2 / starts)), m and s being mean and standard deviation of the logarithm over the starts"
)
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131)
"""Student's t, two-sided 95 %, by degrees of freedom from 1; beyond, the last is a little wide."""


def summarise(grid: Grid, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A group for each thread count, JSON-ready: what was cold, the rows of each cell, memory, probes."""
    groups = []
    for threads in grid.threads:
        mine = [block for block in blocks if block["threads"] == threads]
        moved = _moved([probe for block in mine for probe in block["probes"]])
        groups.append({
            "threads": threads,
            "starts": len(mine),
            "kept": sum(block["kept"] for block in mine),
            "load": [block["load"] for block in mine],
            "probes": moved,
            "noisy": any(probe["moved"] > STEADY for probe in moved.values()),
            "cold": [_cold(grid, each, mine) for each in grid.contenders],
            "cells": [
                {"cell": cell.label, "side": cell.side, "batch": cell.batch, "rows": _rows(grid, cell, mine)}
                for cell in grid.cells
            ],
        })  # fmt: skip
    return groups


def interval(ratios: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Geometric mean of the ratios of the starts, and its `INTERVAL`; none of a single start."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), None
    t = _T95[min(len(logs) - 1, len(_T95)) - 1]
    half = t * statistics.stdev(logs) * math.sqrt(2 / len(logs))
    return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def _moved(probes: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Per probe its median, and how far the furthest is from it, as a share."""
    found = {}
    for key in probes[0] if probes else ():
        values = [probe[key] for probe in probes]
        middle = statistics.median(values)
        furthest = max(abs(value / middle - 1) for value in values)
        found[key] = {"median": round(middle, 3), "moved": round(furthest, 3)}
    return found


def _cold(grid: Grid, contender: Contender, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """From a new process to its first vectors, and the peak of memory at its end."""
    row: dict[str, Any] = {"contender": contender.name, "failed": _failure(contender.name, blocks)}
    starts = [block["contenders"][contender.name] for block in blocks]
    if row["failed"] or not starts:
        return row
    for key in ("wall_s", "cpu_s", "peak_rss_mb"):
        row[key] = round(statistics.median(start["cold"][key] for start in starts), 4)
    for key in ("peak_rss_mb", "device_mb"):
        values = [start["memory"][key] for start in starts]
        row[f"end_{key}"] = None if None in values else round(max(values), 1)
    if not _failure(grid.reference, blocks):
        theirs = [block["contenders"][grid.reference]["cold"] for block in blocks]
        for key, name in (("wall_s", "ratio"), ("cpu_s", "cpu_ratio")):
            ratios = [other[key] / start["cold"][key] for other, start in zip(theirs, starts, strict=True)]
            row |= _ratio(name, ratios)
    return row


def _rows(grid: Grid, cell: Cell, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {each.name: each for each in grid.contenders}
    rows = []
    for contender in grid.contenders:
        row = _status(contender, by_name[grid.compared_with], cell, blocks)
        if row["status"] == "ok":
            row |= _times(contender.name, cell, blocks)
            if not _failure(grid.reference, blocks):
                for part, name in ((0, "ratio"), (1, "cpu_ratio")):
                    theirs, ours = (
                        [_median(block, who, cell, part) for block in blocks]
                        for who in (grid.reference, contender.name)
                    )
                    row |= _ratio(name, [a / b for a, b in zip(theirs, ours, strict=True)])
        rows.append(row)
    return rows


def _status(contender: Contender, reference: Contender, cell: Cell, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"contender": contender.name, "status": "ok", "message": None, "outputs": None}
    if failed := _failure(contender.name, blocks):
        return row | {"status": "failed", "message": failed}
    compared = next((block["contenders"][contender.name]["outputs"].get(cell.label) for block in blocks), None)
    if compared is None:
        return row | {"message": f"outputs were not compared: {reference.name} failed"}
    wrong = disagreement(compared, contender, reference)
    return row | {"status": "wrong" if wrong else "ok", "message": wrong, "outputs": compared}


def _times(name: str, cell: Cell, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    visited = [block["contenders"][name]["cells"][cell.label] for block in blocks]
    calls = [call for each in visited for call in each["calls"]]
    walls = np.array([call["whole"][0] for call in calls]) * 1e3
    stages = in_order(key for call in calls for key in call if key != "whole")
    made = sum(each["made"] for each in visited)
    domains = [domain for domain in visited[0]["joules"] if all(domain in each["joules"] for each in visited)]
    joules = {domain: sum(each["joules"][domain] for each in visited) for domain in domains}
    return {
        "calls": len(calls),
        **{
            f"{name}_ms": round(float(np.percentile(walls, at)), 4) if len(calls) >= _ENOUGH[name] else None
            for name, at in PERCENTILES.items()
        },
        "encode_ms": round(1e3 * statistics.median(_encoding(call) for call in calls), 4),
        "graphs_ms": round(1e3 * statistics.median(_graphs(call) for call in calls), 4),
        "cpu_ms": round(1e3 * statistics.median(call["whole"][1] for call in calls), 4),
        "items_per_s": round(cell.batch * 1e3 * len(calls) / float(walls.sum()), 3),
        "stages": {
            stage: {
                "p50_ms": round(1e3 * statistics.median(call.get(stage, (0, 0))[0] for call in calls), 4),
                "cpu_ms": round(1e3 * statistics.median(call.get(stage, (0, 0))[1] for call in calls), 4),
            }
            for stage in stages
        },
        "joules": {domain: round(value / made, 6) for domain, value in joules.items()} or "not measured",
        "samples_ms": [float(f"{wall:.4g}") for wall in walls],
    }


def _encoding(call: dict[str, Any]) -> float:
    """Seconds of a call without the ranking behind it."""
    seconds: float = call["whole"][0] - call.get("score", (0.0, 0.0))[0]
    return seconds


def _graphs(call: dict[str, Any]) -> float:
    """Seconds of the model alone. Both sides wait for a GPU before a graph's clock stops, or read its outputs."""
    seconds: float = sum(call[stage][0] for stage in GRAPHS if stage in call)
    return seconds


def _median(block: dict[str, Any], name: str, cell: Cell, part: int) -> float:
    calls = block["contenders"][name]["cells"][cell.label]["calls"]
    middle: float = statistics.median(call["whole"][part] for call in calls)
    return middle


def _ratio(name: str, ratios: Sequence[float]) -> dict[str, Any]:
    """The reference's time over the contender's: above 1 the contender is faster."""
    ratio, limits = interval(ratios)
    bounds = None if limits is None else [round(limit, 4) for limit in limits]
    return {name: round(ratio, 4), f"{name}_interval": bounds}


def _failure(name: str, blocks: Sequence[dict[str, Any]]) -> str | None:
    return next((failed for block in blocks if (failed := block["contenders"][name]["failed"])), None)
