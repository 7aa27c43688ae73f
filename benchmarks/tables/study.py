"""Latency and quality, joined: what `smartrt bench study` found."""

from __future__ import annotations

from typing import Any

from ..clock import in_order


def points(study: dict[str, Any]) -> list[str]:
    """A row for each variant: quality, time of a query, bytes of a document; on a front in bold."""
    reference, at = study["reference"], study["at"]
    timed = f"{at['cell']}, p50 | speed, {reference} = 1"
    rows = [f"| | quality | {timed} | bytes a document | bundle | cold start | peak memory |", "|---|" + "---|" * 7]
    for point in study["points"]:
        if point["status"] != "ok":
            rows.append(f"| {point['name']} | {point['status']}: {point['message']} | | | | | | |")
            continue
        name = f"**{point['name']}**" if {"time", "bytes"} & set(point["fronts"]) else point["name"]
        size = "" if point["bundle_bytes"] is None else f"{point['bundle_bytes'] / 1e6:.1f} MB"
        rows.append(
            f"| {name} | {point['quality']:.4f} | {point['p50_ms']:.1f} ms | {_ratio(point)} "
            f"| {point['bytes_per_document']:,} | {size} | {point['cold_s']:.2f} s | {point['peak_rss_mb']:.0f} MiB |"
        )
    return rows


def machine(study: dict[str, Any]) -> list[str]:
    """What it was measured on."""
    about, latency = study["latency"]["machine"], study["latency"]
    state = about["state"]
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    energy = ", ".join(latency["sensors"]["domains"]) or "not measured"
    noisy = [str(group["threads"]) for group in latency["groups"] if group["noisy"]]
    rows = {
        "machine": f"{about['cpu']}, {about['cores']} cores, {about['system']}",
        "governor": _said(state["governors"]),
        "clock": _clock(state["cpu_mhz"]),
        "commit": str(about["commit"]),
        "software": f"smartrt {about['smartrt']}, Python {about['python']}, {libraries}",
        "energy": energy,
        "load at the start": ", ".join(str(load) for load in about["load"]),
        "noisy": f"thread counts {', '.join(noisy)}" if noisy else "no group",
        "command": f"`{study['command']}`",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def latency(study: dict[str, Any]) -> list[str]:
    """Every contender in every cell and thread count."""
    rows = ["| threads, cell | | p50 | p90 | p99 | CPU | items/s | wall ratio | CPU ratio |"]
    rows.append("|---|---|---|---|---|---|---|---|---|")
    for group in study["latency"]["groups"]:
        for cell in group["cells"]:
            place = f"{group['threads']}, {cell['cell']}{' (noisy)' if group['noisy'] else ''}"
            for row in cell["rows"]:
                if row["status"] != "ok":
                    rows.append(f"| {place} | {row['contender']} | {row['status']}: {row['message']} | | | | | | |")
                    continue
                times = ["-" if row[f"p{at}_ms"] is None else f"{row[f'p{at}_ms']:.1f} ms" for at in (50, 90, 99)]
                cells = [*times, f"{row['cpu_ms']:.1f} ms", f"{row['items_per_s']:.1f}", _ratio(row)]
                rows.append(f"| {place} | {row['contender']} | {' | '.join([*cells, _ratio(row, 'cpu_ratio')])} |")
    return rows


def stages(study: dict[str, Any]) -> list[str]:
    """Where the time of the study's own cell goes."""
    rows = _cell(study)
    good = [row for row in rows if row["status"] == "ok"]
    names = in_order(stage for row in good for stage in row["stages"])
    lines = ["| p50 | " + " | ".join(names) + " | whole |", "|---|" + "---|" * (len(names) + 1)]
    for row in good:
        cells = [f"{row['stages'][name]['p50_ms']:.2f} ms" if name in row["stages"] else "" for name in names]
        lines.append(f"| {row['contender']} | {' | '.join(cells)} | {row['p50_ms']:.2f} ms |")
    return lines


def cold(study: dict[str, Any]) -> list[str]:
    """A new process to its first vectors, by the first thread count."""
    group = study["latency"]["groups"][0]
    rows = ["| | wall | CPU | wall ratio | CPU ratio | peak memory | at the end |", "|---|---|---|---|---|---|---|"]
    for row in group["cold"]:
        if row["failed"]:
            rows.append(f"| {row['contender']} | failed: {row['failed']} | | | | | |")
            continue
        memory = f"{row['peak_rss_mb']:.0f} MiB | {row['end_peak_rss_mb']:.0f} MiB"
        times = f"{row['wall_s']:.2f} s | {row['cpu_s']:.2f} s"
        rows.append(f"| {row['contender']} | {times} | {_ratio(row)} | {_ratio(row, 'cpu_ratio')} | {memory} |")
    return rows


def quality(study: dict[str, Any]) -> list[str]:
    """What each variant finds on each set, and BM25."""
    sets = study["sets"]
    rows = [f"| nDCG@10, and less {study['baseline']} | {' | '.join(sets)} |", "|---|" + "---|" * len(sets)]
    for point in study["points"]:
        found = [point["sets"][name] for name in sets if name in point["sets"]]
        cells = [f"{each['ndcg']:.4f}, {each['difference']:+.4f}{_mark(each)}" for each in found]
        rows.append(f"| {point['name']} | {' | '.join(cells)} |")
    lexical = [next(row for row in each["systems"] if row["name"] == "bm25") for each in study["accuracy"]["results"]]
    cells = [f"{row['ndcg@10']:.4f}, {row['difference']:+.4f}{_mark(row)}" for row in lexical]
    return [*rows, f"| BM25 | {' | '.join(cells)} |"]


def _cell(study: dict[str, Any]) -> list[dict[str, Any]]:
    group = study["latency"]["groups"][0]
    rows: list[dict[str, Any]] = next(cell["rows"] for cell in group["cells"] if cell["cell"] == study["at"]["cell"])
    return rows


def _ratio(row: dict[str, Any], key: str = "ratio") -> str:
    if row.get(key) is None:
        return ""
    limits = row[f"{key}_interval"]
    return f"{row[key]:.2f}x" + ("" if limits is None else f" [{limits[0]:.2f}, {limits[1]:.2f}]")


def _mark(row: dict[str, Any]) -> str:
    return "\\*" if row["significant"] else ""


def _clock(mhz: Any) -> str:
    return f"{mhz['median']:,.0f} MHz ({mhz['source']})" if isinstance(mhz, dict) else str(mhz)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
