r"""Reading corpora and queries: JSON Lines of ``{"id": ..., "text": ...}``.

Lines end with ``\n`` and nothing else: texts hold U+0085 and U+2028, which `str.splitlines` would cut at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One line: its id, its text, and whatever else it holds."""

    id: str
    text: str
    meta: dict[str, Any]

    def load(self) -> str:
        """What an encoder takes: this makes a record a `corpus.Source`."""
        return self.text

    def about(self, item: object = None) -> dict[str, Any]:  # noqa: ARG002  (`corpus.Source` passes it)
        """What comes back with a hit: everything but the id."""
        return self.meta | {"text": self.text}


def check_records(path: Path, *, allow_empty: bool, images: bool = False) -> int:
    """Read the whole file once, so that a bad line is known before hours of work, and count its lines.

    Raises:
        InputError: A line is not valid, an id comes twice, or a text is empty and that is not allowed.
    """
    first_line: dict[str, int] = {}
    for number, record in _numbered(path, images=images):
        if record.id in first_line:
            raise InputError(f"{path} line {number}: id {record.id!r} was used on line {first_line[record.id]} already")
        if not record.text.strip() and not allow_empty and not (images and record.meta.get("image")):
            raise InputError(
                f"{path} line {number}: document {record.id!r} has an empty text; remove it, or pass --allow-empty"
            )
        first_line[record.id] = number
    if not first_line:
        raise InputError(f"{path} holds no line")
    return len(first_line)


def read_records(path: Path, *, images: bool = False) -> Iterator[Record]:
    """The records of a file, one at a time; with `images`, a line may have an ``image`` instead of a text.

    Raises:
        InputError: The file cannot be read, or a line is not UTF-8, not JSON, or lacks id or text.
    """
    return (record for _, record in _numbered(path, images=images))


def _numbered(path: Path, *, images: bool) -> Iterator[tuple[int, Record]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line, f"{path} line {number}", images=images)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _parse(line: bytes, where: str, *, images: bool) -> Record:
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        if b"\\u" in line:
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where} holds half a surrogate pair, {error.object[error.start]!a}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 (byte {line[error.start]:#04x} at column {error.start + 1})") from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where} is not JSON: {reason}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where} must be an object with id and text, got {line.decode().strip()[:40]!r}")
    if images:
        _check_item(data, where)
    for key in ("id", "text"):
        if not isinstance(data.get(key), str) or (key == "id" and not data[key]):
            raise InputError(f"{where} needs {key!r} as a string, got {data.get(key)!r:.40}")
    return Record(data.pop("id"), data.pop("text"), data)


def _check_item(data: dict[str, Any], where: str) -> None:
    """The keys that a bundle with images reads: ``image`` (a path or several) and ``instruction``; null is none."""
    names = data.get("image")
    paths = names if isinstance(names, list) else [] if names is None else [names]
    if not all(isinstance(path, str) and path for path in paths):
        raise InputError(f"{where}: image must be a path or a list of paths, got {names!r:.60}")
    if not isinstance(data.get("instruction"), str | None):
        raise InputError(f"{where}: instruction must be a text, got {data['instruction']!r:.60}")
    if paths and data.get("text") is None:
        data["text"] = ""


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
