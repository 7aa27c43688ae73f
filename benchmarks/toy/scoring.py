"""Decisions between two pages, the share of right ones, and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartrt.errors import InputError
from smartrt.evaluation.metrics import RESAMPLES, paired_bootstrap
from smartrt.ranking import MARGIN

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from smartrt.fusion import Weights

CHANCE = 0.5
INTERVAL = f"95 % bootstrap over pairs, {RESAMPLES} resamples"
TIES = f"a tie counts one half: scores no further apart than float32 may be wrong, {MARGIN:g} per unit of weight"


@dataclass(frozen=True)
class Accuracy:
    """What one system decided.

    Attributes:
        accuracy: Share of right decisions, a tie being one half.
        interval: 95 %, from resampling pairs.
        at_chance: Whether 0.5 lies inside the interval: nothing was shown.
        ties: How many decisions were one.
    """

    accuracy: float
    interval: list[float]
    at_chance: bool
    ties: int

    @classmethod
    def of(cls, outcomes: NDArray[np.float64]) -> Accuracy:
        """Summarise outcomes.

        The queries of a pair share its two pages and are not independent: an interval over single decisions would be
        too narrow. So whole pairs are drawn (the cluster bootstrap; Davison and Hinkley 1997, section 3.8).

        Args:
            outcomes: ``[pairs, queries]`` float64 of `decide`.

        Raises:
            InputError: There are fewer than 2 pairs, or no query.
        """
        if outcomes.ndim != 2 or len(outcomes) < 2 or not outcomes.shape[1]:
            raise InputError(f"an interval over pairs needs at least 2 pairs, got outcomes of {list(outcomes.shape)}")
        # All pairs have as many queries, so the mean over pairs of their means is the mean over decisions.
        low, high = paired_bootstrap(outcomes.mean(axis=1))
        return cls(float(outcomes.mean()), [low, high], low <= CHANCE <= high, int((outcomes == CHANCE).sum()))


def decide(scores: NDArray[np.floating[Any]], weights: Weights) -> NDArray[np.float64]:
    """Decide between the positive page and the negative one: 1 is right, 0 wrong, 1/2 a tie.

    Right is a positive page that scores strictly higher, by more than rounding can account for. Who sees the tokens of
    a page and not their order scores both pages the same, and must not be right or wrong by the last bit of a sum.

    Args:
        scores: ``[queries, 2]``, the positive page first.
        weights: What the scores were fused with: the error of a score grows with them.

    Returns:
        ``[queries]`` float64.

    Raises:
        InputError: The shape is another one, or a score is not finite.
    """
    if scores.ndim != 2 or scores.shape[1] != 2 or not np.isfinite(scores).all():
        raise InputError(f"decisions need finite scores [queries, 2], got {scores.dtype} {list(scores.shape)}")
    lead = scores[:, 0].astype(np.float64) - scores[:, 1]
    tied = np.abs(lead) <= MARGIN * (abs(weights.pooled) + abs(weights.late))
    return np.where(tied, CHANCE, lead > 0).astype(np.float64)
