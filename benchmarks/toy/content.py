"""What is shown of a pair, as texts or as pictures, and the SHA-256 by which two people know they saw the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import PIL

from .drawing import draw_pair
from .text import page_text, query_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from smartrt.items import Item

    from .bindings import Pair, Toy

Modality = Literal["text", "image"]


@dataclass(frozen=True)
class Content:
    """One pair as it is shown.

    Attributes:
        texts: The text twins of the positive page and of the negative one; empty where pictures are shown.
        pictures: The drawn pages; empty where texts are shown.
        queries: One a panel; the positive page is the right answer to each.
    """

    texts: tuple[str, ...]
    pictures: tuple[Image, ...]
    queries: tuple[str, ...]

    @classmethod
    def of(cls, pair: Pair, modality: Modality) -> Content:
        """Write the pair down, or draw it (see `draw_pair`)."""
        queries = tuple(map(query_text, pair.positive.bindings))
        if modality == "image":
            return cls((), draw_pair(pair), queries)
        return cls((page_text(pair.positive), page_text(pair.negative)), (), queries)

    @property
    def pages(self) -> Sequence[Item]:
        """What `Encoder.encode_document` takes: the positive page, then the negative one."""
        return self.texts or [{"image": picture} for picture in self.pictures]


class Digest:
    """SHA-256 of what was shown: of pixels, not of files, whose compression may vary."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, content: Content) -> None:
        """Add a pair."""
        pixels = (picture.tobytes() for picture in content.pictures)
        for data in (*(text.encode() for text in (*content.texts, *content.queries)), *pixels):
            self._hash.update(len(data).to_bytes(8, "little") + data)  # where one ends, so that none can move

    def hexdigest(self) -> str:
        """Of the pairs so far."""
        return self._hash.hexdigest()


def describe(toy: Toy, modality: Modality, shown: Digest) -> dict[str, Any]:
    """What the set is, JSON-ready.

    ``sha256.shown`` covers every page and query. Pixels depend on the version of Pillow; ``sha256.bindings`` covers the
    codes, the markers and the layout, and depends on nothing.
    """
    return {
        "modality": modality,
        "seed": toy.seed,
        "pairs": len(toy.pairs),
        "queries": toy.queries,
        "decisions": toy.queries,
        "sha256": {"bindings": toy.sha256, "shown": shown.hexdigest()},
        "pillow": PIL.__version__ if modality == "image" else None,
    }
