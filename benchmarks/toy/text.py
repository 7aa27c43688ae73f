"""The text twin of a page, one line a panel, and the queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bindings import Binding, Page


def line_of(binding: Binding) -> str:
    """What a panel says, in few enough tokens for 25 of them to fit an encoder of 256."""
    return f"{binding.code} labels the {binding.marker}."


def page_text(page: Page) -> str:
    """The page's bindings in the order of its panels, row by row: what a perfect reader would take down."""
    return "\n".join(map(line_of, page.bindings))


def query_text(binding: Binding) -> str:
    """The paper's question (SMART, arXiv 2605.24938, appendix A)."""
    return f"Find the report where code {binding.code} labels the {binding.marker} marker."
