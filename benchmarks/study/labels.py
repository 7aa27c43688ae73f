"""Where the names of points are written so that none covers another name or a point. Pixels, y downwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .geometry import Box, Line, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLEAR = 2.0
"""Pixels that stay free between a name and a point."""

APART = 7.0
"""Pixels between two names on one line: nearer, they would read as one."""

_OFF = 4.0
"""Pixels between a name and a line that it stands above or below."""

_FAR = 9.0
"""A name that is further from its point than this is joined to it by a line."""

_GAPS = (3.0, 8.0, 15.0, 24.0, 35.0, 48.0, 64.0, 84.0, 110.0, 140.0, 180.0)
_SIDES = (
    # Beside the point is where a reader looks first, then a little higher or lower, then above and below.
    (2, 0), (-2, 0), (2, -1), (-2, -1), (2, 1), (-2, 1), (0, -2), (0, 2),
    (1, -2), (-1, -2), (1, 2), (-1, 2), (2, -2), (-2, -2), (2, 2), (-2, 2),
)  # fmt: skip
"""Across and down. 2 is clear of the point, 0 centred on it; across 1 begins at it, down 1 ends just short of it."""


@dataclass(frozen=True)
class Wanted:
    """A point and the size of the name it should get.

    Attributes:
        point: Its centre.
        radius: Of what is drawn there.
        width, height: Of the name.
        reach: Pixels that the name may be away from the point; beyond, it gets none.
        optional: Whether the point rather has no name than one that a line runs through.
    """

    point: Place
    radius: float
    width: float
    height: float
    reach: float = _GAPS[-1]
    optional: bool = False

    @property
    def mark(self) -> Box:
        """What the point itself covers."""
        return Box.around(self.point, 2 * self.radius, 2 * self.radius)


class Label(NamedTuple):
    """Where a name goes, the line that joins it to its point if it is away from it, and how many lines strike it."""

    box: Box
    leader: Line | None
    struck: int

    def suits(self, other: Label) -> bool:
        """Whether both can be on one picture: apart, and no leader through a name or another leader."""
        if self.box.grown(APART, CLEAR).overlaps(other.box):
            return False
        if self.leader and (
            self.leader.crosses(other.box.grown(CLEAR)) or (other.leader and self.leader.meets(other.leader))
        ):
            return False
        return not (other.leader and other.leader.crosses(self.box.grown(CLEAR)))


def place(
    wanted: Sequence[Wanted], frame: Box, taken: Sequence[Box] = (), lines: Sequence[Line] = ()
) -> list[Label | None]:
    """Give every point its name, one after the other, each at the best place that is still free.

    Where that leaves a point without a good place that is not `optional`, it starts again with that one first.

    Args:
        wanted: The points; who comes first chooses first.
        frame: No name leaves it.
        taken: Boxes that names keep clear of, beside the points and other names.
        lines: Names keep off these where they can, however far they have to go.

    Returns:
        A label for each point, None where no free place is within its reach.
    """
    choices = [_choices(index, wanted, frame, taken, lines) for index in range(len(wanted))]
    order = list(range(len(wanted)))
    best: list[Label | None] = []
    fewest = len(wanted) + 1
    for _ in wanted:
        labels = _greedy(choices, order)
        lost = [index for index in order if not wanted[index].optional and not _good(labels[index])]
        if len(lost) < fewest:
            best, fewest = labels, len(lost)
        if not lost:
            break
        order.remove(lost[0])
        order.insert(0, lost[0])
    return best


def _good(label: Label | None) -> bool:
    return label is not None and not label.struck


def _greedy(choices: Sequence[Sequence[Label]], order: Sequence[int]) -> list[Label | None]:
    labels: list[Label | None] = [None] * len(choices)
    done: list[Label] = []
    for index in order:
        found = next((label for label in choices[index] if all(label.suits(other) for other in done)), None)
        if found is not None:
            labels[index] = found
            done.append(found)
    return labels


def _choices(
    index: int, wanted: Sequence[Wanted], frame: Box, taken: Sequence[Box], lines: Sequence[Line]
) -> list[Label]:
    """Every place where the name of a point covers no point and nothing that is taken, the best first."""
    mine, marks = wanted[index], [each.mark for each in wanted]
    # A point that lies on another one cannot be left without crossing it.
    passed = [*taken, *(mark for mark in marks if not mark.overlaps(mine.mark))]
    blocked = [*taken, *marks]
    found = []
    for rank, (box, leader) in enumerate(_candidates(mine)):
        if not box.inside(frame) or any(box.grown(CLEAR).overlaps(other) for other in blocked):
            continue
        if leader and any(leader.crosses(other) for other in passed):
            continue
        label = Label(box, leader, _struck(box, leader, lines))
        if not (label.struck and mine.optional):
            found.append(((label.struck, _cost(label, rank, mine, wanted), rank), label))
    return [label for _, label in sorted(found, key=lambda each: each[0])]


def _candidates(wanted: Wanted) -> Iterator[tuple[Box, Line | None]]:
    """Boxes of the name and their leaders: nearest first, all sides at each distance."""
    for gap in _GAPS:
        if gap > wanted.reach:
            return
        away = wanted.radius + gap
        steps_x = (0.0, wanted.width / 2 - wanted.radius, wanted.width / 2 + away)
        steps_y = (0.0, wanted.height / 2 + _OFF, wanted.height / 2 + away)
        for across, down in _SIDES:
            x = wanted.point.x + math.copysign(steps_x[abs(across)], across)
            y = wanted.point.y + math.copysign(steps_y[abs(down)], down)
            box = Box.around(Place(x, y), wanted.width, wanted.height)
            yield box, _leader(wanted, box)


def _leader(wanted: Wanted, box: Box) -> Line | None:
    end = box.nearest(wanted.point)
    distance = math.dist(wanted.point, end)
    if distance <= wanted.radius + _FAR:
        return None
    share = (wanted.radius + 1) / distance
    start = Place(*(a + share * (b - a) for a, b in zip(wanted.point, end, strict=True)))
    return Line(start, end)


def _struck(box: Box, leader: Line | None, lines: Sequence[Line]) -> int:
    """How many lines run through the name or its leader, which would seem to end there."""
    clear = box.grown(1)
    return sum(line.crosses(clear) or (leader is not None and line.meets(leader)) for line in lines)


def _cost(label: Label, rank: int, mine: Wanted, wanted: Sequence[Wanted]) -> int:
    """The rank in `_candidates`; two distances more if the name seems to belong to another point."""
    own = math.dist(mine.point, label.box.nearest(mine.point))
    strange = label.leader is None and any(
        math.dist(each.point, label.box.nearest(each.point)) < own for each in wanted if each is not mine
    )
    return rank + 2 * len(_SIDES) * strange
