"""The page's charts, and its table of variants: one line for each, with all it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chart import chart
from .markup import Html, markup, tag
from .panels import panels, where
from .quantities import INTERVAL, NONE, TIMES, signed, significant, size, span, times
from .tables import Cell, Column, Row, badge, number, table

if TYPE_CHECKING:
    from .panels import Panel

_WIDE, _HALF, _NARROW = (1120, 430), (552, 400), (358, 380)
"""Width and height of a chart: alone in its row, beside another one, and on a phone."""

NOISY = badge("noisy", "noisy")


def charts(study: dict[str, Any]) -> Html:
    """Quality against each cost that was measured, and the key."""
    shown = panels(study)
    if not shown:
        return tag("p", "No variant has both a quality and a cost: there is nothing to draw.", class_="note")
    # Two stand side by side; of three the first has a row of its own, and so has a single one.
    wide = [len(shown) != 2 and index == 0 for index in range(len(shown))]
    figures = [_figure(study, panel, wide=each) for panel, each in zip(shown, wide, strict=True)]
    unsound = [point["name"] for point in study["points"] if point["status"] != "ok"]
    key = tag(
        "p",
        _key("on", "on the front: no other variant is as good for less"),
        _key("off", "dominated"),
        _key("diamond", f"reference, {study['reference']}"),
        _key("hollow", "measured on a noisy machine"),
        f"Quality is {study['quality']}. Costs are on logarithmic axes. ",
        f"Not drawn, as they failed or are wrong: {', '.join(unsound)}." if unsound else None,
        class_="note key",
    )
    return markup(tag("div", figures, class_="charts"), key)


def _key(kind: str, text: str) -> Html:
    return markup(tag("span", tag("i", class_=f"dot {kind}"), text), " ")


def _figure(study: dict[str, Any], panel: Panel, *, wide: bool) -> Html:
    broad = _WIDE if wide else _HALF
    unknown = [point["name"] for point in study["points"] if point["status"] == "ok" and point["name"] in panel.absent]
    return tag(
        "figure",
        tag("h3", panel.cost.title),
        chart(panel, *broad, "broad"),
        chart(panel, *_NARROW, "narrow"),
        tag("figcaption", f"Not measured: {', '.join(unknown)}.") if unknown else None,
        class_="wide" if wide else None,
    )


def variants(study: dict[str, Any]) -> Html:
    """The table, and what its marks mean."""
    note = (
        f"Times are of {where(study)}; {TIMES} is how many times as fast as {study['reference']}, with its {INTERVAL}. "
        f"▾ and ▴: significantly worse or better than {study['baseline']} on that set. "
        "Cold start: from a new process to its first vectors. Peak: resident memory."
    )
    rows = [_row(study, point) for point in study["points"]]
    return markup(table("Variants", "Variant", _columns(study), rows), tag("p", note, class_="note"))


def _columns(study: dict[str, Any]) -> list[Column]:
    return [
        Column("Quality", study["quality"], down=True),
        *(Column(name, f"nDCG@10 on {name}", down=True, kind="set") for name in study["sets"]),
        Column("p50 ms", f"median latency, {where(study)}"),
        Column(TIMES, f"speed against {study['reference']}", down=True),
        Column(INTERVAL, "of the ratio", sort=None, kind="range"),
        Column("Per document", "bytes that the index keeps of a document"),
        Column("Bundle", "bytes on disk"),
        Column("J/query", "energy of a query"),
        Column("Cold s", "from a new process to its first vectors"),
        Column("Peak MiB", "resident memory"),
        Column("On fronts", "of costs for which no other variant is as good for less", sort="text", kind="range"),
    ]


def _row(study: dict[str, Any], point: dict[str, Any]) -> Row:
    if point["status"] != "ok":
        return Row(point["name"], message=why(point))
    return Row([point["name"], [" ", NOISY] if point["noisy"] else None], [
        number(point["quality"], lambda value: NONE if value is None else f"{value:.4f}"),
        *(_set_cell(point["sets"].get(name)) for name in study["sets"]),
        number(point["p50_ms"], significant),
        number(point["ratio"], times),
        Cell(span(point["ratio_interval"])),
        number(point["bytes_per_document"], size),
        number(point["bundle_bytes"], size),
        Cell("not measured") if point["joules"] is None else number(point["joules"], significant),
        number(point["cold_s"], significant),
        number(point["peak_rss_mb"], lambda value: NONE if value is None else f"{value:,.0f}"),
        Cell(", ".join(point["fronts"])),
    ])  # fmt: skip


def _set_cell(found: dict[str, Any] | None) -> Cell:
    if found is None:
        return Cell(NONE)
    low, high = found["interval"]
    hint = (
        f"difference {signed(found['difference'])}, {INTERVAL} {signed(low)} to {signed(high)}, "
        f"p {found['p_holm']:.3g} (Holm)"
    )
    mark = ("▾" if found["difference"] < 0 else "▴") if found["significant"] else ""
    word = {"▾": "significantly worse", "▴": "significantly better"}.get(mark)
    # Every cell has a place for the mark, so that the numbers stay in line.
    slot = tag("span", mark, class_="mark", role="img" if word else None, aria_label=word)
    return Cell([f"{found['ndcg']:.4f}", slot], found["ndcg"], hint)


def why(row: dict[str, Any]) -> Html:
    """What a row that failed or is wrong shows in place of numbers; its keys are ``status`` and ``message``."""
    return markup(badge(row["status"], "bad"), " ", row["message"] or "no reason was given")
