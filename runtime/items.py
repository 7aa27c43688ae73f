"""What an encoder takes, checked: a text, or ``{"text", "image", "instruction"}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = str | Mapping[str, Any]
"""A text, or a mapping with ``text``, ``image`` (one or several: path, bytes, PIL image, uint8 array) and
``instruction``. A bundle of texts takes ``text`` alone."""

_KEYS = {"text", "image", "instruction"}


@dataclass(frozen=True, eq=False)
class ParsedItem:
    """An item whose parts are known to be of the right kind; its images are not decoded yet."""

    where: str
    text: str | None
    images: tuple[Any, ...]
    instruction: str | None


def as_sequence(items: Any) -> Any:
    """One item becomes a list of one; what cannot be iterated, or would give its bytes, is refused."""
    if isinstance(items, str | Mapping):
        return [items]
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray):
        raise InputError(f"expected a text, {{'text': …}} or a sequence of these, got {type(items).__name__}")
    return items


def parse_item(item: Item, where: str, modalities: Sequence[str], *, allow_empty: bool) -> ParsedItem:
    """Check one item.

    Args:
        item: See `Item`.
        where: ``query 3`` or the like, for the message.
        modalities: The bundle's: ``text``, ``image``.
        allow_empty: Take an item without a visible character and without an image.

    Raises:
        InputError: It has an unknown key, a part of the wrong type, or nothing in it.
    """
    if not isinstance(item, str | Mapping):
        raise InputError(f"{where} must be a text or a mapping, got {type(item).__name__}")
    parts: Mapping[str, Any] = {"text": item} if isinstance(item, str) else item
    _check_keys(parts, where, modalities)
    images = _images(parts.get("image"), where)
    text, instruction = (_text(parts.get(key), f"{where}: {key}") for key in ("text", "instruction"))
    if not images and not (text or "").strip() and not allow_empty:
        more = " or an image" if "image" in modalities else ""
        raise InputError(f"{where} is empty: give it a text{more}, or pass allow_empty=True")
    return ParsedItem(where, text, images, instruction)


def _check_keys(parts: Mapping[str, Any], where: str, modalities: Sequence[str]) -> None:
    known = _KEYS if "image" in modalities else {"text"}
    unknown = sorted(map(str, set(parts) - known))
    if "video" in unknown and "image" in modalities:
        raise InputError(f"{where} has a video: video is not supported yet; give single frames as images")
    if unknown:
        takes = "text, image and instruction" if "image" in modalities else "text only, as {'text': …}"
        raise InputError(f"{where} has {unknown}: this bundle takes {takes}")


def _images(value: Any, where: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    images = tuple(value) if isinstance(value, list | tuple) else (value,)
    if any(image is None for image in images):
        raise InputError(f"{where}: one of its images is None")
    return images


def _text(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{where} must be a text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where} is not valid Unicode: {error.reason} at {error.start}") from None
    return value
