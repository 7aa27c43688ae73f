"""A retrieval set that every machine has: known-item search in the Python standard library.

A query is the first sentence of a docstring; the one document it asks for is the signature and the rest of that
docstring. The same Python version gives the same set.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from ..jsonl import Record
from .dataset import RetrievalSet
from .stdlib_corpus import read_stdlib

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = "python-stdlib"

_WORDS = range(4, 41)  # fewer ask for nothing in particular, more are a list or a text without a full stop
_LEFT = 80  # characters; a shorter rest says too little to be found by
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"[.!?](?=\s+[A-Z])")  # not the points of "e.g. a list"


@dataclass(frozen=True)
class _Item:
    """A record in two: what asks for it, and what is left of it."""

    id: str
    query: str
    signature: str
    rest: str

    @property
    def document(self) -> str:
        """What is searched."""
        return f"{self.signature}\n{self.rest}"


def stdlib_set(queries: int = 300, documents: int = 600, root: Path | None = None) -> RetrievalSet:
    """The set: each query has exactly one relevant document, the other documents are distractors.

    Both are spread over the top-level modules: each gives its n-th record before any gives another.

    Args:
        queries: How many at most; a library with few docstrings gives fewer.
        documents: How many at most, the relevant ones included.
        root: Directory of the standard library; the running interpreter's if None.

    Raises:
        InputError: The counts are not 1 <= queries <= documents, or no docstring can be asked for.
    """
    if not 1 <= queries <= documents:
        raise InputError(f"a set needs 1 <= queries <= documents, got {queries} queries and {documents} documents")
    items = [item for item in map(_split, read_stdlib(root)) if len(item.rest) >= _LEFT]
    asked = Counter(_key(item.query) for item in items)
    # Of two records with one summary either could be meant: neither is asked for.
    usable = [item for item in items if asked[_key(item.query)] == 1 and _asks(item)]
    relevant = _spread(usable)[:queries]
    if not relevant:
        raise InputError(f"{root or 'the standard library'} has no docstring with a summary and text after it")
    chosen = {item.id for item in relevant}
    distractors = _spread(item for item in items if item.id not in chosen)[: documents - len(relevant)]
    kept = chosen | {item.id for item in distractors}
    corpus = [item for item in items if item.id in kept]  # in the order of the library, so ties favour nobody
    position = {item.id: i for i, item in enumerate(corpus)}
    return RetrievalSet(
        NAME,
        tuple(Record(item.id, item.document, {}) for item in corpus),
        tuple(Record(item.id, item.query, {}) for item in relevant),
        tuple({position[item.id]: 1.0} for item in relevant),
        0,
    )


def _split(record: Record) -> _Item:
    signature, _, docstring = record.text.partition("\n")
    paragraph = _PARAGRAPH.search(docstring)
    end = paragraph.start() if paragraph else len(docstring)
    sentence = _SENTENCE.search(docstring, 0, end)
    end = sentence.end() if sentence else end
    return _Item(record.id, _one_line(docstring[:end]), signature, docstring[end:].strip())


def _asks(item: _Item) -> bool:
    return len(item.query.split()) in _WORDS and _key(item.query) not in _key(item.document)


def _key(text: str) -> str:
    return _one_line(text).rstrip(".").casefold()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _spread(items: Iterable[_Item]) -> list[_Item]:
    """By module in turn; within a module by a hash, which a record more or less in another Python hardly moves."""
    modules: dict[str, list[_Item]] = defaultdict(list)
    for item in sorted(items, key=_digest):
        modules[item.id.split(".")[0]].append(item)
    turns = [(turn, _digest(item), item) for module in modules.values() for turn, item in enumerate(module)]
    return [item for *_, item in sorted(turns, key=lambda entry: entry[:2])]


def _digest(item: _Item) -> str:
    return hashlib.sha256(item.id.encode()).hexdigest()
