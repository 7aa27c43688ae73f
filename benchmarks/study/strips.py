"""Pictures as small as a word, for the cells of tables: a distribution, and an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .markup import Html, tag
from .quantities import signed, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scale import Scale

_WIDTH, _HEIGHT = 150, 14  # pixels, as in page.css
_MIDDLE = _HEIGHT // 2


def distribution(samples: Sequence[float], scale: Scale) -> Html:
    """Calls of a row: a line from the 1st to the 99th percentile, a bar over the middle half, a stroke at the median.

    Args:
        samples: Milliseconds, one at least.
        scale: Of all rows of the table, so that they can be compared.
    """
    low, high = ends_of(samples)
    first, median, third = (float(value) for value in np.percentile(samples, (25, 50, 75)))
    left, right, begin, end, middle = (_x(scale, value) for value in (low, high, first, third, median))
    return _strip(
        f"{significant(low)} to {significant(high)} ms, middle half {significant(first)} to {significant(third)} ms",
        tag("path", d=f"M{left:.1f} {_MIDDLE}H{right:.1f}"),
        tag("rect", x=round(begin, 1), y=3, width=round(max(end - begin, 1.0), 1), height=8),
        tag("path", d=f"M{middle:.1f} 1V{_HEIGHT - 1}", class_="median"),
    )


def ends_of(samples: Sequence[float]) -> tuple[float, float]:
    """What a `distribution` of these samples reaches from and to."""
    low, high = np.percentile(samples, (1, 99))
    return float(low), float(high)


def interval(low: float, middle: float, high: float, scale: Scale, *, sure: bool) -> Html:
    """A difference with its interval, and where zero is."""
    left, dot, right, zero = (_x(scale, value) for value in (low, middle, high, 0.0))
    return _strip(
        f"{signed(middle)}, {signed(low)} to {signed(high)}",
        tag("path", d=f"M{zero:.1f} 0V{_HEIGHT}", class_="zero"),
        tag("path", d=f"M{left:.1f} {_MIDDLE}H{right:.1f}"),
        tag("circle", cx=round(dot, 1), cy=_MIDDLE, r=3, class_="sure" if sure else "unsure"),
    )


def _x(scale: Scale, value: float) -> float:
    return 1 + (_WIDTH - 2) * scale.at(value)


def _strip(about: str, *shapes: Html) -> Html:
    # A page has hundreds: the size stands in page.css.
    return tag("svg", tag("title", about), *shapes, class_="strip", role="img")
