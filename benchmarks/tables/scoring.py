"""Late interaction: smartrt's scorer and others."""

from __future__ import annotations

from typing import Any


def summary(result: dict[str, Any]) -> list[str]:
    """One thread: smartrt's time, its share of sgemm, and how much longer others take."""
    rows = ["| | smartrt int16 | of sgemm | as SMART | as ColPali | maxsim-cpu | exact top 10 in int8, 8 bits first |"]
    rows.append("|---|---|---|---|---|---|---|")
    for case in _with_threads(result, 1):
        made = case["contenders"]
        ours = made["smartrt int16"]
        peer = made.get("maxsim-cpu")
        crashed = "crashes" if case["crashed"] else "wrong scores" if case["wrong"] else "-"
        others = [f"{made[name]['cpu_ratio']:.1f}x" for name in ("torch, as SMART", "torch, as ColPali")]
        others.append(f"{peer['cpu_ratio']:.1f}x" if peer else crashed)
        search = f"{made['search int8, 8 bits first']['cpu_ms']:.1f} ms"
        times = f"{ours['cpu_ms']:.1f} ms | {ours['share_of_sgemm']:.0%}"
        rows.append(f"| {case['label']} | {times} | {' | '.join(others)} | {search} |")
    return rows


def in_full(result: dict[str, Any], threads: int) -> list[str]:
    """Every contender of every case: time and ratio; CPU time of one thread, wall time of several."""
    cases = _with_threads(result, threads)
    names = list(cases[0]["contenders"])
    rows = ["| | " + " | ".join(case["case"] for case in cases) + " |", "|---|" + "---|" * len(cases)]
    for name in names:
        cells = []
        for case in cases:
            values = case["contenders"].get(name)
            key = "cpu" if threads == 1 else "wall"
            cells.append("-" if values is None else f"{values[f'{key}_ms']:.1f} ms, {values[f'{key}_ratio']:.2f}x")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _with_threads(result: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    return [case for case in result["results"] if case["threads"] == threads]
