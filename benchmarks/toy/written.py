"""The set as files: a retrieval set of the text twin, and the drawn pages beside it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.files import new_directory

from .content import Content, Digest, describe
from .text import page_text, query_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from PIL.Image import Image

    from .bindings import Page, Pair, Toy
    from .content import Modality

PAGES = "pages"
"""The folder of the drawn pages."""


def write(
    toy: Toy, modality: Modality, directory: Path, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Write the set into a new directory, all of it or nothing.

    ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` are the text twin, as `RetrievalSet.read` takes it. For
    ``image`` there are ``images.jsonl``, a corpus of the same ids whose ``image`` is a path beside it, and the pages as
    PNG. Every query is judged against both pages of its pair, the negative one being 0.

    Args:
        toy: The set.
        modality: ``text`` leaves the pictures out.
        directory: Must not exist.
        advance: Called with 1 for each pair that is done.

    Returns:
        What ``toy.json`` holds: `content.describe`.

    Raises:
        StorageError: The directory exists, or the disk refuses.
    """
    shown = Digest()
    with new_directory(directory) as temporary:
        if modality == "image":
            (temporary / PAGES).mkdir()
        for pair in toy.pairs:
            content = Content.of(pair, modality)
            shown.add(content)
            # Texts have no pictures, and then nothing is written here.
            for page, picture in zip((pair.positive, pair.negative), content.pictures, strict=False):
                (temporary / _picture(page)).write_bytes(_png(picture))
            advance(1)
        summary = describe(toy, modality, shown)
        for name, lines in _files(toy, modality).items():
            (temporary / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (temporary / "toy.json").write_text(strict_json.dumps(summary), encoding="utf-8")
    return summary


def _files(toy: Toy, modality: Modality) -> dict[str, Iterable[str]]:
    pages = [page for number, pair in enumerate(toy.pairs) for page in _in_turn(number, pair)]
    asked = [(f"{pair.positive.id}-q{at:02}", pair, binding) for pair in toy.pairs
             for at, binding in enumerate(pair.positive.bindings)]  # fmt: skip
    judged = (
        f"{query}\t{page.id}\t{relevance}"
        for query, pair, _ in asked
        for page, relevance in ((pair.positive, 1), (pair.negative, 0))
    )
    files: dict[str, Iterable[str]] = {
        "corpus.jsonl": (json.dumps({"id": page.id, "text": page_text(page)}) for page in pages),
        "queries.jsonl": (json.dumps({"id": query, "text": query_text(binding)}) for query, _, binding in asked),
        "qrels.tsv": ("query_id\tdoc_id\trelevance", *judged),
    }
    if modality == "image":
        files["images.jsonl"] = (json.dumps({"id": page.id, "image": _picture(page)}) for page in pages)
    return files


def _in_turn(number: int, pair: Pair) -> tuple[Page, Page]:
    """Each side first in every other pair: a ranking keeps equal scores in file order, and must not gain by it."""
    return (pair.negative, pair.positive) if number % 2 else (pair.positive, pair.negative)


def _picture(page: Page) -> str:
    return f"{PAGES}/{page.id}.png"


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
