"""HTML and SVG elements from Python. Text becomes markup in one place, `tag`, and is escaped there."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


class Html(str):
    """Markup that may stand in a page as it is. Every method of `str` gives plain text back, which is escaped again."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"
"""What an element holds: text (escaped), `Html` (not), nothing, or several of these."""

_EMPTY = frozenset({"br", "meta"})
_SHAPES = frozenset({"circle", "line", "path", "polygon", "polyline", "rect"})
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        name: Of the element.
        content: What it holds.
        attributes: An underscore at the end is dropped, others become hyphens (``class_``, ``data_value``). None and
            False leave the attribute out, True gives it no value. Numbers are written with two decimals at most.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _SHAPES:
        return Html(f"<{opening}/>")
    return Html(f"<{opening}>" if name in _EMPTY else f"<{opening}>{markup(*content)}</{name}>")


def markup(*content: Content) -> Html:
    """Several pieces of content as one."""
    return Html("".join(map(_markup, content)))


def _markup(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return html.escape(visible(content))
    return markup(*content)


def visible(text: str) -> str:
    """`text` with the replacement character for what no page may hold: control characters and half surrogates."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(visible(_text(value)))}"'


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
