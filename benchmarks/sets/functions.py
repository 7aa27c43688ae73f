"""`stdlib-functions`: a sentence asks for the code that does it, and the code does not say the sentence."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING

from smartrt.evaluation.known_item import Item, known_item_set
from smartrt.evaluation.stdlib_source import UNWRITABLE, Function, docstring_of, read_definitions
from smartrt.evaluation.summaries import LEFT, split_summary, stands_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smartrt.evaluation.dataset import RetrievalSet

NAME = "stdlib-functions"


def stdlib_functions(queries: int = 500, documents: int = 1000, root: Path | None = None) -> RetrievalSet:
    """Queries are summaries of public functions and methods, documents are their sources without the docstring.

    Each query has exactly one relevant document, of its own id. Comments are gone with the layout: a document is what
    `ast.unparse` makes of the definition, decorators and signature included.

    Args:
        queries: How many at most; a library with few docstrings gives fewer.
        documents: How many at most, the relevant ones included.
        root: Directory of the library; that of the Python that runs if None.

    Raises:
        InputError: The counts are not 1 <= queries <= documents, or no function can be asked for.
    """
    return known_item_set(NAME, _items(root), queries, documents, source=str(root or "the standard library"))


def _items(root: Path | None) -> Iterator[Item]:
    names: set[str] = set()
    sources: set[str] = set()
    for name, node in read_definitions(root):
        if not isinstance(node, Function) or name in names or not (item := _item(name, node)):
            continue
        names.add(name)
        # Of two functions with one source neither can be told from the other: the first stands for both.
        if item.document not in sources:
            sources.add(item.document)
            yield item


def _item(name: str, node: Function) -> Item | None:
    """None if it has no docstring, too little code, or a literal (a usage text) that says the summary."""
    summary, _ = split_summary(docstring_of(node))
    if not summary:
        return None
    code = node.body[1:]
    try:
        heading, document = _source(node, []), _source(node, code)
    except UNWRITABLE:
        return None
    if len(document) - len(heading) < LEFT or any(stands_in(summary, text) for text in _literals(code)):
        return None
    return Item(name, summary, document)


def _source(node: Function, body: list[ast.stmt]) -> str:
    bare = copy.copy(node)
    bare.body = body
    return ast.unparse(bare)


def _literals(code: list[ast.stmt]) -> Iterator[str]:
    """Texts as they are when the code runs: in the source an escaped line end may part the words of a sentence."""
    for statement in code:
        for part in ast.walk(statement):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
