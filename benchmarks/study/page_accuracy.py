"""The page's accuracy tables: every system on every set, against the one baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .markup import Html, markup, tag
from .quantities import INTERVAL, count, signed, size
from .scale import Scale
from .strips import interval
from .tables import Cell, Column, Row, badge, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence


def accuracy(result: dict[str, Any]) -> Html:
    """Every set of a result of `smartrt bench accuracy`."""
    note = (
        f"Differences of nDCG@10 are from {result['baseline']}, with their {INTERVAL}s; a filled dot is significant "
        f"after {count(result['comparisons'], 'comparison')}."
    )
    return markup(tag("p", note, class_="note"), [_set(result, found) for found in result["results"]])


def _set(result: dict[str, Any], found: dict[str, Any]) -> Html:
    systems = found["systems"]
    metrics = [key for key in systems[0] if "@" in key]
    ends = [0.0, *(end for system in systems for end in system["interval"])]
    scale = Scale.around(ends)
    columns = [
        *(Column(metric.replace("ndcg", "nDCG").replace("mrr", "MRR"), down=True) for metric in metrics),
        Column("Difference", f"of nDCG@10 from {result['baseline']}", down=True),
        Column(INTERVAL, sort=None, kind="range"),
        Column("Plot", "the same as a picture; the stroke is no difference", sort=None),
        Column("p", "adjusted by Holm's method"),
        Column("Per document", "bytes"),
    ]
    rows = [_row(system, metrics, scale, result["baseline"]) for system in systems]
    return markup(
        tag("h3", found["set"]),
        tag("p", _about(found), class_="note"),
        table(f"Accuracy on {found['set']}", "System", columns, rows),
    )


def _row(system: dict[str, Any], metrics: Sequence[str], scale: Scale, baseline: str) -> Row:
    low, high = system["interval"]
    values = [number(system[metric], lambda value: f"{value:.4f}") for metric in metrics]
    stored = number(system["bytes_per_document"], size)
    if system["name"] == baseline:
        empty = [Cell("", 0.0), Cell(""), Cell(""), Cell("")]
        return Row([system["name"], " ", badge("baseline", "quiet")], [*values, *empty, stored])
    strip = interval(low, system["difference"], high, scale, sure=system["significant"])
    return Row(system["name"], [
        *values, Cell(signed(system["difference"]), system["difference"]), Cell(f"{signed(low)} to {signed(high)}"),
        Cell(strip), Cell(_probability(system["p_holm"]), system["p_holm"]), stored,
    ])  # fmt: skip


def _probability(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _about(found: dict[str, Any]) -> str:
    parts = [f"{count(found['documents'], 'document')}, {count(found['queries'], 'query', 'queries')}"]
    if found["queries_without_relevant_document"]:
        parts.append(f"{found['queries_without_relevant_document']} queries have no relevant document")
    cut = {label: documents for label, documents in found["truncated_documents"].items() if documents}
    if cut:
        each = ", ".join(f"{documents:,} ({label})" for label, documents in cut.items())
        parts.append(f"documents cut at the longest input: {each}")
    parts += [f"left out for {label}: {', '.join(names)}" for label, names in found["left_out"].items()]
    return f"{'; '.join(parts)}."
