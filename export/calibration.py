"""What activations are measured on: a user's items, or text that every Python has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from smartrt.corpus import Corpus
from smartrt.errors import InputError
from smartrt.evaluation.stdlib_corpus import read_stdlib
from smartrt.models.qwen_vl.rendering import images_of

from .pictures import picture_items
from .sentences import DOCUMENTS, QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from smartrt.manifest import Side
    from smartrt.models.statistics import InputStatistics

MOST_ITEMS = 160
"""Items that are used; from more, as many are taken evenly."""

LEAST_ITEMS = 8
LEAST_CHARACTERS = 2000  # about 500 tokens: moments of fewer rows say little about a layer

_LONGEST = 2000  # characters of a shipped text
_WITH_PICTURES = (96, 1000)  # items and characters for a vision-language model, which takes minutes to calibrate


@dataclass(frozen=True)
class CalibrationItems:
    """Items with the side they are encoded as, and where they are from."""

    items: tuple[tuple[Side, Any], ...]
    source: str

    @classmethod
    def shipped(cls, *, max_images: int | None, pictures: bool) -> CalibrationItems:
        """Docstrings of the standard library, the sentences of the parity check, and drawn pictures if wanted."""
        most, longest = _WITH_PICTURES if pictures else (MOST_ITEMS, _LONGEST)
        texts: list[tuple[Side, Any]] = [("query", text) for text in QUERIES]
        texts += [("document", text[:longest]) for text in DOCUMENTS]
        seen = [(side, item) for side, items in picture_items(max_images).items() for item in items] if pictures else []
        records = read_stdlib()
        room = most - len(texts) - len(seen)
        texts += [("document", records[i * len(records) // room].text[:longest]) for i in range(room)]
        return cls((*seen, *texts), "docstrings of the Python standard library")

    @classmethod
    def read(cls, path: Path, modalities: Sequence[str]) -> CalibrationItems:
        """Items of a JSON Lines file or a folder, as `smartrt index build` reads them.

        Raises:
            InputError: A file cannot be read, or there is too little in it to measure.
        """
        corpus = Corpus.open(path, modalities, allow_empty=True)
        if corpus.bad:
            raise corpus.bad[0][1]
        chosen = {i * corpus.count // min(MOST_ITEMS, corpus.count) for i in range(min(MOST_ITEMS, corpus.count))}
        items = [_opened(source.load(), source.id) for i, source in enumerate(corpus) if i in chosen]
        characters = sum(_length(item) for item in items)
        if len(items) < LEAST_ITEMS or characters < LEAST_CHARACTERS:
            raise InputError(
                f"{path} has {len(items)} items with {characters:,} characters; calibration needs {LEAST_ITEMS} items "
                f"and {LEAST_CHARACTERS:,} characters (a picture counts as 1,000)"
            )
        return cls(tuple(("document", item) for item in items), path.name)

    def sha256(self) -> str:
        """Over every text and pixel."""
        digest = hashlib.sha256()
        for side, item in self.items:
            parts = {"text": item} if isinstance(item, str) else item
            digest.update(repr((side, parts.get("text"), parts.get("instruction"))).encode())
            for image in images_of(parts):
                digest.update(repr(image.size).encode() + image.convert("RGB").tobytes())
        return digest.hexdigest()


class Calibration:
    """Statistics as they are measured, handed out by graph and module."""

    def __init__(self, measured: Iterator[tuple[str, str, InputStatistics]]) -> None:
        self._measured = measured
        self._ready: dict[tuple[str, str], InputStatistics] = {}

    def of(self, graph: str) -> GraphStatistics:
        """Those of one graph; graphs are asked in the order they run, and what an earlier one left is let go."""
        self._ready = {key: found for key, found in self._ready.items() if key[0] == graph}
        return GraphStatistics(self, graph)

    def take(self, graph: str, path: str) -> InputStatistics | None:
        """See `precision.weights.Statistics`."""
        # What comes before the one asked for is kept: products do not stand exactly in the order of modules.
        # With the first of another graph, this graph's are all measured.
        while (graph, path) not in self._ready and all(name == graph for name, _ in self._ready):
            following = next(self._measured, None)
            if following is None:
                return None
            self._ready[following[:2]] = following[2]
        return self._ready.pop((graph, path), None)


@dataclass(frozen=True)
class GraphStatistics:
    """The statistics of one graph. See `precision.weights.Statistics`."""

    calibration: Calibration
    graph: str

    def take(self, path: str) -> InputStatistics | None:
        """See `precision.weights.Statistics`."""
        return self.calibration.take(self.graph, path)


def _opened(item: Any, where: str) -> Any:
    """The item with its image files read."""
    if isinstance(item, str) or not item.get("image"):
        return item
    sources = item["image"] if isinstance(item["image"], list) else [item["image"]]
    try:
        images = [source if isinstance(source, Image.Image) else Image.open(source) for source in sources]
        for image in images:
            image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read an image of {where}: {' '.join(str(error).split())[:200]}") from None
    return {key: value for key, value in item.items() if value is not None} | {"image": images}


def _length(item: Any) -> int:
    parts = {"text": item} if isinstance(item, str) else item
    images = parts.get("image") or []
    return len(parts.get("text") or "") + 1000 * (len(images) if isinstance(images, list) else 1)
