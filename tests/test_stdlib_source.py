"""The walk over a library: read, never run, whatever lies there, and only what is public."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from smartrt.errors import InputError
from smartrt.evaluation.stdlib_source import docstring_of, read_definitions
from support import message_of

GOOD = 'def f(): "Says something."\n'


@pytest.fixture
def library(tmp_path):
    """Adds a file, text or bytes; returns the library's directory."""

    def add(name, content):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "lib"

    return add


def names(root):
    return [name for name, _ in read_definitions(root)]


def test_definitions_come_sorted_by_module_and_as_they_stand_in_the_file(library):
    library("zeta.py", GOOD)
    root = library(
        "alpha.py", "async def wait(): pass\nclass A:\n    def z(self): pass\n    class B:\n        def a(x): 1\n"
    )
    assert names(root) == ["alpha.wait", "alpha.A", "alpha.A.z", "alpha.A.B", "alpha.A.B.a", "zeta.f"]


def test_each_name_comes_with_its_own_node(library):
    nodes = dict(read_definitions(library("alpha.py", "class A:\n    async def wait(self): pass\ndef f(): pass\n")))
    assert [type(node) for node in nodes.values()] == [ast.ClassDef, ast.AsyncFunctionDef, ast.FunctionDef]
    assert [node.name for node in nodes.values()] == ["A", "wait", "f"]


CONDITIONS = {
    "if and else": "if x:\n    def a(): 1\nelse:\n    def b(): 1\n",
    "elif": "if x: pass\nelif y:\n    def a(): 1\nelse:\n    def b(): 1\n",
    "try and except": "try:\n    def a(): 1\nexcept E:\n    def b(): 1\n",
    "try else": "try:\n    def a(): 1\nexcept E: pass\nelse:\n    def b(): 1\n",
    "if in try": "try:\n    if x:\n        def a(): 1\nexcept E: pass\ndef b(): 1\n",
}


@pytest.mark.parametrize("content", CONDITIONS.values(), ids=CONDITIONS)
def test_definitions_under_a_condition_are_found_in_order(library, content):
    assert names(library("m.py", content)) == ["m.a", "m.b"]


def test_a_name_that_is_defined_twice_comes_twice(library):
    assert names(library("m.py", "if x:\n    def a(): 1\nelse:\n    def a(): 2\n")) == ["m.a", "m.a"]


PRIVATE = {
    "a function": "def _f(): pass\n",
    "a class and what is in it": "class _C:\n    def f(self): pass\n",
    "a function in a function": "def _f():\n    def g(): pass\n",
    "a special method": "class _C:\n    def __len__(self): pass\n",
}


@pytest.mark.parametrize("content", PRIVATE.values(), ids=PRIVATE)
def test_what_is_private_is_passed_over(library, content):
    assert names(library("m.py", content + GOOD)) == ["m.f"]


BROKEN = {
    "a syntax error": "def f(:\n",
    "another Python": "print 'old'\n",
    "a template": "def {{name}}(): pass\n",
    "not text": b"\xff\xfe\x00",
    "latin-1 that does not say so": b'def f(): "Gr\xf6\xdfe."\n',
    "an unknown encoding": b"# -*- coding: klingon -*-\n",
    "a zero byte": b"x = 1\0\n",
    "mixed indentation": "def f():\n\tif 1:\n        pass\n",
    "nested too deeply for the parser": "x = " + "(" * 500 + ")" * 500 + "\n",
    "a chain too long for the compiler": "x = " + "-" * 100_000 + "1\n",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_does_not_parse_is_passed_over(library, content):
    library("broken.py", content)
    assert names(library("m.py", GOOD)) == ["m.f"]


def test_a_long_chain_of_conditions_is_walked(library):
    chain = "".join(f"{'el' if i else ''}if x == {i}:\n    def f{i}(): pass\n" for i in range(150))
    assert names(library("m.py", chain)) == [f"m.f{i}" for i in range(150)]


def test_a_file_in_latin_1_that_says_so_is_read(library):
    ((_, node),) = read_definitions(library("m.py", '# -*- coding: latin-1 -*-\ndef f(): "Größe."\n'.encode("latin-1")))
    assert docstring_of(node) == "Größe."


def test_a_directory_with_the_name_of_a_file_is_none(library):
    assert names(library("package.py/m.py", GOOD)) == ["package.py.m.f"]


def test_a_file_that_cannot_be_read_is_an_error(library, monkeypatch):
    root = library("m.py", GOOD)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as a user who may read everything
    with pytest.raises(InputError) as caught:
        names(root)
    message_of(caught.value, str(root / "m.py"), "Permission denied")


def test_nothing_is_executed_and_warnings_of_the_files_are_not_ours(library):
    assert names(library("m.py", 'raise SystemExit(1)\nx = "\\d" is 1\n' + GOOD)) == ["m.f"]


DOCSTRINGS = {
    "indented": ('def f():\n    """One.\n\n    Two.\n    """\n', "One.\n\nTwo."),
    "none": ("def f(): pass\n", ""),
    "bytes": ('def f(): b"One."\n', ""),
    "formatted": ('def f(): f"One."\n', ""),
    "a whole pair": ('def f(): "\\U0001f600"\n', "\U0001f600"),
    "half a pair": ('def f(): "One \\ud83d."\n', ""),
}


@pytest.mark.parametrize(("content", "wanted"), DOCSTRINGS.values(), ids=DOCSTRINGS)
def test_a_docstring_is_a_text_that_can_be_written(library, content, wanted):
    ((_, node),) = read_definitions(library("m.py", content))
    assert docstring_of(node) == wanted
