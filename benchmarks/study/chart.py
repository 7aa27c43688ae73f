"""A panel as inline SVG. Colours are the page's variables, so a chart follows its theme."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from .geometry import Box
from .markup import Html, markup, tag
from .plot import BETTER, Plot

if TYPE_CHECKING:
    from .panels import Panel
    from .plot import Spot

_SIZE = 12.5
"""Of names, in pixels of the chart; `page.css` says the same."""

# Advance widths of Helvetica, which Arial and Liberation Sans share, from the space to the tilde, in thousandths.
_WIDTHS = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_OTHER = 620


def text_size(text: str, size: float = _SIZE) -> tuple[float, float]:
    """Width and height of a line of text in the page's sans serif, in pixels; a little wide for other alphabets."""
    return size / 1000 * sum(map(_advance, text)) * 1.02, size * 1.1


def _advance(letter: str) -> int:
    if " " <= letter <= "~":
        return _WIDTHS[ord(letter) - ord(" ")]
    return 1000 if unicodedata.east_asian_width(letter) in "WF" or letter in "…—" else _OTHER


def chart(panel: Panel, width: float, height: float, kind: str) -> Html:
    """The panel as one ``<svg>``.

    Args:
        panel: With one mark at least.
        width: Of the drawing; the page scales it.
        height: Of the drawing.
        kind: Its class; the page shows the one that suits the width of the screen.
    """
    narrow = width < 480
    frame = Box(50, 36, width - 8, height - 44)
    plot = Plot.of(panel, frame, text_size)
    spots = sorted(plot.spots, key=lambda spot: spot.mark.front)  # the front is drawn last, above the others
    label = f"Quality against {panel.cost.unit}: " + "; ".join(mark.about for mark in panel.marks)
    return tag(
        "svg",
        _axes(plot, panel, narrow=narrow),
        _front(plot),
        [_leader(spot) for spot in spots],
        [_spot(spot) for spot in spots],
        viewBox=f"0 0 {width:g} {height:g}", class_=f"chart {kind}", role="img", aria_label=label,
    )  # fmt: skip


def _axes(plot: Plot, panel: Panel, *, narrow: bool) -> Html:
    frame = plot.frame
    rows = [
        markup(
            tag("line", x1=frame.left, x2=frame.right, y1=tick.at, y2=tick.at, class_="grid"),
            tag("text", tick.text, x=frame.left - 8, y=tick.at + 4, text_anchor="end", class_="tick"),
        )
        for tick in plot.up
    ]
    columns = [
        markup(
            tag("line", x1=tick.at, x2=tick.at, y1=frame.bottom, y2=frame.bottom + 4, class_="axis"),
            tag("text", tick.text, x=tick.at, y=frame.bottom + 17, text_anchor="middle", class_="tick"),
        )
        for tick in plot.across
    ]
    unit = panel.cost.unit if narrow or not panel.where else f"{panel.cost.unit} ({panel.where})"
    return markup(
        rows,
        columns,
        tag("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"),
        tag("text", f"{unit} →", x=frame.right, y=frame.bottom + 36, text_anchor="end", class_="unit"),
        tag("text", "↑ quality", x=0, y=13, class_="unit"),
        tag("text", BETTER, x=plot.better.left, y=plot.better.bottom - 2, class_="unit") if plot.better else None,
    )


def _front(plot: Plot) -> Html | None:
    if not plot.steps:
        return None
    corners = " ".join(f"{corner.x:.1f},{corner.y:.1f}" for corner in plot.steps)
    return tag("polyline", points=corners, class_="front")


def _leader(spot: Spot) -> Html | None:
    line = spot.label.leader if spot.label else None
    if line is None:
        return None
    return tag("line", x1=line.start.x, y1=line.start.y, x2=line.end.x, y2=line.end.y, class_="leader")


def _spot(spot: Spot) -> Html:
    mark = spot.mark
    kinds = ["point", "on" if mark.front else "off", *["noisy"] * mark.noisy, *["reference"] * mark.reference]
    return tag("g", tag("title", mark.about), _shape(spot), _name(spot), class_=" ".join(kinds))


def _shape(spot: Spot) -> Html:
    (x, y), radius = spot.at, spot.radius
    if not spot.mark.reference:
        return tag("circle", cx=x, cy=y, r=radius)
    corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
    return tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners))


def _name(spot: Spot) -> Html | None:
    if spot.label is None:
        return None
    box = spot.label.box
    return tag("text", spot.name, x=(box.left + box.right) / 2, y=box.bottom - 0.24 * _SIZE, text_anchor="middle")
