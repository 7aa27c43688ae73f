"""The Python standard library as a corpus: read, never run."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from smartrt.evaluation.stdlib_corpus import read_stdlib
from smartrt.jsonl import Record
from support import run_python

STDLIB = Path(sysconfig.get_path("stdlib"))

ALPHA = '''
"""A module."""
def first(a, b: int = 2, *rest, key="k", **more) -> None:
    """The first.

    With a second paragraph.
    """
    def inner():
        """Not reached from outside."""
async def second(): "Waits."
def silent(): pass
def blank(): "   "
def _private(): "Not public."
class Thing(list):
    "A thing."
    def method(self, x): "Does it."
    def _hidden(self): "Not public."
    def __len__(self): "Not public either."
    @property
    def size(self): "How large."
    @size.setter
    def size(self, value): "Set it."
    class Part:
        def turn(self): "Turns."
class _Secret:
    "Not public."
    def method(self): "Out of reach."
value = 1
'''


@pytest.fixture
def library(tmp_path):
    """A standard library of a few files; a function adds one."""
    directory = tmp_path / "lib"

    def add(name, content):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return directory

    add("alpha.py", ALPHA)
    return add


def ids(directory):
    return [record.id for record in read_stdlib(directory)]


DOCUMENTED = '"Doc."\ndef f(): "Says something."\n'


def test_functions_classes_and_methods_come_in_the_order_of_the_file(library):
    assert ids(library("empty.py", "")) == [
        "alpha.first", "alpha.second", "alpha.Thing", "alpha.Thing.method", "alpha.Thing.size",
        "alpha.Thing.Part.turn",
    ]  # fmt: skip


def test_a_text_is_name_signature_and_docstring(library):
    records = {record.id: record for record in read_stdlib(library("empty.py", ""))}
    first = "alpha.first(a, b: int=2, *rest, key='k', **more)\nThe first.\n\nWith a second paragraph."
    assert records["alpha.first"] == Record("alpha.first", first, {})
    assert records["alpha.Thing"].text == "alpha.Thing\nA thing."
    assert records["alpha.Thing.size"].text == "alpha.Thing.size(self)\nHow large."


@pytest.mark.parametrize(
    "content",
    ["def f(:\n", "print 'old'\n", b"\xff\xfe", b"x = 1\0\n", "def f():\n\tif 1:\n        pass\n"],
    ids=["cut off", "another version", "not text", "a zero byte", "mixed indentation"],
)
def test_a_file_that_does_not_parse_is_passed_over(library, content):
    before = ids(library("empty.py", ""))
    assert ids(library("broken.py", content)) == before


def test_files_of_other_encodings_are_read_as_they_declare(library):
    directory = library("latin.py", '# -*- coding: latin-1 -*-\ndef f(): "Größe."\n'.encode("latin-1"))
    assert read_stdlib(directory)[-1] == Record("latin.f", "latin.f()\nGröße.", {})


@pytest.mark.parametrize(
    "name",
    ["_private.py", "__main__.py", "pkg/_inner/mod.py", "test/mod.py", "pkg/tests/mod.py", "site-packages/mod.py",
     "idlelib/mod.py", "mod.txt"],
)  # fmt: skip
def test_what_is_not_public_is_passed_over(library, name):
    before = ids(library("empty.py", ""))
    assert ids(library(name, DOCUMENTED)) == before


@pytest.mark.parametrize(
    ("name", "wanted"), [("pkg/__init__.py", "pkg.f"), ("pkg/mod.py", "pkg.mod.f"), ("a/b/c.py", "a.b.c.f")]
)
def test_packages_give_dotted_names(library, name, wanted):
    assert wanted in ids(library(name, DOCUMENTED))


def test_a_name_defined_twice_is_kept_once_as_it_was_first(library):
    directory = library("twice.py", 'def f(a): "First."\ndef f(b): "Second."\n')
    assert [record.text for record in read_stdlib(directory) if record.id == "twice.f"] == ["twice.f(a)\nFirst."]


@pytest.mark.parametrize(
    "content",
    [
        'if True:\n    def f(): "First."\nelse:\n    def f(): "Second."\n',
        'try:\n    def f(): "First."\nexcept ImportError:\n    def f(): "Second."\n',
    ],
    ids=["if", "try"],
)
def test_a_definition_under_a_condition_is_read_once(library, content):
    directory = library("choice.py", content)
    assert [record.text for record in read_stdlib(directory) if record.id == "choice.f"] == ["choice.f()\nFirst."]


def test_nothing_is_executed_and_warnings_of_the_files_are_not_ours(library):
    directory = library("loud.py", 'raise SystemExit(1)\nx = "\\d" is 1\n' + DOCUMENTED)
    assert "loud.f" in ids(directory)


def test_the_standard_library_of_this_python_is_read_whole():
    before = set(sys.modules)
    records = read_stdlib()
    assert set(sys.modules) == before
    names = [record.id for record in records]
    assert len(names) == len(set(names)) > 3000
    assert {"textwrap.dedent", "subprocess.check_output", "filecmp.dircmp", "functools.lru_cache"} <= set(names)
    assert not [name for name in names if any(part.startswith("_") for part in name.split("."))]
    assert all(record.text.startswith(record.id) and "\n" in record.text for record in records)
    modules = [name.split(".")[0] for name in names]
    assert not {"test", "idlelib", "encodings"} & set(modules)


def test_the_same_files_give_the_same_records_in_every_process():
    script = (
        "import sys, pathlib, hashlib; from smartrt.evaluation.stdlib_corpus import read_stdlib;"
        "print(hashlib.sha256(repr(read_stdlib(pathlib.Path(sys.argv[1]))).encode()).hexdigest())"
    )
    printed = {run_python(script, STDLIB / "email").stdout for _ in range(2)}
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64
