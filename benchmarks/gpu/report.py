"""A result of `smartrt bench gpu` as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartrt.cli.terminal import table

from ..latency.report import lines as latency_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

_MET = {True: "yes", False: "NO", None: "not known"}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Parts, what was measured in each, and the requirements."""
    rows = [["part", "status", "s", "budget", ""]]
    for name, part in result["parts"].items():
        seconds = f"{part['seconds']:g}" if "seconds" in part else "-"
        rows.append([name, part["status"], seconds, f"{part['budget_s']:g}", part["reason"] or _counts(part)])
    yield from table(rows, right=frozenset({2, 3}))
    for name, part in result["parts"].items():
        found = part.get("result")
        if not isinstance(found, dict):
            continue
        yield from (f"  {line}" for key in ("lines", "skipped") for line in found.get(key, ()))
        if "latency" in found:
            yield ""
            yield name
            yield from latency_lines(found["latency"])
    yield ""
    yield from table([["requirement", "measured", "met", "by"], *map(_requirement, result["requirements"])])


def _counts(part: dict[str, Any]) -> str:
    """Of tests."""
    found = part.get("result")
    counts = found.get("counts", {}) if isinstance(found, dict) else {}
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _requirement(row: dict[str, Any]) -> list[str]:
    measured = row["measured"] if isinstance(row["measured"], str) else f"{row['measured']:.4g}"
    return [row["wanted"], measured, _MET[row["met"]] if row["required"] else "", row["by"] or ""]
