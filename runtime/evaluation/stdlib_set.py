"""A retrieval set that every machine has: known-item search in the Python standard library.

A query is the first sentence of a docstring; the one document it asks for is the signature and the rest of that
docstring. The same Python version gives the same set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .known_item import Item, known_item_set
from .stdlib_corpus import read_stdlib
from .summaries import LEFT, split_summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .dataset import RetrievalSet

NAME = "python-stdlib"


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
    return known_item_set(NAME, _items(root), queries, documents, source=str(root or "the standard library"))


def _items(root: Path | None) -> Iterator[Item]:
    for record in read_stdlib(root):
        signature, _, docstring = record.text.partition("\n")
        summary, rest = split_summary(docstring)
        if len(rest) >= LEFT:
            yield Item(record.id, summary, f"{signature}\n{rest}")
