"""How many of a run's differences are more than luck: Holm's correction over all of its comparisons."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smartrt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHA = 0.05
"""Below this adjusted p-value a difference is called significant."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: comparing each with alpha keeps the family-wise error rate at alpha.

    With m p-values in rising order, ``adjusted(i) = max over j <= i of min(1, (m - j + 1) p(j))``, i and j from 1
    (Holm, "A simple sequentially rejective multiple test procedure", 1979). It assumes nothing about how the
    comparisons depend on each other, and here they all share a baseline.

    Args:
        p_values: Of every comparison that was made, whatever came of it.

    Raises:
        InputError: One of them is not between 0 and 1.
    """
    for p in p_values:
        if not (math.isfinite(p) and 0 <= p <= 1):
            raise InputError(f"p-values lie between 0 and 1, got {p!r}")
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted
