"""The inputs of every cell and the corpus: made once, written to a folder, read by every contender."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import InputError, OptionError, TruncationWarning
from smartrt.evaluation.stdlib_set import stdlib_set
from smartrt.items import parse_item
from smartrt.types import Embeddings, TokenStates

from ..preprocess import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smartrt.encoder import Encoder
    from smartrt.evaluation.quality import Encodes

    from .grid import Cell

_CELLS, _CORPUS = "cells.json", "corpus.npz"
_TRIES = 200


@dataclass(frozen=True, eq=False)
class Workload:
    """Per cell its items, as `Encoder` and PyTorch take them, and the embedded corpus."""

    items: tuple[tuple[Any, ...], ...]
    corpus: Embeddings

    @classmethod
    def make(cls, encoder: Encoder, encode: Encodes, cells: Sequence[Cell], corpus: int, folder: Path) -> Workload:
        """Make the inputs, and write them to `folder` as well.

        Texts are words of the standard library's documentation, as many as make exactly the tokens of the cell: no
        contender pads. Each text of a batch is another one.

        Args:
            encoder: Its tokenizer counts.
            encode: Gives the vectors of the corpus that all contenders rank, each in its own type.
            cells: What is measured.
            corpus: Documents; fewer if the standard library has fewer.
            folder: An existing directory.

        Raises:
            OptionError: A cell does not suit the bundle: too few or too many tokens, or it takes no images.
        """
        vocabulary = _words()
        made = [_items(encoder, cell, vocabulary, number, folder) for number, cell in enumerate(cells)]
        texts = [record.text for record in stdlib_set(1, corpus).documents]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the result counts them
            embedded = encode(texts, "document")
        np.savez(
            folder / _CORPUS, pooled=embedded.pooled, values=embedded.tokens.values, offsets=embedded.tokens.offsets
        )
        (folder / _CELLS).write_text(json.dumps(made), encoding="utf-8")
        return cls(tuple(map(tuple, made)), embedded)

    @staticmethod
    def read_items(folder: Path) -> list[list[Any]]:
        """Per cell its items."""
        items: list[list[Any]] = json.loads((folder / _CELLS).read_text(encoding="utf-8"))
        return items

    @staticmethod
    def read_corpus(folder: Path) -> Embeddings:
        """The documents that queries are ranked against."""
        with np.load(folder / _CORPUS, allow_pickle=False) as data:
            pooled = data["pooled"]
            return Embeddings(pooled, TokenStates(data["values"], data["offsets"]), np.zeros(len(pooled), np.int64))


def check_cells(encoder: Encoder, cells: Sequence[Cell]) -> None:
    """Refuse cells that the bundle cannot run, which takes no time.

    Raises:
        OptionError: See `Workload.make`.
    """
    manifest = encoder.bundle.manifest
    for cell in cells:
        if cell.pixels and manifest.images is None:
            raise OptionError(f"{manifest.name} takes no images: {cell.label} cannot be measured")
        if cell.pixels:
            try:
                encoder.check({"image": page(*cell.pixels)}, cell.side, cell.label)
            except InputError as error:
                raise OptionError(f"{cell.label}: {error}") from None
        if cell.tokens is None:
            continue
        least, most = _count(encoder, cell, "a"), encoder.backbone.max_length
        if not least <= cell.tokens <= most:
            raise OptionError(
                f"{cell.label}: {manifest.name} makes {least} tokens of a {cell.side} of one word and takes {most} at "
                "most; choose a length between"
            )


def _words() -> list[str]:
    """Words that people ask with: lower case, letters alone, in the order of the set."""
    words = " ".join(record.text for record in stdlib_set(300, 600).queries).lower().split()
    return list(dict.fromkeys(word for word in words if word.isascii() and word.isalpha()))


def _items(encoder: Encoder, cell: Cell, words: Sequence[str], number: int, folder: Path) -> list[Any]:
    if cell.pixels is None:
        return _texts(encoder, cell, words, random.Random(number))  # noqa: S311  (inputs, no secrets)
    items = []
    for row in range(cell.batch):
        path = folder / f"page-{number}-{row}.jpg"
        path.write_bytes(page(*cell.pixels, seed=row))
        items.append({"image": str(path)})
    return items


def _texts(encoder: Encoder, cell: Cell, words: Sequence[str], rng: random.Random) -> list[str]:
    """A batch of texts, all different: a bundle encodes equal ones once, PyTorch as often as they come."""
    texts: dict[str, None] = {}
    for _ in range(_TRIES + 2 * cell.batch):
        texts[_text(encoder, cell, words, rng)] = None
        if len(texts) == cell.batch:
            return list(texts)
    raise OptionError(
        f"{cell.label}: there are no {cell.batch} different texts of {cell.tokens} tokens; ask for longer"
    )


def _text(encoder: Encoder, cell: Cell, words: Sequence[str], rng: random.Random) -> str:
    """A text of exactly so many tokens: words one by one, and one that does not fit gives way to the next."""
    text, wanted = rng.choice(words), cell.tokens or 0
    if (count := _count(encoder, cell, text)) > wanted:
        text = "a"
        count = _count(encoder, cell, text)
    for _ in range(_TRIES + wanted):
        if count == wanted:
            return text
        # A word has a token at least and seldom four: far from the end many go in at once.
        longer = " ".join([text, *rng.choices(words, k=max(1, (wanted - count) // 4))])
        if _count(encoder, cell, longer) > wanted:
            # Then one alone, whichever is short enough, each text in an order of its own.
            every = (f"{text} {word}" for word in rng.sample(["a", *words], len(words) + 1))
            longer = next((each for each in every if _count(encoder, cell, each) <= wanted), longer)
        if (found := _count(encoder, cell, longer)) <= wanted:
            text, count = longer, found
    raise OptionError(f"{cell.label}: no text of exactly {wanted} tokens was found; choose another length")


def _count(encoder: Encoder, cell: Cell, text: str) -> int:
    item = parse_item(text, cell.label, encoder.bundle.manifest.modalities, allow_empty=False)
    (prepared,) = encoder.backbone.prepare([item], cell.side, "bundle")
    return len(prepared.ids) + int(prepared.truncated)
