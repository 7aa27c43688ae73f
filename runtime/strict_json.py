"""JSON <-> frozen dataclasses, where a surprise is an error.

Manifests are the only truth the runtime reads, so a key that nobody knows, a missing key or a value of
the wrong type must stop the reader instead of being skipped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024
"""A manifest larger than this is refused before it is parsed."""


class StrictJsonError(Exception):
    """What is wrong and where, as ``key.key[3]: reason``.

    `from_the_future` marks what a newer writer may have meant: a newer version, a key nobody knows.
    """

    def __init__(self, where: str, reason: str, *, from_the_future: bool = False) -> None:
        place = where if where.isprintable() else ascii(where)
        super().__init__(f"{place or 'top level'}: {reason}")
        self.from_the_future = from_the_future


def read(kind: type[T], path: Path, version: int, what: str) -> T:
    """Read a manifest: its ``format_version`` first, then every key and type.

    Args:
        kind: The dataclass to build.
        path: The JSON file.
        version: The one format version that is understood.
        what: Whose format it is, for the message.
    """
    data = load(path)
    found = data.get("format_version") if isinstance(data, dict) else None
    if type(found) is int and found > version:
        reason = f"{what} format {found}, this smartrt reads up to {version}"
        raise StrictJsonError("format_version", reason, from_the_future=True)
    if type(found) is not int or found != version:
        raise StrictJsonError("format_version", f"expected {version}, got {found!r:.60}")
    return parse(kind, data)


def load(path: Path) -> Any:
    """Read a JSON file; duplicate keys, NaN, bad UTF-8 and oversized files raise StrictJsonError."""
    if path.stat().st_size > MAX_BYTES:
        raise StrictJsonError("", f"{path.stat().st_size} bytes is over the limit of {MAX_BYTES}")
    try:
        text = path.read_bytes().decode("utf-8")
        data = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair, written as an escape, ends here
    except (ValueError, RecursionError) as error:  # ValueError: UTF-8, syntax, a number of 5,000 digits
        raise StrictJsonError("", f"not JSON ({error})") from error
    return data


def dumps(data: Any) -> str:
    """The one spelling used on disk: sorted keys, two spaces, UTF-8, a final newline."""
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        data = dataclasses.asdict(data)
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def parse(kind: type[T], data: Any, where: str = "") -> T:
    """Build the dataclass `kind` from parsed JSON, checking keys and types all the way down."""
    if not isinstance(data, dict):
        raise StrictJsonError(where, f"expected an object, got {_name(data)}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in fields:
            raise StrictJsonError(f"{prefix}{key}", "unknown key", from_the_future=True)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{prefix}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise StrictJsonError(f"{prefix}{name}", "missing key")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _convert(inner, value, where)
    if origin is Literal:
        if value not in arguments:
            raise StrictJsonError(where, f"expected one of {', '.join(map(str, arguments))}, got {value!r:.60}")
        return value
    if origin in (tuple, dict):
        return _container(origin, arguments, value, where)
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _container(origin: type, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """A ``tuple[X, ...]`` from a list, a ``dict[str, X]`` from an object."""
    expected, name = (list, "list") if origin is tuple else (dict, "object")
    if not isinstance(value, expected):
        raise StrictJsonError(where, f"expected {name}, got {_name(value)}")
    if isinstance(value, list):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not hint:  # bool is an int: isinstance would let `true` pass as a number
        raise StrictJsonError(where, f"expected {hint.__name__}, got {_name(value)} {value!r:.60}")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise StrictJsonError(twice, "written twice in one object")
    return result


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise StrictJsonError("", f"{text:.20} is too large a number")
    return number


def _no_constants(text: str) -> Any:
    raise StrictJsonError("", f"{text} is not JSON")


def _name(value: Any) -> str:
    return {dict: "object", list: "list", str: "str", bool: "bool", type(None): "null"}.get(
        type(value), type(value).__name__
    )
