"""What clutters the panels: charts and words that say nothing about codes, colours or shapes.

Positions are whole numbers in 1/1000 of the plot, so that no machine's arithmetic makes another set of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from .dice import Dice

Kind = Literal["bars", "lines", "area", "scatter"]
Point = tuple[int, int]

SERIES_COLOURS = 5
"""How many muted colours there are to draw series in (`plots` has them)."""

_HEADINGS = ("Operations review", "Regional report", "Annual supplement", "Service summary", "Programme monitor")
_PERIODS = ("first half", "second half", "spring term", "autumn term", "full year")
TITLES = (
    "Net margin", "Unit cost", "Throughput", "Lead time", "Open orders", "Staff turnover", "Energy use",
    "Freight volume", "Water intake", "Downtime", "Visits per week", "Claims settled", "Stock on hand",
    "Response time", "Yield by batch", "Late deliveries", "Training hours", "Rework rate", "Storage load",
    "Scrap share", "Calls answered", "Fleet mileage", "Heat demand", "Paper use", "Ticket backlog", "Audit findings",
)  # fmt: skip
_UNITS = ("thousand", "per cent", "hours", "tonnes", "index", "per week")
_NAMES = ("plan", "actual", "prior year", "north", "south", "coast", "inland", "budget", "peers", "median")
_CATEGORIES = (
    ("Jan", "Mar", "May", "Jul", "Sep", "Nov"), ("2019", "2020", "2021", "2022", "2023"),
    ("Oslo", "Lyon", "Graz", "Bari"), ("Mon", "Tue", "Wed", "Thu", "Fri"), ("10", "20", "30", "40", "50", "60"),
)  # fmt: skip
_NOTES = ("target", "see note 3", "forecast", "revised", "strike", "n = 418", "outlier", "mean 27.4", "new site")
_STEPS = (1, 2, 5, 10, 25, 50, 100)  # between the numbers of an axis


@dataclass(frozen=True)
class Series:
    """One row of data: its name, which of the muted colours it has, and its points (across, up) in 1/1000."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        kind: How the series are drawn.
        title: Above the plot.
        unit: After the title.
        ticks: Numbers at the vertical axis, from the bottom up.
        categories: Words at the horizontal axis.
        series: At least two.
        notes: Words inside the plot, and where they begin.
    """

    kind: Kind
    title: str
    unit: str
    ticks: tuple[str, ...]
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    notes: tuple[tuple[str, Point], ...]

    @classmethod
    def make(cls, title: str, dice: Dice) -> Chart:
        """A chart of this title, the rest of it from `dice`."""
        kind: Kind = dice.pick(get_args(Kind))
        categories = dice.pick(_CATEGORIES)
        colours = dice.shuffled(range(SERIES_COLOURS))
        names = dice.sample(_NAMES, dice.between(2, 3))
        series = tuple(
            Series(name, colour, _points(kind, len(categories), dice))
            for name, colour in zip(names, colours, strict=False)
        )
        step = dice.pick(_STEPS)
        ticks = tuple(f"{step * at:,}" for at in range(dice.between(5, 7)))
        notes = tuple((note, (dice.between(20, 640), dice.between(60, 920))) for note in dice.sample(_NOTES, 2))
        return cls(kind, title, dice.pick(_UNITS), ticks, categories, series, notes)

    @property
    def words(self) -> tuple[str, ...]:
        """Every text in it."""
        names, notes = (series.name for series in self.series), (note for note, _ in self.notes)
        return (self.title, self.unit, *self.ticks, *self.categories, *names, *notes)


def heading(dice: Dice) -> str:
    """What stands at the top of a page."""
    return f"{dice.pick(_HEADINGS)}, {dice.pick(_PERIODS)}"


def _points(kind: Kind, categories: int, dice: Dice) -> tuple[Point, ...]:
    if kind == "scatter":
        return tuple((dice.between(20, 980), dice.between(30, 970)) for _ in range(26))
    if kind == "bars":
        return tuple((1000 * (2 * at + 1) // (2 * categories), dice.between(120, 950)) for at in range(categories))
    count, height = 16, dice.between(200, 800)
    points = []
    for at in range(count):
        height = min(max(height + dice.between(-190, 190), 60), 960)
        points.append((1000 * at // (count - 1), height))
    return tuple(points)
