"""What the charts of a study show: quality against one cost each, as data. The picture and the page draw the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .quantities import count, significant, size, tick_size, times

if TYPE_CHECKING:
    from collections.abc import Callable


def _plain(value: float) -> str:
    return f"{value:,.10g}"


@dataclass(frozen=True)
class Cost:
    """One thing that quality costs.

    Attributes:
        front: Its name in the ``fronts`` of a point.
        key: Of its value in a point.
        title: Of the chart.
        unit: Of the axis.
        text: Writes a value with its unit.
        tick: Writes a value on the axis.
        timed: Whether a noisy machine moves it.
    """

    front: str
    key: str
    title: str
    unit: str
    text: Callable[[float], str]
    tick: Callable[[float], str]
    timed: bool


COSTS = (
    Cost("time", "p50_ms", "Time", "median latency, ms", lambda ms: f"{significant(ms)} ms", _plain, timed=True),
    Cost("bytes", "bytes_per_document", "Storage", "bytes per document", size, tick_size, timed=False),
    Cost("energy", "joules", "Energy", "joules per query", lambda j: f"{significant(j)} J", _plain, timed=True),
)


@dataclass(frozen=True)
class Mark:
    """One variant in a panel.

    Attributes:
        name: Of the variant.
        cost: Above 0.
        quality: Mean nDCG@10, or what the study calls quality.
        front: Whether no other variant is as good for less.
        noisy: Whether the machine was not quiet while the cost was measured.
        reference: Whether ratios are against it.
        about: All of that in words.
    """

    name: str
    cost: float
    quality: float
    front: bool
    noisy: bool
    reference: bool
    about: str


@dataclass(frozen=True)
class Panel:
    """Quality against one cost.

    Attributes:
        cost: Which.
        where: What was measured, of a cost that depends on it; else empty.
        marks: The front by rising cost, then the others by falling quality.
        absent: Names of the variants that have no place here.
    """

    cost: Cost
    where: str
    marks: tuple[Mark, ...]
    absent: tuple[str, ...]

    @property
    def front(self) -> tuple[Mark, ...]:
        """The marks that are on the front, by rising cost."""
        return tuple(mark for mark in self.marks if mark.front)


def panels(study: dict[str, Any]) -> list[Panel]:
    """A panel for each cost that at least one sound variant has."""
    found = [_panel(study, cost) for cost in COSTS]
    return [panel for panel in found if panel.marks]


def where(study: dict[str, Any]) -> str:
    """The cell and the threads that the times of the points are of: ``query 1x32, 1 thread``."""
    at = study["at"]
    return f"{at['cell']}, {count(at['threads'], 'thread')}"


def _panel(study: dict[str, Any], cost: Cost) -> Panel:
    drawn = [point for point in study["points"] if _drawable(point, cost)]
    marks = [_mark(study, point, cost) for point in drawn]
    marks.sort(key=lambda mark: (0, mark.cost, -mark.quality) if mark.front else (1, -mark.quality, mark.cost))
    absent = tuple(point["name"] for point in study["points"] if point not in drawn)
    return Panel(cost, where(study) if cost.timed else "", tuple(marks), absent)


def _drawable(point: dict[str, Any], cost: Cost) -> bool:
    """A wrong or failed variant has no place beside sound ones, whatever numbers it has."""
    value = point[cost.key]
    # A sensor too coarse for one query reads 0, which a logarithmic axis does not have.
    return point["status"] == "ok" and point["quality"] is not None and value is not None and value > 0


def _mark(study: dict[str, Any], point: dict[str, Any], cost: Cost) -> Mark:
    front, noisy = cost.front in point["fronts"], cost.timed and point["noisy"]
    parts = [f"{point['name']}: {cost.text(point[cost.key])}", f"quality {point['quality']:.4f}"]
    if cost.front == "time" and point["ratio"] is not None:
        parts.append(f"{times(point['ratio'])} the speed of {study['reference']}")
    parts += ["on the front"] * front + ["noisy"] * noisy
    return Mark(
        point["name"], float(point[cost.key]), point["quality"], front, noisy, point["name"] == study["reference"],
        ", ".join(parts),
    )  # fmt: skip
