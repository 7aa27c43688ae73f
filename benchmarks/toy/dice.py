"""Chance that is the same on every machine and in every version of Python and NumPy."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Draws from one stream, named by a text.

    Only `random.Random.random` is asked: it is the one method whose numbers Python promises to keep. What `shuffle`
    or a NumPy generator returns for a seed may change with a release.
    """

    def __init__(self, stream: str) -> None:
        self._next = random.Random(stream).random  # noqa: S311  (reproducible on purpose)

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both possible."""
        return low + int(self._next() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, all equally likely."""
        return choices[self.between(0, len(choices) - 1)]

    def shuffled(self, items: Sequence[T]) -> tuple[T, ...]:
        """All of `items` in an order of chance (Durstenfeld 1964, algorithm 235)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.between(0, last)
            order[last], order[other] = order[other], order[last]
        return tuple(order)

    def sample(self, items: Sequence[T], count: int) -> tuple[T, ...]:
        """`count` of `items`, none twice."""
        return self.shuffled(items)[:count]

    def derangement(self, count: int) -> tuple[int, ...]:
        """A permutation of ``range(count)`` without a fixed point, all equally likely; `count` is at least 2.

        By rejection: about one permutation in e is a derangement.
        """
        while True:
            order = self.shuffled(range(count))
            if all(place != at for at, place in enumerate(order)):
                return order
