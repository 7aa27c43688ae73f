"""Places, boxes and lines on paper. Pixels, y downwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A point on the paper."""

    x: float
    y: float


@dataclass(frozen=True)
class Box:
    """A rectangle with its sides along the axes."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, centre: Place, width: float, height: float) -> Box:
        """The box of that size about `centre`."""
        return cls(centre.x - width / 2, centre.y - height / 2, centre.x + width / 2, centre.y + height / 2)

    def grown(self, across: float, down: float | None = None) -> Box:
        """The box with `across` more on both sides, and `down` (None: the same) above and below."""
        more = across if down is None else down
        return Box(self.left - across, self.top - more, self.right + across, self.bottom + more)

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def inside(self, other: Box) -> bool:
        """Whether no part of it is outside of `other`."""
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom

    def nearest(self, place: Place) -> Place:
        """The place in the box that is nearest to `place`."""
        return Place(min(max(place.x, self.left), self.right), min(max(place.y, self.top), self.bottom))


class Line(NamedTuple):
    """A straight line between two places."""

    start: Place
    end: Place

    def crosses(self, box: Box) -> bool:
        """Whether any of the line is within `box` (Liang and Barsky's clipping)."""
        enter, leave = 0.0, 1.0
        for begin, way, low, high in (
            (self.start.x, self.end.x - self.start.x, box.left, box.right),
            (self.start.y, self.end.y - self.start.y, box.top, box.bottom),
        ):
            if way == 0:
                if not low < begin < high:
                    return False
                continue
            near, far = sorted(((low - begin) / way, (high - begin) / way))
            enter, leave = max(enter, near), min(leave, far)
        return enter < leave

    def meets(self, other: Line) -> bool:
        """Whether each line has its ends on both sides of the other one."""
        return self._parts(other) and other._parts(self)

    def _parts(self, other: Line) -> bool:
        across, down = self.end.x - self.start.x, self.end.y - self.start.y
        sides = [across * (end.y - self.start.y) - down * (end.x - self.start.x) for end in other]
        return min(sides) < 0 < max(sides)
