"""Axes: where a value lies between the ends of its axis, and which round values get a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARGIN = 0.08
"""Share of the values' range that stays free at both ends."""

_LEAST = 0.001
"""What stays free at the least, as a share of the values themselves: equal values lie in the middle."""

_NOTHING = 1e-9
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9))
_STEPS = (1, 2, 2.5, 5, 10)
_FEWEST = 3


@dataclass(frozen=True)
class Scale:
    """One axis.

    Attributes:
        low, high: Its ends, in the unit of the values.
        log: Whether equal distances are equal ratios.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool = False) -> Scale:
        """An axis that holds all `values` (one at least; of a logarithmic one all above 0) with a margin."""
        low, high = min(values), max(values)
        if log:
            part = max(_MARGIN * math.log(high / low), math.log(1.25))
            return cls(low / math.exp(part), high * math.exp(part), log=True)
        # Differences in the last digits of a float do not get an axis of their own.
        part = max(_MARGIN * (high - low), _LEAST * max(abs(low), abs(high)))
        part = part if part > _NOTHING else 1.0
        return cls(low - part, high + part)

    def at(self, value: float) -> float:
        """Where `value` lies: 0 at the low end, 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values within the axis, three or more if that is possible, `most` at most."""
        if self.log:
            for mantissas in _MANTISSAS:
                found = self._decades(mantissas)
                if _FEWEST <= len(found) <= most:
                    return found
        return self._even(most)

    def _decades(self, mantissas: Sequence[float]) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [float(f"{mantissa}e{power}") for power in powers for mantissa in mantissas]
        return [value for value in values if self.low <= value <= self.high]

    def _even(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        power = math.floor(math.log10(rough))
        step = next(each * 10.0**power for each in _STEPS if each * 10.0**power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        # Rounded, or 3 * 0.1 would be written with its binary tail.
        values = (float(f"{index * step:.12g}") for index in range(first, last + 1))
        return [value for value in values if self.low <= value <= self.high]
