"""Known-item search: each query asks for exactly one document, and the other documents are distractors."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import InputError
from ..jsonl import Record
from .dataset import RetrievalSet
from .summaries import asks_for, summary_key

if TYPE_CHECKING:
    from collections.abc import Iterable


class Named(Protocol):
    """What has a dotted name that begins with its top-level module."""

    @property
    def id(self) -> str:
        """``module.Class.method``."""


@dataclass(frozen=True)
class Item:
    """A document and the sentence that asks for it."""

    id: str
    query: str
    document: str


_Named = TypeVar("_Named", bound=Named)


def known_item_set(name: str, items: Iterable[Item], queries: int, documents: int, *, source: str) -> RetrievalSet:
    """The set: queries and distractors are spread over the top-level modules (`spread`).

    Args:
        name: Of the set.
        items: In the order of the corpus, each id once; read after the counts are known to be good.
        queries: How many at most; fewer if not so many items can be asked for.
        documents: How many at most, the relevant ones included.
        source: Where the items are from, for the message if there are none.

    Raises:
        InputError: The counts are not 1 <= queries <= documents, or no item can be asked for.
    """
    check_counts(queries, documents)
    items = list(items)
    asked = Counter(summary_key(item.query) for item in items)
    # Of two records with one summary either could be meant: neither is asked for.
    usable = [item for item in items if asked[summary_key(item.query)] == 1 and asks_for(item.query, item.document)]
    relevant = spread(usable)[:queries]
    if not relevant:
        raise nothing_to_ask(source)
    chosen = {item.id for item in relevant}
    distractors = spread(item for item in items if item.id not in chosen)[: documents - len(relevant)]
    kept = chosen | {item.id for item in distractors}
    corpus = [item for item in items if item.id in kept]  # in the order of the library, so ties favour nobody
    position = {item.id: i for i, item in enumerate(corpus)}
    return RetrievalSet(
        name,
        tuple(Record(item.id, item.document, {}) for item in corpus),
        tuple(Record(item.id, item.query, {}) for item in relevant),
        tuple({position[item.id]: 1.0} for item in relevant),
        0,
    )


def check_counts(queries: int, documents: int) -> None:
    """Refuse counts that make no set.

    Raises:
        InputError: They are not 1 <= queries <= documents.
    """
    if not 1 <= queries <= documents:
        raise InputError(f"a set needs 1 <= queries <= documents, got {queries} queries and {documents} documents")


def nothing_to_ask(source: str) -> InputError:
    """The error of a library that gives no query."""
    return InputError(f"{source} has no docstring with a summary to ask by and enough beside it to be found by")


def spread(items: Iterable[_Named]) -> list[_Named]:
    """By top-level module in turn: each gives its n-th item before any gives another.

    Within a module by a hash of the id, which an item more or less in another Python hardly moves.
    """
    modules: dict[str, list[_Named]] = defaultdict(list)
    for item in sorted(items, key=_digest):
        modules[item.id.split(".")[0]].append(item)
    turns = [(turn, _digest(item), item) for module in modules.values() for turn, item in enumerate(module)]
    return [item for *_, item in sorted(turns, key=lambda entry: entry[:2])]


def _digest(item: Named) -> str:
    return hashlib.sha256(item.id.encode()).hexdigest()
