"""Public definitions of the Python standard library as syntax trees: nothing is imported, nothing is executed.

The same Python version gives the same definitions in the same order.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIPPED = {
    "test", "tests", "distutils", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data", "encodings",
    "site-packages", "dist-packages", "lib-dynload", "__pycache__",
}  # fmt: skip

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef

UNWRITABLE = (RecursionError, ValueError)
"""What `ast.unparse` raises for what is nested too deeply, and before Python 3.12 for some f-strings."""


def read_definitions(root: Path | None = None) -> Iterator[tuple[str, Definition]]:
    """Public functions, classes and their methods, sorted by module and then as they stand in the file.

    Args:
        root: Directory of the library; the running interpreter's if None.

    Yields:
        ``module.Class.method`` and its node; a name that is defined under `if` and again under `else` comes twice.

    Raises:
        InputError: A file cannot be read.
    """
    directory = root or Path(sysconfig.get_path("stdlib"))
    for path in sorted(directory.rglob("*.py")):
        parts = path.relative_to(directory).with_suffix("").parts
        if _is_public(parts) and path.is_file():
            yield from _named(_parse(path), ".".join(part for part in parts if part != "__init__"))


def definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Public definitions of a module or class, those under ``if`` and ``try`` included."""
    waiting = body[::-1]
    while waiting:  # a stack, for a chain of ``elif`` may be longer than Python's own allows
        node = waiting.pop()
        if not isinstance(node, Definition):
            waiting += _branches(node)[::-1]
        elif not node.name.startswith("_"):
            yield node


def _branches(node: ast.stmt) -> list[ast.stmt]:
    if isinstance(node, ast.If):
        return node.body + node.orelse
    if isinstance(node, ast.Try):
        return node.body + node.orelse + [statement for handler in node.handlers for statement in handler.body]
    return []


def docstring_of(node: Definition) -> str:
    """The docstring without its indentation, or an empty text.

    One with half a surrogate pair, which neither a file nor a tokenizer takes, counts as none.
    """
    docstring = ast.get_docstring(node) or ""
    return docstring if docstring.isascii() or _is_unicode(docstring) else ""


def _is_public(parts: tuple[str, ...]) -> bool:
    return not _SKIPPED.intersection(parts) and not any(part.startswith("_") and part != "__init__" for part in parts)


def _parse(path: Path) -> list[ast.stmt]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the files are warned of is not our affair
            return ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # templates and files for other versions lie there too; the last two are nested too deeply


def _named(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in definitions(body):
        name = f"{prefix}.{node.name}"
        yield name, node
        if isinstance(node, ast.ClassDef):
            yield from _named(node.body, name)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
