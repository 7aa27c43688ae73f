"""The Python standard library as a corpus: public functions, classes and methods by their docstring.

Read with `ast` from the interpreter that runs: nothing is imported, nothing is executed, nothing is
downloaded. The same Python version gives the same records in the same order.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ..jsonl import Record
from .stdlib_source import docstring_of, read_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from .stdlib_source import Definition


def read_stdlib(root: Path | None = None) -> list[Record]:
    """The records, sorted by module: id ``module.Class.method``, text signature and docstring.

    Args:
        root: Directory of the standard library; the running interpreter's if None.
    """
    records: dict[str, Record] = {}
    for name, node in read_definitions(root):
        docstring = docstring_of(node)
        if docstring.strip():  # a definition under `if` may come twice
            records.setdefault(name, Record(name, f"{name}{_signature(node)}\n{docstring}", {}))
    return list(records.values())


def _signature(node: Definition) -> str:
    return "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
