"""`stdlib-classes`: a sentence about a method asks for the page of its class, which has lost that sentence.

The pages are long and a method is a small part of one: what a single vector blurs and token vectors keep.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.known_item import check_counts, nothing_to_ask, spread
from smartrt.evaluation.stdlib_source import UNWRITABLE, Function, definitions, docstring_of, read_definitions
from smartrt.evaluation.summaries import LEFT, asks_for, split_summary, summary_key
from smartrt.jsonl import Record

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

NAME = "stdlib-classes"


@dataclass(frozen=True)
class _Method:
    """A section of a page; without a docstring, `summary` and `rest` are empty."""

    id: str
    page: str
    signature: str
    docstring: str
    summary: str
    rest: str

    @classmethod
    def of(cls, node: Function, page: str) -> _Method:
        docstring = docstring_of(node)
        return cls(
            f"{page}.{node.name}", page, f"{node.name}({ast.unparse(node.args)})", docstring, *split_summary(docstring)
        )


@dataclass(frozen=True)
class _Page:
    """A class with its documentation and its public methods, in the order of the source."""

    id: str
    heading: str
    docstring: str
    methods: tuple[_Method, ...]

    @classmethod
    def of(cls, name: str, node: ast.ClassDef) -> _Page:
        methods: dict[str, _Method] = {}
        for child in definitions(node.body):
            if isinstance(child, Function):
                method = _Method.of(child, name)
                # A property and its setter, or both arms of an `if`: the first that is documented.
                if method.id not in methods or (method.docstring and not methods[method.id].docstring):
                    methods[method.id] = method
        bases = [ast.unparse(base) for base in (*node.bases, *node.keywords)]
        heading = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
        return cls(name, heading, docstring_of(node), tuple(methods.values()))

    def text(self, cut: Container[str]) -> str:
        """The page without the summaries of the methods whose ids are in `cut`."""
        sections = [(each.signature, each.rest if each.id in cut else each.docstring) for each in self.methods]
        return "\n\n".join("\n".join(filter(None, section)) for section in [(self.heading, self.docstring), *sections])

    def askable(self) -> list[_Method]:
        """Methods whose summary is long enough to ask and stands nowhere else on the page."""
        return [each for each in self.methods if asks_for(each.summary, self.text({each.id}))]


def stdlib_classes(queries: int = 500, documents: int = 1000, root: Path | None = None) -> RetrievalSet:
    """Queries are summaries of public methods, documents are the pages of public classes.

    A page is the class with its module and bases, its docstring, and signature and docstring of each public method,
    but for the summary of every method that is asked for. Each query has exactly one relevant document, several
    queries may share it. Pages are as long as they are: what an encoder cuts off, it counts.

    Args:
        queries: How many at most; a library with few docstrings gives fewer.
        documents: How many at most, the relevant ones included.
        root: Directory of the library; that of the Python that runs if None.

    Raises:
        InputError: The counts are not 1 <= queries <= documents, or no method can be asked for.
    """
    check_counts(queries, documents)
    pages = _pages(root)
    asked = Counter(summary_key(method.summary) for page in pages for method in page.methods)
    askable = [method for page in pages for method in page.askable()]
    # Of two methods with one summary either could be meant: neither is asked for.
    relevant = spread(method for method in askable if asked[summary_key(method.summary)] == 1)[:queries]
    if not relevant:
        raise nothing_to_ask(str(root or "the standard library"))
    chosen = {method.page for method in relevant}
    distractors = spread(page for page in pages if page.id not in chosen)[: documents - len(chosen)]
    kept = chosen | {page.id for page in distractors}
    corpus = [page for page in pages if page.id in kept]
    cut = {method.id for method in relevant}
    position = {page.id: i for i, page in enumerate(corpus)}
    return RetrievalSet(
        NAME,
        tuple(Record(page.id, page.text(cut), {}) for page in corpus),
        tuple(Record(method.id, method.summary, {}) for method in relevant),
        tuple({position[method.page]: 1.0} for method in relevant),
        0,
    )


def _pages(root: Path | None) -> list[_Page]:
    pages: dict[str, _Page] = {}
    for name, node in read_definitions(root):
        if isinstance(node, ast.ClassDef) and name not in pages and (page := _page(name, node)):
            pages[name] = page
    return list(pages.values())


def _page(name: str, node: ast.ClassDef) -> _Page | None:
    """None if too little is left where all is cut that could be asked for, or if a signature cannot be written."""
    try:
        page = _Page.of(name, node)
    except UNWRITABLE:
        return None
    shortest = page.text({method.id for method in page.methods})
    return page if len(shortest) - len(page.heading) >= LEFT else None
