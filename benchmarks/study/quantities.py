"""How numbers are written: three significant digits, decimal units, an en dash where there is no number."""

from __future__ import annotations

import math

NONE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
INTERVAL = "95\N{NO-BREAK SPACE}% interval"
_MINUS = "\N{MINUS SIGN}"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def significant(value: float | None, digits: int = 3) -> str:
    """``0.283``, ``8.10``, ``24.1``, ``1,234``: so many significant digits, and all of those before the point."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{min(decimals, 9)}f}".replace("-", _MINUS)


def size(count: float | None) -> str:
    """Bytes in decimal units: ``1.54 kB``, ``91.0 MB``."""
    if count is None or not math.isfinite(count):
        return NONE
    power = 0
    # 999.6 kB would be written as 1,000 kB.
    while power < len(_UNITS) - 1 and float(f"{count / 1000**power:.3g}") >= 1000:
        power += 1
    return f"{significant(count / 1000**power) if power else f'{count:.0f}'} {_UNITS[power]}"


def tick_size(count: float) -> str:
    """Bytes on an axis, whose values are round: ``1 kB``, ``50 kB``."""
    power = max(0, min(len(_UNITS) - 1, math.floor(math.log10(count) / 3 + 1e-9)))
    return f"{count / 1000**power:g} {_UNITS[power]}"


def times(ratio: float | None) -> str:
    """A ratio with its sign, such as 4.20 times."""
    return NONE if ratio is None else f"{significant(ratio)}{TIMES}"


def span(limits: tuple[float, float] | list[float] | None, digits: int = 3) -> str:
    """Both ends of an interval: ``3.90 to 4.51``; nothing if they are one, as of what is compared with itself."""
    return (
        ""
        if limits is None or limits[0] == limits[1]
        else f"{significant(limits[0], digits)} to {significant(limits[1], digits)}"
    )


def signed(value: float, decimals: int = 4) -> str:
    """A difference with its sign, ``+0.0040``, but ``0.0000`` where that is all there is to see."""
    shown = f"{value:+.{decimals}f}".replace("-", _MINUS)
    return shown[1:] if not shown.strip(f"+{_MINUS}0.") else shown


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 thread``, ``2 threads``, ``1,000 queries``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
