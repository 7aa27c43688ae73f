"""From approximate scores to the true top k, with ties in a defined order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

MARGIN = 1e-5
"""Twice the error a float32 score may have per unit of weight (2e-6), and room to spare."""


def top_k(
    scores: NDArray[np.floating[Any]],
    k: int,
    exact: Callable[[int], float],
    margin: float = MARGIN,
    tie: Callable[[int], bytes] | None = None,
) -> list[tuple[int, float]]:
    """The k best of `scores`, ordered by their exact score.

    Every candidate that the error of a float32 score could have lifted into or pushed out of the top k
    is scored again with `exact`. Equal exact scores keep the order of the candidates: for an index that
    is the order of insertion.

    Args:
        scores: ``[n]``, each within `margin` / 2 of ``exact(i)``.
        k: How many to return; all if there are fewer.
        exact: The score of one candidate in float64.
        margin: See `scores`.
        tie: Equal scores are ordered by this key of a candidate instead (see `hash_tie`).

    Returns:
        ``(candidate, exact score)``, best first.
    """
    k = min(k, len(scores))
    if not k:
        return []
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k] - margin
    finalists = [(int(i), exact(int(i))) for i in np.flatnonzero(scores >= threshold)]
    finalists.sort(key=lambda finalist: (-finalist[1], tie(finalist[0]) if tie else b"", finalist[0]))
    return finalists[:k]


def best(scores: NDArray[np.floating[Any]], count: int) -> NDArray[np.int64]:
    """The `count` best of `scores`, rising; equal scores keep the order of the candidates."""
    if count >= len(scores):
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > last)
    return np.sort(np.concatenate([above, np.flatnonzero(scores == last)[: count - len(above)]]))


def still_possible(
    upper: NDArray[np.floating[Any]],
    k: int,
    score: Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]],
    margin: float = MARGIN,
) -> NDArray[np.int64]:
    """Candidates among which the k best are, given an upper bound on the score of each.

    The most promising are scored first; once k of them are better than what the bounds allow the rest, the rest is out.

    Args:
        upper: ``[n]``; the true score of a candidate is not above it.
        k: How many will be wanted.
        score: Scores of some candidates, each within `margin` / 2 of the true one.
        margin: See `score`.

    Returns:
        The candidates that were scored, rising.
    """
    order = np.argsort(-upper, kind="stable")
    falling = upper[order]
    done, stop = 0, min(max(2 * k, _FIRST), len(order))
    found = np.zeros(0, np.float64)
    while done < stop:
        found = np.concatenate([found, score(np.sort(order[done:stop]))])
        done = stop
        if done >= k:
            threshold = np.partition(found, done - k)[done - k] - margin
            rest = int(np.searchsorted(-falling, -threshold, side="right"))
            stop = min(max(rest, done), 4 * done)
    return np.sort(order[:done])


_FIRST = 16
"""Candidates scored before the first look at the bounds: fewer are not worth a call."""


def hash_tie(query: str, candidate: str) -> bytes:
    """The order of equal scores in SMART's evaluation: an 8-byte BLAKE2b of both names, each ended by a zero byte."""
    return hashlib.blake2b(f"{query}\0{candidate}\0".encode(), digest_size=8).digest()


def check_k(k: int) -> int:
    """Refuse a k that no ranking has."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"k must be a whole number, got {k!r}")
    if k < 1:
        raise InputError(f"k={k}: ask for at least 1")
    return int(k)
