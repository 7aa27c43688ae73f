"""Retrieval sets, storage, the controlled benchmark."""

from __future__ import annotations

from typing import Any

_SYSTEMS = ("pooled", "late", "hybrid")


def gains(result: dict[str, Any]) -> list[str]:
    """Per set what each system finds, and what the hybrid gains over the baseline, pooled."""
    rows = ["| set | pooled | late | hybrid | BM25 | hybrid - pooled |", "|---|---|---|---|---|---|"]
    for each in result["results"]:
        found = _unstored(each)
        scores = " | ".join(f"{found[name]['ndcg@10']:.4f}" for name in (*_SYSTEMS, "bm25"))
        low, high = found["hybrid"]["interval"]
        gain = f"{found['hybrid']['difference']:+.3f} [{low:+.3f}, {high:+.3f}]{_mark(found['hybrid'])}"
        rows.append(f"| {each['set']} | {scores} | {gain} |")
    return rows


def stored(result: dict[str, Any]) -> list[str]:
    """What storage and compression cost the hybrid: bytes of a Cranfield document, and nDCG@10 against float32."""
    by_set = {
        each["set"]: {row["stored"]: row for row in each["systems"] if row["stored"]} for each in result["results"]
    }
    rows = ["| | bytes a document | " + " | ".join(by_set) + " |", "|---|---|" + "---|" * len(by_set)]
    for name, values in by_set["cranfield"].items():
        changes = [f"{kept[name]['ndcg@10'] - kept['float32']['ndcg@10']:+.4f}" for kept in by_set.values()]
        rows.append(f"| {name} | {values['bytes_per_document']:,} | {' | '.join(changes)} |")
    return rows


def systems(result: dict[str, Any]) -> list[str]:
    """Every system of every set: nDCG@10, and its difference from the baseline."""
    sets = [each["set"] for each in result["results"]]
    rows = [f"| nDCG@10, and less {result['baseline']} | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    by_set = [{row["name"]: row for row in each["systems"]} for each in result["results"]]
    for name in by_set[0]:
        cells = []
        for found in by_set:
            row = found.get(name)
            cells.append("-" if row is None else f"{row['ndcg@10']:.4f}, {row['difference']:+.4f}{_mark(row)}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def toy(result: dict[str, Any]) -> list[str]:
    """Per bundle the accuracy of each system, with its interval."""
    rows = ["| | " + " | ".join(_SYSTEMS) + " |", "|---|---|---|---|"]
    for each in result["results"]:
        cells = []
        for name in _SYSTEMS:
            found = each["systems"][name]
            low, high = found["interval"]
            cells.append(f"{found['accuracy']:.3f} [{low:.3f}, {high:.3f}]{' at chance' if found['at_chance'] else ''}")
        rows.append(f"| {each['bundle']['name']} | {' | '.join(cells)} |")
    return rows


def _unstored(each: dict[str, Any]) -> dict[str, Any]:
    """The first encoder's systems and BM25, by their short names."""
    first = each["systems"][0]["encoder"]
    return {row["system"]: row for row in each["systems"] if row["encoder"] in (first, None) and not row["stored"]}


def _mark(row: dict[str, Any]) -> str:
    return "\\*" if row["significant"] else ""
