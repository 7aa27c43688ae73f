"""The outlines of the markers, as shares of their radius in 1/1000."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bindings import Marker
    from .canvas import Canvas, Colour

INKS: dict[str, Colour] = {
    "red": (214, 28, 36),
    "blue": (24, 92, 214),
    "green": (16, 150, 58),
    "orange": (245, 136, 0),
    "purple": (134, 42, 176),
}
"""By the colours' names; far from each other, and from the muted ones that charts are drawn in."""

_EDGE: Colour = (28, 28, 28)
_PAPER: Colour = (255, 255, 255)


def _star(inner: float = 0.44, points: int = 5) -> tuple[tuple[int, int], ...]:
    corners = []
    for at in range(2 * points):
        reach, angle = (inner if at % 2 else 1.1), math.pi * at / points
        corners.append((round(1000 * reach * math.sin(angle)), round(-1000 * reach * math.cos(angle))))
    return tuple(corners)


_OUTLINES = {
    "star": _star(),
    "square": ((-840, -840), (840, -840), (840, 840), (-840, 840)),
    "triangle": ((0, -1050), (1040, 780), (-1040, 780)),
    "diamond": ((0, -1120), (860, 0), (0, 1120), (-860, 0)),
}


def draw_marker(canvas: Canvas, marker: Marker, centre: tuple[int, int], radius: int) -> None:
    """Draw `marker` with a dark edge, on a disc of paper that keeps the chart away from it."""
    ink = INKS[marker.colour]
    canvas.circle(centre, radius + 2.5, _PAPER)
    if marker.shape == "circle":
        canvas.circle(centre, 0.95 * radius, ink, _EDGE)
        return
    x, y = centre
    outline = [(x + radius * across / 1000, y + radius * down / 1000) for across, down in _OUTLINES[marker.shape]]
    canvas.polygon(outline, ink, _EDGE)
