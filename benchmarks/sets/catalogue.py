"""The sets by name, and opening one: a name of this list, or a directory on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from smartrt.errors import InputError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.stdlib_set import stdlib_set

from . import classes, functions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KNOWN_ITEM = "stdlib-known-item"


@dataclass(frozen=True)
class Generated:
    """A set that is made out of the standard library of the Python that runs.

    Attributes:
        make: ``make(queries, documents)``; both are counts at most, a small library gives fewer.
        queries: How many, unless asked otherwise.
        documents: How many, the relevant ones included, unless asked otherwise.
        description: What asks for what, in one line.
    """

    make: Callable[[int, int], RetrievalSet]
    queries: int
    documents: int
    description: str


def _known_item(queries: int, documents: int) -> RetrievalSet:
    return replace(stdlib_set(queries, documents), name=KNOWN_ITEM)


SETS: Mapping[str, Generated] = MappingProxyType(
    {
        functions.NAME: Generated(
            functions.stdlib_functions, 500, 1000, "a docstring's first sentence asks for the source, without docstring"
        ),
        classes.NAME: Generated(
            classes.stdlib_classes, 500, 1000, "a method's first sentence asks for the page of its class"
        ),
        KNOWN_ITEM: Generated(
            _known_item, 300, 600, "a docstring's first sentence asks for the rest of that docstring"
        ),
    }
)
"""What each Python can make; `make_set` and `open_set` take the names."""


def make_set(name: str, queries: int | None = None, documents: int | None = None) -> RetrievalSet:
    """Make a set by its name. A count that is None is the one in `SETS`.

    Raises:
        InputError: There is no such name, or the counts are not 1 <= queries <= documents.
    """
    if name not in SETS:
        raise InputError(f"no set is called {name!r}; there are: {', '.join(SETS)}")
    entry = SETS[name]
    return entry.make(
        entry.queries if queries is None else queries, entry.documents if documents is None else documents
    )


def open_set(name_or_directory: str) -> RetrievalSet:
    """Make the set of that name at its usual size, or read the one in that directory.

    A directory that has the name of a set is read as ``./NAME``.

    Raises:
        InputError: It is neither, or the directory holds no set.
    """
    if name_or_directory in SETS:
        return make_set(name_or_directory)
    if not name_or_directory or not Path(name_or_directory).is_dir():
        raise InputError(
            f"{name_or_directory!r} is neither a directory with a retrieval set nor one of: {', '.join(SETS)}"
        )
    return RetrievalSet.read(Path(name_or_directory))
