"""From approximate scores to the true top k, with ties in a defined order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MARGIN = 1e-5
"""Twice the error a float32 score may have per unit of weight (2e-6), and room to spare."""


def top_k(
    scores: NDArray[np.float32], k: int, exact: Callable[[int], float], margin: float = MARGIN
) -> list[tuple[int, float]]:
    """The k best of `scores`, ordered by their exact score.

    Every candidate that the error of a float32 score could have lifted into or pushed out of the top k
    is scored again with `exact`. Equal exact scores keep the order of the candidates: for an index that
    is the order of insertion.

    Args:
        scores: ``[n]`` float32, each within `margin` / 2 of ``exact(i)``.
        k: How many to return, 1 to n.
        exact: The score of one candidate in float64.
        margin: See `scores`.

    Returns:
        ``(candidate, exact score)``, best first.

    Raises:
        InputError: k is not between 1 and n.
    """
    check_k(k, len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k] - margin
    finalists = [(int(i), exact(int(i))) for i in np.flatnonzero(scores >= threshold)]
    finalists.sort(key=lambda finalist: (-finalist[1], finalist[0]))
    return finalists[:k]


def check_k(k: int, candidates: int) -> None:
    """Refuse a k that no ranking of so many candidates has."""
    if not isinstance(k, int | np.integer):
        raise InputError(f"k must be a whole number, got {k!r}")
    if not candidates:
        raise InputError(f"k={k}, but there is no document: add some first")
    if not 1 <= k <= candidates:
        raise InputError(f"k={k}, but there are {candidates} documents: ask for 1 to {candidates}")
