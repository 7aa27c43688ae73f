"""The Python standard library as a corpus: public functions, classes and methods by their docstring.

Read with `ast` from the interpreter that runs: nothing is imported, nothing is executed, nothing is
downloaded. The same Python version gives the same records in the same order.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..jsonl import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIPPED = {
    "test", "tests", "distutils", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data", "encodings",
    "site-packages", "dist-packages", "lib-dynload", "__pycache__",
}  # fmt: skip

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read_stdlib(root: Path | None = None) -> list[Record]:
    """The records, sorted by module: id ``module.Class.method``, text signature and docstring.

    Args:
        root: Directory of the standard library; the running interpreter's if None.
    """
    directory = root or Path(sysconfig.get_path("stdlib"))
    records: dict[str, Record] = {}
    for path in sorted(directory.rglob("*.py")):
        parts = path.relative_to(directory).with_suffix("").parts
        if _is_public(parts):
            module = ".".join(part for part in parts if part != "__init__")
            for record in _module_records(path, module):
                records.setdefault(record.id, record)  # a definition under `if` may come twice
    return list(records.values())


def _is_public(parts: tuple[str, ...]) -> bool:
    return not _SKIPPED.intersection(parts) and not any(part.startswith("_") and part != "__init__" for part in parts)


def _module_records(path: Path, module: str) -> Iterator[Record]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the files are warned of is not our affair
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and files for other versions lie there too
        return
    yield from _records(tree.body, module)


def _records(body: list[ast.stmt], prefix: str) -> Iterator[Record]:
    for node in _definitions(body):
        name = f"{prefix}.{node.name}"
        docstring = ast.get_docstring(node)
        if docstring and docstring.strip():
            yield Record(name, f"{name}{_signature(node)}\n{docstring}", {})
        if isinstance(node, ast.ClassDef):
            yield from _records(node.body, name)


def _definitions(body: list[ast.stmt]) -> Iterator[_Definition]:
    """Public definitions of a module or class, those under ``if`` and ``try`` included."""
    for node in body:
        if isinstance(node, _Definition):
            if not node.name.startswith("_"):
                yield node
        elif isinstance(node, ast.If):
            yield from _definitions(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _definitions(node.body + node.orelse + handlers)


def _signature(node: _Definition) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    return f"({ast.unparse(node.args)})"
