"""Where on a page everything stands, in pixels: 5 by 5 panels, a marker and a label box somewhere in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .charts import TITLES, Chart, heading

if TYPE_CHECKING:
    from .dice import Dice

PAGE = 896
"""Width and height: the largest square that no published processor of the Qwen-VL family resamples.

Its side is a multiple of 28 and of 32 (a visual token of Qwen2-VL and of Qwen3-VL), its area the smallest of their
limits, 1,024 tokens of 28 x 28 pixels. What is drawn is what the model is shown."""

GRID = 5
PANELS = GRID * GRID
RADIUS = 10
"""Of a marker."""

_LEFT, _TOP = 18, 50
_WIDTH, _HEIGHT = 172, 164
_PLOT_INSET = (28, 23, 8, 31)  # tick labels, title, nothing, tick labels and legend
_LABEL_SIZE = (46, 21)
_GAP = 7  # between a marker and its label box: a short line joins them
_EDGE = 4  # between them and the plot's


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; `right` and `bottom` are the first outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top

    def at(self, across: int, up: int) -> tuple[float, float]:
        """The point a share in 1/1000 from the left and from the bottom."""
        return self.left + self.width * across / 1000, self.bottom - self.height * up / 1000


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        frame: All of it.
        plot: What the axes enclose.
        marker: Its centre.
        label: The box that holds the code.
        chart: What clutters it.
    """

    frame: Box
    plot: Box
    marker: tuple[int, int]
    label: Box
    chart: Chart

    @classmethod
    def make(cls, at: int, title: str, dice: Dice) -> Panel:
        """Panel `at` of the grid, row by row; where its marker stands and what its chart shows is from `dice`."""
        row, column = divmod(at, GRID)
        left, top = _LEFT + column * _WIDTH, _TOP + row * _HEIGHT
        frame = Box(left, top, left + _WIDTH, top + _HEIGHT)
        inset = _PLOT_INSET
        plot = Box(left + inset[0], top + inset[1], frame.right - inset[2], frame.bottom - inset[3])
        marker, label = _place(plot, dice)
        return cls(frame, plot, marker, label, Chart.make(title, dice))


def _place(plot: Box, dice: Dice) -> tuple[tuple[int, int], Box]:
    """A marker's centre and its label box, to the right of it or to the left."""
    wide, high = _LABEL_SIZE
    length = 2 * RADIUS + _GAP + wide
    left = dice.between(plot.left + _EDGE, plot.right - _EDGE - length)
    top = dice.between(plot.top + _EDGE, plot.bottom - _EDGE - high)
    marker_first = dice.pick((True, False))
    at = left + RADIUS if marker_first else left + length - RADIUS
    start = left + length - wide if marker_first else left
    return (at, top + high // 2), Box(start, top, start + wide, top + high)


@dataclass(frozen=True)
class Layout:
    """What the two pages of a pair share: the heading, and the panels row by row."""

    heading: str
    panels: tuple[Panel, ...]

    @classmethod
    def make(cls, dice: Dice) -> Layout:
        """A layout from `dice`; no title comes twice."""
        titles = dice.sample(TITLES, PANELS)
        return cls(heading(dice), tuple(Panel.make(at, title, dice) for at, title in enumerate(titles)))
