"""A chart in its panel: title, axes, grid, series, legend and notes, all in muted colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import text_width

if TYPE_CHECKING:
    from .canvas import Canvas, Colour
    from .charts import Chart, Point, Series
    from .layout import Box, Panel

MUTED: tuple[Colour, ...] = ((120, 132, 146), (168, 158, 140), (146, 160, 148), (158, 146, 160), (176, 182, 190))
_INK: Colour = (62, 64, 68)
_FAINT: Colour = (118, 120, 124)
_GRID: Colour = (222, 224, 227)
_FRAME: Colour = (200, 203, 207)
_SMALL, _TITLE = 7.5, 10.0


def draw_panel(canvas: Canvas, panel: Panel) -> None:
    """Draw everything of `panel` but its marker and its label box."""
    frame, plot, chart = panel.frame, panel.plot, panel.chart
    canvas.rectangle([(frame.left + 2, frame.top + 2), (frame.right - 2, frame.bottom - 2)], None, _FRAME)
    canvas.text((frame.left + 8, frame.top + 15), chart.title, _TITLE, _INK)
    after = frame.left + 13 + text_width(chart.title, _TITLE)
    canvas.text((after, frame.top + 15), chart.unit, _SMALL, _FAINT)
    _axes(canvas, plot, chart)
    for at, series in enumerate(chart.series):
        _PLOTTERS[chart.kind](canvas, plot, series, at, len(chart.series))
    for note, place in chart.notes:
        canvas.text(plot.at(*place), note, _SMALL, _FAINT)
    _legend(canvas, frame, chart)


def _axes(canvas: Canvas, plot: Box, chart: Chart) -> None:
    for at, number in enumerate(chart.ticks):
        _, y = plot.at(0, 1000 * at // (len(chart.ticks) - 1))
        canvas.line([(plot.left, y), (plot.right, y)], _GRID, 0.5)
        canvas.line([(plot.left - 3, y), (plot.left, y)], _INK, 0.5)
        canvas.text((plot.left - 5, y), number, _SMALL, _INK, "rm")
    for at, word in enumerate(chart.categories):
        x, _ = plot.at(1000 * (2 * at + 1) // (2 * len(chart.categories)), 0)
        canvas.line([(x, plot.top), (x, plot.bottom)], _GRID, 0.5)
        canvas.line([(x, plot.bottom), (x, plot.bottom + 3)], _INK, 0.5)
        canvas.text((x, plot.bottom + 8), word, _SMALL, _INK, "mm")
    canvas.line([(plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom)], _INK, 1)


def _legend(canvas: Canvas, frame: Box, chart: Chart) -> None:
    x, y = frame.left + 10.0, frame.bottom - 10
    for series in chart.series:
        canvas.rectangle([(x, y - 3), (x + 7, y + 3)], MUTED[series.colour])
        canvas.text((x + 10, y), series.name, _SMALL, _INK, "lm")
        x += 18 + text_width(series.name, _SMALL)


def _bars(canvas: Canvas, plot: Box, series: Series, at: int, count: int) -> None:
    room = 1000 / len(series.points)
    width = 0.72 * room / count
    for across, up in series.points:
        left = round(across - 0.36 * room + at * width)
        corners = [plot.at(left, up), plot.at(round(left + 0.9 * width), 0)]
        canvas.rectangle(corners, MUTED[series.colour])


def _lines(canvas: Canvas, plot: Box, series: Series, _at: int, _count: int) -> None:
    points = _placed(plot, series.points)
    canvas.line(points, MUTED[series.colour], 1.5)
    for point in points[::3]:
        canvas.circle(point, 2, MUTED[series.colour])


def _area(canvas: Canvas, plot: Box, series: Series, at: int, count: int) -> None:
    points = _placed(plot, series.points)
    if at == 0:  # one area behind, the others as lines over it: areas would hide each other
        canvas.polygon([plot.at(0, 0), *points, plot.at(1000, 0)], _light(MUTED[series.colour]))
    _lines(canvas, plot, series, at, count)


def _scatter(canvas: Canvas, plot: Box, series: Series, at: int, _count: int) -> None:
    for x, y in _placed(plot, series.points):
        if at == 0:
            canvas.circle((x, y), 2.2, MUTED[series.colour])
        else:
            canvas.line([(x - 2.5, y), (x + 2.5, y)], MUTED[series.colour])
            canvas.line([(x, y - 2.5), (x, y + 2.5)], MUTED[series.colour])


_PLOTTERS = {"bars": _bars, "lines": _lines, "area": _area, "scatter": _scatter}


def _placed(plot: Box, points: tuple[Point, ...]) -> list[tuple[float, float]]:
    return [plot.at(*point) for point in points]


def _light(colour: Colour) -> Colour:
    red, green, blue = ((part + 2 * 255) // 3 for part in colour)
    return red, green, blue
