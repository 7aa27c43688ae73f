"""Which of two scorers is faster here, found out on the first sets that both of them score."""

from __future__ import annotations

import math
import statistics
import threading
import time
import warnings
from typing import TYPE_CHECKING, Protocol

from ..errors import DeviceError, DeviceWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..types import TokenStates
    from .storage import StoredTokens

_TRIALS = 3
"""Sets of a size that both score. The first one may wake a device up; the median leaves it out."""


class LateScorer(Protocol):
    """Whatever computes late scores as `stored.late_of` does, within 2e-6 of float64 for unit vectors."""

    def __call__(
        self, queries: TokenStates, tokens: StoredTokens, chosen: NDArray[np.int64] | None = None, *, threads: int
    ) -> NDArray[np.float32]:
        """``[n, m]`` scores of n queries with all m documents, or with the chosen ones in the chosen order."""


class Quicker:
    """Two scorers as one: sets go to the one that was faster for sets of their size.

    A size is dim, query tokens and groups of stored rows, the last two to a power of two: what a GPU costs a set is
    mostly the way to it, what it gains grows with the products. The choice holds for the life of this object. Both
    score within the same error, so it never changes the answer of a search. Nor does a device that fails: sets of that
    size are scored here from then on, and the first time a `DeviceWarning` says so.

    Args:
        here: Scores the sets of a size that both score; those scores are returned.
        there: The other one, which may raise DeviceError.
        clock: Seconds, as `time.perf_counter`.
    """

    def __init__(self, here: LateScorer, there: LateScorer, clock: Callable[[], float] = time.perf_counter) -> None:
        self._here, self._there, self._clock = here, there, clock
        self._ratios: dict[tuple[int, ...], list[float]] = {}
        self._failing = threading.Lock()
        self._failed = False

    def __call__(
        self, queries: TokenStates, tokens: StoredTokens, chosen: NDArray[np.int64] | None = None, *, threads: int
    ) -> NDArray[np.float32]:
        """See `LateScorer`."""
        ratios = self._ratios.setdefault(_size(queries, tokens, chosen), [])
        try:
            if len(ratios) < _TRIALS:
                return self._both(ratios, queries, tokens, chosen, threads)
            if statistics.median(ratios[:_TRIALS]) < 1:
                return self._there(queries, tokens, chosen, threads=threads)
        except DeviceError as error:
            ratios[:] = [math.inf] * _TRIALS  # it takes forever
            self._warn(error)
        return self._here(queries, tokens, chosen, threads=threads)

    def _both(
        self,
        ratios: list[float],
        queries: TokenStates,
        tokens: StoredTokens,
        chosen: NDArray[np.int64] | None,
        threads: int,
    ) -> NDArray[np.float32]:
        """Score on both, and add how long the other one took, in times of the one here."""
        scorers = [self._here, self._there]
        if len(ratios) % 2:  # who comes second finds the documents in the cache
            scorers.reverse()
        scores, seconds = {}, {}
        for scorer in scorers:
            started = self._clock()
            scores[scorer] = scorer(queries, tokens, chosen, threads=threads)
            seconds[scorer] = self._clock() - started
        ratios.append(seconds[self._there] / max(seconds[self._here], 1e-9))
        return scores[self._here]

    def _warn(self, error: DeviceError) -> None:
        with self._failing:
            first, self._failed = not self._failed, True
        if first:
            warnings.warn(
                f"the device failed at late interaction: {error}. Sets of this size, and of others it fails at, are "
                "scored on the CPU from now on",
                DeviceWarning,
                stacklevel=3,
            )


def _size(queries: TokenStates, tokens: StoredTokens, chosen: NDArray[np.int64] | None) -> tuple[int, ...]:
    starts = tokens.starts
    groups = int(starts[-1] if chosen is None else (starts[chosen + 1] - starts[chosen]).sum())
    return tokens.dim, len(queries.values).bit_length(), groups.bit_length()
