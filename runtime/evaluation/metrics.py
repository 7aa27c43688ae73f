"""Ranking metrics at a cut, per query, and the interval and the p-value of a difference of their means.

nDCG has linear gain: ``sum_i gain_i / log2(i + 1)`` over ranks i from 1, divided by the same sum of the
best possible order (Järvelin and Kekäläinen 2002; the form trec_eval and pytrec_eval compute).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CUT = 10
RESAMPLES = 10_000


def ndcg(ranking: Sequence[int], gains: dict[int, float]) -> float:
    """nDCG of the first `CUT` positions of `ranking`."""
    best = sorted(gains.values(), reverse=True)[:CUT]
    return _discounted([gains.get(i, 0.0) for i in ranking[:CUT]]) / _discounted(best)


def recall(ranking: Sequence[int], gains: dict[int, float]) -> float:
    """Share of the relevant documents among the first `CUT` of `ranking`."""
    return sum(i in gains for i in ranking[:CUT]) / len(gains)


def reciprocal_rank(ranking: Sequence[int], gains: dict[int, float]) -> float:
    """1 / rank of the first relevant document, 0 if none is among the first `CUT`."""
    return next((1 / rank for rank, i in enumerate(ranking[:CUT], start=1) if i in gains), 0.0)


METRICS = {f"ndcg@{CUT}": ndcg, f"recall@{CUT}": recall, f"mrr@{CUT}": reciprocal_rank}


def paired_bootstrap(differences: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of per-query differences, by resampling queries.

    Args:
        differences: ``[queries]``, one system minus the other.
        seed: The same seed gives the same interval.
    """
    return _interval(_resampled_means(differences, seed))


@dataclass(frozen=True)
class PairedTest:
    """What resampling the queries says about the mean of their differences.

    Attributes:
        low: Lower end of the 95 % percentile interval.
        high: Upper end.
        p: Two-sided, that the mean is not 0.
    """

    low: float
    high: float
    p: float


def paired_test(differences: NDArray[np.float64], seed: int = 0) -> PairedTest:
    """The interval of `paired_bootstrap`, and from the same resamples the two-sided p-value of "no difference".

    The resamples are shifted so that their mean is 0, as the null hypothesis has it (Noreen 1989; Efron and Tibshirani
    1993, 16.4). With b of the n of them at least as far from 0 as the mean that was observed, ``p = (b + 1) / (n + 1)``
    (Davison and Hinkley 1997, 4.2): never 0. It is never below ``2^(1 - queries)`` either, what a sign test says of
    queries that all agree: a resample of two equal differences does not vary, and would prove anything.

    Args:
        differences: ``[queries]`` float64, one system minus the other; at least one query, all finite.
        seed: The same seed gives the same result.
    """
    if not differences.any():  # identical systems: there is nothing to resample
        return PairedTest(0.0, 0.0, 1.0)
    means = _resampled_means(differences, seed)
    observed = differences.mean()
    # A tie that rounding breaks counts as a tie: nDCG takes few values when there are few queries.
    beyond = int(np.count_nonzero(np.abs(means - observed) >= abs(observed) - 1e-12))
    low, high = _interval(means)
    return PairedTest(low, high, max((beyond + 1) / (RESAMPLES + 1), 2.0 ** (1 - len(differences))))


def _resampled_means(differences: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """``[RESAMPLES]`` means of as many queries, drawn with replacement."""
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for i in range(0, RESAMPLES, 500):
        drawn = generator.integers(len(differences), size=(500, len(differences)))
        means[i : i + 500] = differences[drawn].mean(axis=1)
    return means


def _interval(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, start=1)))
