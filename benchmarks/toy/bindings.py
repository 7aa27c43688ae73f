"""What is bound to what: markers, codes, the two pages of a pair, and the set."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from dataclasses import dataclass
from functools import cached_property

from smartrt.errors import InputError

from .dice import Dice
from .layout import PANELS, Layout

COLOURS = ("red", "blue", "green", "orange", "purple")
SHAPES = ("star", "circle", "square", "triangle", "diamond")

LETTERS = "ACEFHJKMPQRTWXY"
DIGITS = "34679"
"""A code is a letter, a digit, a letter. Left out is whatever a small print makes another: O, D and 0, I, L and 1."""


@dataclass(frozen=True)
class Marker:
    """A coloured shape, of `COLOURS` and `SHAPES`."""

    colour: str
    shape: str

    def __str__(self) -> str:
        """As a query names it: ``red star``."""
        return f"{self.colour} {self.shape}"


MARKERS = tuple(itertools.starmap(Marker, itertools.product(COLOURS, SHAPES)))
CODES = tuple(map("".join, itertools.product(LETTERS, DIGITS, LETTERS)))


@dataclass(frozen=True)
class Binding:
    """One panel's evidence: `code` labels `marker`."""

    code: str
    marker: Marker


@dataclass(frozen=True)
class Page:
    """A page: its id, and a binding per panel, row by row.

    Raises:
        InputError: A code or a marker comes twice.
    """

    id: str
    bindings: tuple[Binding, ...]

    def __post_init__(self) -> None:
        for name, values in (("code", self.codes), ("marker", self.markers)):
            if len(set(values)) != len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise InputError(f"page {self.id} has the {name} {twice} twice: a query could mean either panel")

    @property
    def codes(self) -> tuple[str, ...]:
        """Of each panel."""
        return tuple(binding.code for binding in self.bindings)

    @property
    def markers(self) -> tuple[Marker, ...]:
        """Of each panel."""
        return tuple(binding.marker for binding in self.bindings)


@dataclass(frozen=True)
class Pair:
    """A page and its hard negative: one layout, the same markers in the same panels, every code at another one.

    Raises:
        InputError: The two differ in more than that, or in less.
    """

    layout: Layout
    positive: Page
    negative: Page

    def __post_init__(self) -> None:
        one, other = self.positive, self.negative
        if one.markers != other.markers or set(one.codes) != set(other.codes):
            raise InputError(f"pages {one.id} and {other.id} must have the same markers, and the same codes elsewhere")
        if kept := [binding.code for binding in one.bindings if binding in other.bindings]:
            raise InputError(f"page {other.id} leaves the code {kept[0]} where page {one.id} has it: no code may stay")
        if len(one.bindings) != len(self.layout.panels):
            raise InputError(f"page {one.id} has {len(one.bindings)} bindings for {len(self.layout.panels)} panels")

    @classmethod
    def make(cls, seed: int, number: int) -> Pair:
        """Pair `number` of the set `seed`: the same one, however many pairs the set has."""
        name = f"p{number:03}"
        # Two streams: another chart must not change what the codes are.
        dice, clutter = Dice(f"toy {seed} {number} bindings"), Dice(f"toy {seed} {number} clutter")
        markers, codes = dice.shuffled(MARKERS), dice.sample(CODES, PANELS)
        moved = [codes[place] for place in dice.derangement(PANELS)]
        pages = (
            Page(f"{name}-{side}", tuple(map(Binding, held, markers))) for side, held in (("a", codes), ("b", moved))
        )
        return cls(Layout.make(clutter), *pages)


@dataclass(frozen=True)
class Toy:
    """The set: `seed` and its pairs."""

    seed: int
    pairs: tuple[Pair, ...]

    @classmethod
    def make(cls, seed: int = 0, pairs: int = 40) -> Toy:
        """Make the set. The paper has 40 pairs, which are 1,000 decisions.

        Raises:
            InputError: `pairs` is below 1.
        """
        if pairs < 1:
            raise InputError(f"a set needs at least 1 pair, got {pairs}")
        return cls(seed, tuple(Pair.make(seed, number) for number in range(pairs)))

    @property
    def queries(self) -> int:
        """How many: one a panel of every positive page. Each is one decision."""
        return sum(len(pair.positive.bindings) for pair in self.pairs)

    @cached_property
    def sha256(self) -> str:
        """Of every binding and of all that is drawn: equal on every machine, and for every version of Pillow."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
