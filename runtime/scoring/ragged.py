"""Ragged arrays cut into groups of 8 rows, and into runs that fit a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GROUP = 8
"""Rows of a group: the maximum over a group is taken as one pass over contiguous memory."""


def grouped_rows(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows of a ragged array make up the groups: ``[groups, 8]`` row numbers, and ``[n + 1]`` group starts.

    Raises:
        InputError: An item has no row.
    """
    lengths = np.diff(offsets)
    if not lengths.all():
        raise InputError(
            f"document {int(np.flatnonzero(lengths == 0)[0])} has no token vector; an encoder puts the pooled vector "
            "there, do the same"
        )
    starts = np.zeros(len(offsets), np.int64)
    np.cumsum(-(-lengths // GROUP), out=starts[1:])
    item = np.repeat(np.arange(len(lengths)), np.diff(starts))
    place = (np.arange(starts[-1]) - starts[item])[:, None] * GROUP + np.arange(GROUP)
    return np.where(place < lengths[item, None], place, 0) + offsets[item, None], starts


def spans(offsets: NDArray[np.int64], budget: int) -> Iterator[tuple[int, int]]:
    """Cut the items of `offsets [n + 1]` into runs of at most `budget` rows, a longer item in a run alone."""
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + budget, side="right")) - 1)
        yield first, last
        first = last
