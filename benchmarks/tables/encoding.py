"""Precisions, cold start, pages, large exports."""

from __future__ import annotations

from typing import Any


def coldstart(result: dict[str, Any]) -> list[str]:
    """Each side, and their ratio."""
    found = result["result"]
    rows = ["| | wall | CPU | peak memory |", "|---|---|---|---|"]
    for name, values in found["contenders"].items():
        times = f"{values['wall_s']:.2f} s | {values['cpu_s']:.2f} s"
        rows.append(f"| {name} | {times} | {values['peak_rss_mb']:.0f} MiB |")
    ratio = found["pytorch_over_smartrt"]
    rows.append(f"| ratio | {ratio['wall_s']:.1f} | {ratio['cpu_s']:.1f} | {ratio['peak_rss_mb']:.1f} |")
    return rows


def preprocess(result: dict[str, Any]) -> list[str]:
    """Each contender."""
    rows = ["| | one page | 32 pages | their memory |", "|---|---|---|---|"]
    for name, values in result["result"]["contenders"].items():
        single, pages = f"{values['page_ms']:.0f} ms", f"{values['pages_ms'] / 1000:.1f} s"
        rows.append(f"| {name} | {single} | {pages} | {values['pages_peak_mb']:.0f} MiB |")
    return rows


def precisions(result: dict[str, Any]) -> list[str]:
    """Per bundle its size, its time and ratio at each shape, and what the hybrid loses on each set."""
    sizes = {bundle["name"]: f"{bundle['bytes'] / 1e6:,.1f} MB" for bundle in result["bundles"]}
    sets = [entry["name"] for entry in next(iter(result["losses"].values()), [])]
    rows = ["| | size | " + " | ".join([*result["speeds"], *sets]) + " |"]
    rows.append("|---|---|" + "---|" * (len(result["speeds"]) + len(sets)))
    for contender in next(iter(result["speeds"].values())):
        times = [values[contender] for values in result["speeds"].values()]
        cells = [f"{time['cpu_ms']:.1f} ms, {time['ratio']:.2f}x" for time in times]
        lost = [entry["losses"]["hybrid"] for entry in result["losses"].get(contender, [])]
        cells += [f"{loss['difference']:+.4f} [{loss['low']:+.4f}, {loss['high']:+.4f}]" for loss in lost]
        cells += [""] * (len(sets) - len(lost))
        rows.append(f"| {contender} | {sizes.get(contender, '')} | {' | '.join(cells)} |")
    return rows


def large_exports(result: dict[str, Any]) -> list[str]:
    """Per export of a large checkpoint its time, its memory and its size."""
    rows = ["| checkpoint | precision | time | peak memory | bundle |", "|---|---|---|---|---|"]
    for entry in result["exports"]:
        minutes = f"{entry['wall_s'] / 60:.0f} min"
        memory = f"{entry['peak_rss_kb'] / 1024:,.0f} MiB"
        size = f"{entry['bytes'] / 1e9:.2f} GB"
        rows.append(f"| {entry['checkpoint']} | {entry['precision']} | {minutes} | {memory} | {size} |")
    return rows
