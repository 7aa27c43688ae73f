"""Tables that a reader can sort, and that are complete without a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .markup import Content, Html, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Column:
    """A column beside that of the names.

    Attributes:
        head: Its heading.
        hint: What it is, in more words.
        sort: ``number``, ``text``, or None for pictures.
        down: Whether large values come first when it is first sorted: more is better.
        kind: Class of its cells.
    """

    head: str
    hint: str | None = None
    sort: str | None = "number"
    down: bool = False
    kind: str | None = None


class Cell(NamedTuple):
    """What is shown, the number it is sorted by (None: it comes last), and what pointing at it tells."""

    content: Content
    value: float | None = None
    hint: str | None = None


class Row(NamedTuple):
    """A line of a table: a name, and the cells, or a message in their place."""

    name: Content
    cells: Sequence[Cell] = ()
    message: Content = None


def number(value: float | None, text: Callable[[float | None], str], hint: str | None = None) -> Cell:
    """A cell that shows a number as `text` writes it, and is sorted by the number itself."""
    return Cell(text(value), value, hint)


def badge(text: str, kind: str) -> Html:
    """A word in a small frame."""
    return tag("span", text, class_=f"badge {kind}")


def table(caption: str, names: str, columns: Sequence[Column], rows: Sequence[Row]) -> Html:
    """A table in a box that scrolls sideways where the page is narrow.

    Args:
        caption: What the table is, for readers who hear it; the text above it shows the same to those who see it.
        names: Heading of the first column.
        columns: The others.
        rows: Each has a cell for every column, or a message.
    """
    first = tag("th", names, scope="col", data_sort="text")
    heads = [
        tag(
            "th", column.head,
            scope="col", title=column.hint, data_sort=column.sort, data_down=column.down, class_=_kind(column),
        )
        for column in columns
    ]  # fmt: skip
    body = [_row(row, columns) for row in rows]
    content = tag(
        "table",
        tag("caption", caption, class_="unseen"), tag("thead", tag("tr", first, heads)), tag("tbody", body),
        class_="data",
    )  # fmt: skip
    return tag("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _row(row: Row, columns: Sequence[Column]) -> Html:
    name = tag("th", row.name, scope="row")
    if row.message is not None:
        return tag(
            "tr", name, tag("td", tag("div", row.message), colspan=len(columns), class_="message"), class_="absent"
        )
    cells = [
        tag("td", cell.content, class_=_kind(column), title=cell.hint, data_value=_value(cell.value))
        for column, cell in zip(columns, row.cells, strict=True)
    ]
    return tag("tr", name, cells)


def _kind(column: Column) -> str | None:
    return " ".join(filter(None, ("n" if column.sort == "number" else None, column.kind))) or None


def _value(value: float | None) -> str | None:
    return None if value is None else f"{value:.7g}"
