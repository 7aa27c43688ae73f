"""One point for each variant, joined from what was timed and what was found, and the Pareto fronts."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from .config import accuracy_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .config import Config, Entry

COSTS = {"time": "p50_ms", "bytes": "bytes_per_document", "energy": "joules"}
"""Each front by its name, and the cost that it trades quality against."""


def join(
    config: Config, labels: Mapping[str, str], bundles: Mapping[str, Path], latency: dict[str, Any], accuracy: Any
) -> dict[str, Any]:
    """Everything a page needs.

    Args:
        config: Of the study.
        labels: By variant, the name of its bundle.
        bundles: By variant, its bundle.
        latency: Of `latency.measure`.
        accuracy: Of `accuracy.measure.measure`.
    """
    sets = [result["set"] for result in accuracy["results"]]
    group = latency["groups"][0]
    cell = next(cell for cell in group["cells"] if cell["side"] == "query")
    points = [
        _point(entry, accuracy_name(entry, labels[entry.name]), group, cell, accuracy)
        | {
            "joules": _joules(entry.name, cell, latency["sensors"]["total"]),
            "bundle_bytes": None if entry.pytorch else _size(bundles[entry.name]),
        }
        for entry in config.variant
    ]
    for name, key in COSTS.items():
        on = pareto([(point[key], point["quality"]) for point in points])
        for point, is_on in zip(points, on, strict=True):
            point["fronts"] += [name] if is_on else []
    return {
        "title": config.title,
        "command": latency["machine"]["command"],
        "config": config.to_json(),
        "sets": sets,
        "quality": f"mean nDCG@10 over {', '.join(sets)}",
        "at": {"threads": group["threads"], "cell": cell["cell"]},
        "reference": latency["grid"]["reference"],
        "baseline": accuracy["baseline"],
        "points": points,
        "latency": latency,
        "accuracy": accuracy,
    }


def pareto(points: Sequence[tuple[float | None, float | None]]) -> list[bool]:
    """Which points (cost, quality) are on the front: nobody costs less and is as good, or is better for no more.

    A point without a cost or a quality is not on it. Of equal points all are.
    """

    def beaten(cost: float, quality: float) -> bool:
        return any(
            c is not None and q is not None and c <= cost and q >= quality and (c < cost or q > quality)
            for c, q in points
        )

    return [cost is not None and quality is not None and not beaten(cost, quality) for cost, quality in points]


def _point(entry: Entry, system: str, group: dict[str, Any], cell: dict[str, Any], accuracy: Any) -> dict[str, Any]:
    row = next(row for row in cell["rows"] if row["contender"] == entry.name)
    cold = next(row for row in group["cold"] if row["contender"] == entry.name)
    found = {
        result["set"]: each for result in accuracy["results"] for each in result["systems"] if each["name"] == system
    }
    status, message = row["status"], row["message"]
    if status == "ok" and (left := [each["set"] for each in accuracy["results"] if each["set"] not in found]):
        status, message = "failed", f"{', '.join(left)} has too few token vectors to keep documents as {entry.keeps!r}"
    good = status == "ok"
    sets = {
        name: {"ndcg": each["ndcg@10"]}
        | {key: each[key] for key in ("difference", "interval", "p_holm", "significant")}
        for name, each in found.items()
    }
    sizes = [each["bytes_per_document"] for each in found.values()]
    return {
        "name": entry.name,
        "system": system,
        "status": status,
        "message": message,
        # Whatever computes something else than it should has no quality either.
        "quality": statistics.fmean(each["ndcg"] for each in sets.values()) if good else None,
        "sets": sets,
        "p50_ms": row.get("p50_ms"),
        "ratio": row.get("ratio"),
        "ratio_interval": row.get("ratio_interval"),
        "bytes_per_document": round(statistics.fmean(sizes)) if sizes else None,
        "cold_s": cold.get("wall_s"),
        "peak_rss_mb": cold.get("peak_rss_mb"),
        "noisy": group["noisy"],
        "fronts": [],
    }


def _joules(name: str, cell: dict[str, Any], total: Sequence[str]) -> float | None:
    """Of one query, on the whole machine; None if not all of it was measured."""
    row = next(row for row in cell["rows"] if row["contender"] == name)
    joules = row.get("joules")
    if not total or not isinstance(joules, dict) or not joules.keys() >= set(total):
        return None
    spent: float = sum(joules[domain] for domain in total)
    return spent


def _size(bundle: Path) -> int:
    return sum(path.stat().st_size for path in bundle.iterdir() if path.is_file())
