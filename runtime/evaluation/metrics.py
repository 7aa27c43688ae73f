"""Ranking metrics at a cut, per query, and the interval of a difference of their means.

nDCG has linear gain: ``sum_i gain_i / log2(i + 1)`` over ranks i from 1, divided by the same sum of the
best possible order (Järvelin and Kekäläinen 2002; the form trec_eval and pytrec_eval compute).
"""

from __future__ import annotations

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
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for i in range(0, RESAMPLES, 500):
        drawn = generator.integers(len(differences), size=(500, len(differences)))
        means[i : i + 500] = differences[drawn].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, start=1)))
