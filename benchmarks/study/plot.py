"""A panel on paper: where its axes, points, front and names lie. Pixels, y downwards; nothing is drawn here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .geometry import Box, Line, Place
from .labels import Label, Wanted, place
from .scale import Scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from .panels import Mark, Panel

    Measure = Callable[[str], tuple[float, float]]
    """Width and height of a name, in pixels."""

LONGEST = 34
"""Characters of a name in a chart; what is longer is cut, the table has all of it."""

BETTER = "↖ better"
_ABOVE, _BESIDE = 16.0, 8.0
"""Pixels around the frame that names may use: whoever draws leaves them free."""

_NEAR = 35.0
"""How far the name of a point off the front may be from it: it gets one only where there is room."""


@dataclass(frozen=True)
class Style:
    """Sizes in pixels.

    Attributes:
        front, dominated: Radius of a point.
        across, up: Ticks at most.
    """

    front: float = 5.0
    dominated: float = 3.5
    across: int = 6
    up: int = 6


class Spot(NamedTuple):
    """A variant on the paper; `label` is None where there was no room for its name."""

    mark: Mark
    at: Place
    radius: float
    name: str
    label: Label | None


class Tick(NamedTuple):
    """A value of an axis, and its distance from the left or the top of the paper."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Everything of a panel that has a place.

    Attributes:
        frame: Within the axes.
        across, up: Ticks of the cost and of the quality.
        steps: Corners of the line that follows the front, empty without one.
        spots: In the order of the panel's marks.
        better: Where `BETTER` is written, in the corner of high quality and low cost; None if a point is there.
    """

    frame: Box
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    steps: tuple[Place, ...]
    spots: tuple[Spot, ...]
    better: Box | None

    @classmethod
    def of(cls, panel: Panel, frame: Box, measure: Measure, style: Style | None = None) -> Plot:
        """Lay `panel` (one mark at least) out within `frame`."""
        style = style or Style()
        x = Scale.around([mark.cost for mark in panel.marks], log=True)
        y = Scale.around([mark.quality for mark in panel.marks])

        def at(cost: float, quality: float) -> Place:
            width, height = frame.right - frame.left, frame.bottom - frame.top
            return Place(frame.left + x.at(cost) * width, frame.bottom - y.at(quality) * height)

        places = [at(mark.cost, mark.quality) for mark in panel.marks]
        wanted = [_wanted(mark, spot, measure, style) for mark, spot in zip(panel.marks, places, strict=True)]
        steps = _steps([spot for spot, mark in zip(places, panel.marks, strict=True) if mark.front], frame)
        better = _corner(frame, measure, wanted)
        lines = [Line(a, b) for a, b in itertools.pairwise(steps)]
        room = Box(frame.left, frame.top - _ABOVE, frame.right + _BESIDE, frame.bottom)
        labels = place(wanted, room, [better] if better else [], lines)
        ups = y.ticks(style.up)
        decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in ups)
        return cls(
            frame=frame,
            across=tuple(Tick(at(value, y.low).x, panel.cost.tick(value)) for value in x.ticks(style.across)),
            up=tuple(Tick(at(x.low, value).y, f"{value:.{decimals}f}") for value in ups),
            steps=steps,
            spots=tuple(
                Spot(mark, one.point, one.radius, shortened(mark.name), label)
                for mark, one, label in zip(panel.marks, wanted, labels, strict=True)
            ),
            better=better,
        )


def shortened(name: str) -> str:
    """`name` as a chart writes it: one line, `LONGEST` characters at most."""
    line = " ".join(name.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def _steps(front: list[Place], frame: Box) -> tuple[Place, ...]:
    """For each cost the best quality that can be had for it: flat until the next point, then up."""
    if not front:
        return ()
    corners = [front[0]]
    for point in front[1:]:
        corners += [Place(point.x, corners[-1].y), point]
    return (*corners, Place(frame.right, corners[-1].y))


def _corner(frame: Box, measure: Measure, wanted: list[Wanted]) -> Box | None:
    width, height = measure(BETTER)
    box = Box(frame.left + 6, frame.top + 4, frame.left + 6 + width, frame.top + 4 + height)
    return None if any(each.mark.overlaps(box.grown(4)) for each in wanted) else box


def _wanted(mark: Mark, at: Place, measure: Measure, style: Style) -> Wanted:
    width, height = measure(shortened(mark.name))
    if mark.front or mark.reference:
        return Wanted(at, style.front, width, height)
    return Wanted(at, style.dominated, width, height, reach=_NEAR, optional=True)
