"""OUT/pareto.png: the panels of a study as one picture, with matplotlib."""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.errors import MissingDependencyError
from smartrt.files import replace_file

from .geometry import Box
from .markup import visible
from .panels import panels, where
from .plot import BETTER, Plot, Style
from .quantities import count

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .panels import Panel
    from .plot import Spot

WIDTH = 1400
"""Of the picture, in units that are laid out; the file has `_DENSITY` times as many pixels."""

_DENSITY = 2
_HEAD, _FOOT, _ROW, _GUTTER = 56, 46, 470, 44
_DPI = 72
"""At this resolution a point of type is a unit, so sizes are those of the layout."""

_INK, _DIM, _FAINT, _OFF = "#1d1d1b", "#6f6e69", "#dcdad4", "#8e8d87"
_FRONT, _REFERENCE = "#0b5fa5", "#b8480a"
"""Blue and vermilion stay apart for every kind of colour blindness; shape and fill say the same again."""

_SIZE, _SMALL = 14.0, 12.0


def need_matplotlib() -> None:
    """Refuse where the picture could not be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed, or does not load.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        raise MissingDependencyError("the picture needs matplotlib: pip install 'smartrt[bench]'") from None


def draw(study: dict[str, Any], path: Path) -> None:
    """Write the picture, 2800 pixels wide and to be shown at half of that.

    A panel for each cost that was measured: quality against it on a logarithmic axis, the Pareto front as steps. Points
    on the front are named, others where there is room; what was measured on a noisy machine is hollow.

    Without a variant that has a quality and a cost the picture says so.

    Args:
        study: The result of `smartrt bench study`.
        path: Of the file, PNG. It is written in one step.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: The disk refuses.
    """
    shown = panels(study)
    frames, height = _frames(len(shown))
    sheet = _Sheet.of(height)
    with warnings.catch_warnings():
        # A name may hold letters that the font has not; they become boxes, and the page has the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        _titles(sheet, study)
        for panel, frame in zip(shown, frames, strict=True):
            _panel(sheet, panel, frame)
        if not shown:
            sheet.text(22, _HEAD + 60, "No variant has both a quality and a cost: there is nothing to draw.", _DIM)
        content = io.BytesIO()
        sheet.figure.savefig(content, format="png", metadata={"Title": visible(study["title"])})
    replace_file(path, content.getvalue())


@dataclass(frozen=True)
class _Sheet:
    """The whole picture as one pair of axes in units of the layout, y downwards."""

    figure: Figure
    axes: Axes
    renderer: Any  # a RendererAgg, which has no types
    height: float

    @classmethod
    def of(cls, height: float) -> _Sheet:
        need_matplotlib()
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI * _DENSITY, facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        return cls(figure, axes, renderer, height)

    def text(self, x: float, y: float, text: str, colour: str = _INK, size: float = _SIZE, **how: Any) -> None:
        from matplotlib.patheffects import withStroke

        # A name with two dollar signs is no formula.
        drawn = self.axes.text(x, y, visible(text), color=colour, fontsize=size, parse_math=False, **how)
        drawn.set_path_effects([withStroke(linewidth=3, foreground="white")])  # lines stop short of letters

    def line(self, xs: list[float], ys: list[float], colour: str, width: float, **how: Any) -> None:
        self.axes.plot(xs, ys, color=colour, linewidth=width, **how)

    def measure(self, text: str) -> tuple[float, float]:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=_SIZE)
        width, height, _ = self.renderer.get_text_width_height_descent(visible(text), font, ismath=False)
        return width / _DENSITY, max(height / _DENSITY, _SIZE)


def _frames(how_many: int) -> tuple[list[Box], float]:
    """The panels' frames and the height of the picture: two stand side by side, else the first has its own row."""
    half = (WIDTH - _GUTTER) / 2
    whole, left, right = (0.0, float(WIDTH)), (0.0, half), (half + _GUTTER, float(WIDTH))
    cells = [(0, left), (0, right)] if how_many == 2 else [(0, whole), (1, left), (1, right)][:how_many]
    frames = [
        Box(begin + 70, _HEAD + row * _ROW + 58, end - 22, _HEAD + (row + 1) * _ROW - 62) for row, (begin, end) in cells
    ]
    return frames, _HEAD + (1 + cells[-1][0]) * _ROW + _FOOT if cells else _HEAD + 100 + _FOOT


def _titles(sheet: _Sheet, study: dict[str, Any]) -> None:
    machine = study["latency"]["machine"]
    sheet.text(22, 34, study["title"], size=20, weight="bold")
    computer = f"{machine['cpu']}, {count(machine['cores'], 'core')}, {machine['system']}"
    foot = f"{computer}. Times: {where(study)}. Quality: {study['quality']}."
    key = (
        f"Blue: no other variant is as good for less. Diamond: the reference, {study['reference']}. "
        "Hollow: measured on a noisy machine."
    )
    sheet.text(22, sheet.height - 40, foot, _DIM, _SMALL, va="center")
    sheet.text(22, sheet.height - 20, key, _DIM, _SMALL, va="center")


def _panel(sheet: _Sheet, panel: Panel, frame: Box) -> None:
    plot = Plot.of(panel, frame, sheet.measure, Style(front=5.5, dominated=4.0, across=8))
    for tick in plot.up:
        sheet.line([frame.left, frame.right], [tick.at, tick.at], _FAINT, 0.8, zorder=1)
        sheet.text(frame.left - 9, tick.at, tick.text, _DIM, _SMALL, ha="right", va="center_baseline")
    for tick in plot.across:
        sheet.line([tick.at, tick.at], [frame.bottom, frame.bottom + 5], _DIM, 0.8)
        sheet.text(tick.at, frame.bottom + 16, tick.text, _DIM, _SMALL, ha="center", va="center")
    sheet.line([frame.left, frame.right], [frame.bottom, frame.bottom], _DIM, 0.8)
    unit = f"{panel.cost.unit} ({panel.where})" if panel.where else panel.cost.unit
    sheet.text(frame.left - 48, frame.top - 42, panel.cost.title, weight="bold")
    sheet.text(frame.right, frame.bottom + 38, f"{unit} →", _DIM, _SMALL, ha="right", va="center")
    sheet.text(frame.left - 48, frame.top - 22, "↑ quality", _DIM, _SMALL)
    if plot.better:
        sheet.text(plot.better.left, plot.better.top, BETTER, _DIM, _SMALL, va="top")
    sheet.line([step.x for step in plot.steps], [step.y for step in plot.steps], _FRONT, 1.6, zorder=2)
    for spot in plot.spots:
        _spot(sheet, spot)


def _spot(sheet: _Sheet, spot: Spot) -> None:
    mark = spot.mark
    colour = _REFERENCE if mark.reference else _FRONT if mark.front else _OFF
    sheet.line(
        [spot.at.x], [spot.at.y], colour, 1.6, marker="D" if mark.reference else "o", zorder=5 if mark.front else 4,
        markersize=2 * spot.radius * (0.72 if mark.reference else 1), markerfacecolor="white" if mark.noisy else colour,
        markeredgewidth=1.6,
    )  # fmt: skip
    if spot.label is None:
        return
    box, leader = spot.label.box, spot.label.leader
    if leader:
        xs, ys = [leader.start.x, leader.end.x], [leader.start.y, leader.end.y]
        sheet.line(xs, ys, _OFF, 0.8, zorder=3)
    colour = _INK if mark.front or mark.reference else _DIM
    sheet.text((box.left + box.right) / 2, (box.top + box.bottom) / 2, spot.name, colour, ha="center", va="center")
