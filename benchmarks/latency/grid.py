"""What `smartrt bench latency` measures, as data: contenders x threads x cells."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.errors import OptionError
from smartrt.fusion import Weights
from smartrt.index import IndexOptions
from smartrt.scoring.workers import check_threads
from smartrt.search import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.manifest import Manifest, Side

_INT16, _EXACT = IndexOptions(), SearchOptions()
_LARGEST = {"batch": 1024, "tokens": 32768, "side of an image": 8192}


@dataclass(frozen=True)
class Cell:
    """One shape of input.

    Attributes:
        side: A ``query`` is encoded and ranked against the corpus, a ``document`` is encoded.
        batch: Items at a time.
        tokens: Of each text, special tokens and template included; None for images.
        pixels: Width and height of each image; None for texts.
    """

    side: Side
    batch: int
    tokens: int | None = None
    pixels: tuple[int, int] | None = None

    @classmethod
    def parse(cls, side: Side, text: str) -> Cell:
        """``1x32`` is a batch of 1 with 32 tokens, ``1x1240x1754`` (documents only) one image of that size.

        Raises:
            OptionError: It is something else, or too large.
        """
        if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){1,2}", text):
            raise OptionError(f"unknown shape {text!r}: give BATCHxTOKENS such as 1x32, or BATCHxWIDTHxHEIGHT")
        batch, *size = map(int, text.split("x"))
        if len(size) == 2 and side == "query":
            raise OptionError(f"queries are texts here: {text!r} is the shape of an image, give it among the documents")
        names = ("tokens",) if len(size) == 1 else ("side of an image",) * 2
        for name, value in zip(("batch", *names), (batch, *size), strict=True):
            if value > _LARGEST[name]:
                raise OptionError(f"shape {text!r} has a {name} of {value}, the largest is {_LARGEST[name]}")
        return cls(side, batch, size[0]) if len(size) == 1 else cls(side, batch, None, (size[0], size[1]))

    @property
    def shape(self) -> str:
        """As it is parsed."""
        size = (self.tokens,) if self.pixels is None else self.pixels
        return "x".join(map(str, (self.batch, *size)))

    @property
    def label(self) -> str:
        """``query 1x32``, ``document 32x128`` or ``page 1x1240x1754``."""
        return f"{'page' if self.pixels else self.side} {self.shape}"


@dataclass(frozen=True)
class Contender:
    """One way to answer: a bundle on an engine, or a checkpoint in PyTorch.

    Attributes:
        name: In tables; each contender has its own.
        bundle: Directory of the bundle; of PyTorch, one that was made from the checkpoint.
        kind: A name in `pytorch.KINDS`; None for a bundle.
        engine: Of a bundle.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        options: Of the engine, threads excepted.
        stored: How the corpus is kept. PyTorch keeps it in float32.
        search: How the corpus is searched. PyTorch ranks all of it.
        late: Weight of late interaction instead of the bundle's own; 0 is the plain search by one vector.
    """

    name: str
    bundle: Path
    kind: str | None = None
    engine: str = "ort"
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)
    stored: IndexOptions = _INT16
    search: SearchOptions = _EXACT
    late: float | None = None

    def weights(self, manifest: Manifest) -> Weights:
        """Of the two terms; `manifest` is the bundle's."""
        scoring = manifest.scoring
        return Weights(scoring.pooled_weight, scoring.late_weight if self.late is None else self.late)

    @property
    def engine_options(self) -> dict[str, Any]:
        """`options`, and that a TensorRT plan which is missing is an error: to compile it is no part of a start."""
        return ({"compile": False} if self.engine == "trt" else {}) | self.options

    def search_with(self, threads: int) -> SearchOptions:
        """How the corpus is searched by so many threads."""
        return replace(self.search, threads=threads)

    def to_json(self) -> dict[str, Any]:
        """For the process that runs it."""
        return asdict(self) | {"bundle": str(self.bundle)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Contender:
        """The inverse of `to_json`."""
        parts = {"stored": IndexOptions(**data["stored"]), "search": SearchOptions(**data["search"])}
        return cls(**data | parts | {"bundle": Path(data["bundle"])})


@dataclass(frozen=True)
class Grid:
    """Everything that is measured, and how often.

    Attributes:
        contenders: Who.
        cells: What.
        threads: Of every contender, one group of measurements for each.
        reference: Name of the contender that ratios and outputs are against.
        source: The checkpoint, where a contender runs PyTorch.
        corpus: Documents that a query is ranked against.
        starts: Fresh processes of each contender; the interval of a ratio comes from the differences between them.
        rounds: Visits of each cell in each process.
        visit: Seconds of a visit; a call that takes longer is made once.
        together: Whether all processes of a start are alive at once, which compares calls of the same seconds. Where
            memory does not hold them, they run one after another.
        truth: Name of the contender that outputs are compared with, if it is another than `reference`.
    """

    contenders: tuple[Contender, ...]
    cells: tuple[Cell, ...]
    threads: tuple[int, ...]
    reference: str
    source: str | None = None
    corpus: int = 600
    starts: int = 5
    rounds: int = 3
    visit: float = 0.15
    together: bool = True
    truth: str | None = None

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        labels = [cell.label for cell in self.cells]
        for what, given in (("contender", names), ("cell", labels), ("thread count", list(self.threads))):
            if not given:
                raise OptionError(f"the grid has no {what}: there is nothing to measure")
            if len(set(given)) < len(given):
                raise OptionError(f"the grid has a {what} twice: {', '.join(map(str, given))}")
        if self.reference not in names:
            raise OptionError(f"the reference {self.reference!r} is no contender; there are: {', '.join(names)}")
        if self.compared_with not in names:
            raise OptionError(f"the truth {self.truth!r} is no contender; there are: {', '.join(names)}")
        for contender in self.contenders:
            if "threads" in contender.options:
                raise OptionError(f"{contender.name} has an option threads: the grid's thread counts are for all alike")
            if contender.kind and self.source is None:
                raise OptionError(f"{contender.name} needs the checkpoint it runs: give --source")
        self._check_counts()

    def _check_counts(self) -> None:
        counts = {"starts": self.starts, "rounds": self.rounds, "corpus": self.corpus} | {
            f"thread count {count}": count for count in self.threads
        }
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{name} must be a whole number from 1 up, got {value!r}")
        for count in self.threads:
            check_threads(count)
        if not 0 < self.visit <= 60:
            raise OptionError(f"visit must be above 0 and at most 60 seconds, got {self.visit!r}")

    @property
    def compared_with(self) -> str:
        """Name of the contender that outputs are compared with."""
        return self.truth or self.reference

    @property
    def visits(self) -> int:
        """How many steps a whole run has: starts of processes and visits of cells."""
        return len(self.threads) * self.starts * len(self.contenders) * (1 + self.rounds * len(self.cells))

    def to_json(self) -> dict[str, Any]:
        """What the result says of it: names instead of paths."""
        whole = asdict(self)
        return whole | {
            "contenders": [each.to_json() | {"bundle": each.bundle.name} for each in self.contenders],
            "cells": [cell.label for cell in self.cells],
            "source": None if self.source is None else Path(self.source).name,
        }


def parse_cells(queries: Sequence[str], documents: Sequence[str]) -> tuple[Cell, ...]:
    """Shapes of both sides to cells."""
    cells = [Cell.parse("query", text) for text in queries] + [Cell.parse("document", text) for text in documents]
    return tuple(cells)
