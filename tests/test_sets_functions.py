"""Sentences that ask for source code: the code stays as it is, and never says the sentence."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from textwrap import indent

import pytest

from smartrt.benchmarks.sets.functions import stdlib_functions
from smartrt.errors import InputError
from smartrt.evaluation.summaries import stands_in
from support import message_of

STDLIB = Path(sysconfig.get_path("stdlib"))
ASK = "Add the squares of numbers."
CODE = [
    "total = sum((number * number for number in numbers if number is not None))",
    "return total if total else None",
]
BODY = "\n    ".join(CODE)
ALL = 10_000


@pytest.fixture(scope="module")
def whole():
    """Whatever the standard library gives."""
    return stdlib_functions(ALL, ALL)


@pytest.fixture
def made(tmp_path):
    """The set of a library with these modules."""

    def make(queries=100, documents=100, **modules):
        for name, content in modules.items():
            (tmp_path / f"{name}.py").write_text(content, encoding="utf-8")
        return stdlib_functions(queries, documents, tmp_path)

    return make


def function(summary=ASK, name="f", body=BODY, rest="", head="def", args="numbers"):
    docstring = f'"""{summary}{rest}"""' if summary else "pass"
    return f"{head} {name}({args}):\n    {docstring}\n    {body}\n"


def asked(data):
    """Query -> source of its one relevant document."""
    assert all(list(gains.values()) == [1.0] for gains in data.gains)
    return {q.text: data.documents[next(iter(g))].text for q, g in zip(data.queries, data.gains, strict=True)}


def ids(records):
    return [record.id for record in records]


@pytest.mark.parametrize("rest", ["", " And more.", "\n\n    Details: Add the squares of numbers.\n    "])
def test_the_sentence_asks_for_the_source_without_the_docstring(made, rest):
    assert asked(made(m=function(rest=rest))) == {ASK: f"def f(numbers):\n    {BODY}"}


KINDS = {
    "async": (function(head="async def"), f"async def f(numbers):\n    {BODY}"),
    "decorated": ("@cache\n" + function(), f"@cache\ndef f(numbers):\n    {BODY}"),
    "annotated": (function(args="numbers: list[int]"), f"def f(numbers: list[int]):\n    {BODY}"),
    "with comments": (function(body=f"# {ASK}\n    {BODY}"), f"def f(numbers):\n    {BODY}"),
    "under a condition": ("if x:\n" + indent(function(), "    "), f"def f(numbers):\n    {BODY}"),
}


@pytest.mark.parametrize(("content", "source"), KINDS.values(), ids=KINDS)
def test_a_document_is_what_the_definition_is_written_back_as(made, content, source):
    assert asked(made(m=content)) == {ASK: source}


def test_methods_are_asked_for_under_their_full_name(made):
    data = made(m="class A:\n    class B:\n" + indent(function(), " " * 8))
    assert ids(data.queries) == ids(data.documents) == ["m.A.B.f"]


NO_DOCUMENT = {
    "no docstring": function("", name="g"),
    "an empty docstring": function("  ", name="g"),
    "a docstring only": 'def g():\n    """Add the roots of numbers."""\n',
    "too little code": function("Add the roots of numbers.", "g", body="return sum(numbers)"),
    "a private function": function("Add the roots of numbers.", "_g"),
    "an overload": '@overload\ndef g(x: int):\n    """Add the roots of numbers."""\n    ...\n',
    "code nested too deeply": function("Add the roots of numbers.", "g", body="x = " + " + ".join(["1"] * 900)),
    "a literal with the sentence": function("Add the roots", "g", body='x = "Add the\\troots, please."\n    ' + BODY),
    "a formatted literal with it": function("Add the roots", "g", body='x = f"{y} Add the\\nroots."\n    ' + BODY),
}


@pytest.mark.parametrize("content", NO_DOCUMENT.values(), ids=NO_DOCUMENT)
def test_what_cannot_be_found_by_its_code_is_no_document(made, content):
    data = made(a=content, m=function())
    assert ids(data.queries) == ids(data.documents) == ["m.f"]


@pytest.mark.parametrize(("length", "wanted"), [(79, ["m.f"]), (80, ["m.f", "m.g"])])
def test_eighty_characters_of_code_are_enough(made, length, wanted):
    body = f"return {'x' * (length - len('    return ') - 1)}"  # the line end and the indentation count
    assert ids(made(m=function() + function("Add roots of numbers.", "g", body)).documents) == wanted


UNASKABLE = {
    "three words": "Add the roots.",
    "forty-one words": "word " * 41,
}


@pytest.mark.parametrize("summary", UNASKABLE.values(), ids=UNASKABLE)
def test_a_sentence_too_short_or_too_long_makes_a_distractor(made, summary):
    data = made(m=function() + function(summary, "g", BODY.replace("total", "result")))
    assert (ids(data.queries), ids(data.documents)) == (["m.f"], ["m.f", "m.g"])


def test_a_sentence_that_the_code_says_is_not_asked(made):
    said = function("total if total else None", "g")
    data = made(m=said + function())
    assert (ids(data.queries), ids(data.documents)) == (["m.f"], ["m.g", "m.f"])


def test_a_sentence_that_two_functions_share_is_asked_of_neither(made):
    twins = function() + function("add THE\n    squares of   numbers", "g", BODY.replace("total", "result"))
    data = made(m=twins + function("Open a file to read.", "h", BODY.replace("total", "file")))
    assert (ids(data.queries), ids(data.documents)) == (["m.h"], ["m.f", "m.g", "m.h"])


def test_of_two_functions_with_one_source_the_first_stands_for_both(made):
    data = made(a=function(), b=function("Add the roots of numbers."))
    assert ids(data.queries) == ids(data.documents) == ["a.f"]


def test_of_two_definitions_of_a_name_the_first_that_says_enough_is_kept(made):
    data = made(m=function(body="pass") + function(body=BODY.replace("total", "result")) + function())
    assert asked(data) == {ASK: f"def f(numbers):\n    {BODY.replace('total', 'result')}"}


def test_modules_take_turns(made):
    many = "".join(function(f"Add list {i} of numbers.", f"f{i}", BODY.replace("total", f"x{i}")) for i in range(20))
    data = made(8, 8, alpha=many, beta=many.replace("list", "row").replace("x", "y").split("def f3")[0])
    assert Counter(query.id.split(".")[0] for query in data.queries) == {"alpha": 5, "beta": 3}


@pytest.mark.parametrize(("queries", "documents"), [(0, 10), (-1, 10), (11, 10)])
def test_counts_that_make_no_set_are_refused(queries, documents):
    with pytest.raises(InputError) as caught:
        stdlib_functions(queries, documents)
    message_of(caught.value, f"got {queries} queries and {documents} documents")


def test_a_library_without_a_question_is_refused(made, tmp_path):
    with pytest.raises(InputError) as caught:
        made(m="def f(): pass\n")
    message_of(caught.value, str(tmp_path), "no docstring")


def test_the_set_is_the_same_whatever_the_hash_seed():
    script = (
        "import sys, pathlib, hashlib; from smartrt.benchmarks.sets.functions import stdlib_functions;"
        "found = stdlib_functions(30, 50, pathlib.Path(sys.argv[1]));"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script, str(STDLIB / "email")],
            env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert [len(each.strip()) for each in printed] == [64]


def test_the_standard_library_gives_as_many_as_are_wanted(whole):
    assert len(whole.queries) > 1500
    assert len(whole.documents) > 2000


def test_each_query_has_one_relevant_document_of_its_own(whole):
    relevant = [next(iter(gains)) for gains in whole.gains]
    assert len(set(relevant)) == len(relevant)
    assert all(list(gains.values()) == [1.0] for gains in whole.gains)
    assert [whole.documents[at].id for at in relevant] == ids(whole.queries)


def test_no_sentence_stands_in_its_document_nor_in_a_literal_of_it(whole):
    for query, source in asked(whole).items():
        literals = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
        assert not any(
            stands_in(query, text) for text in (source, *(text for text in literals if isinstance(text, str)))
        )


def test_documents_differ_and_are_definitions_of_their_name(whole):
    assert len({document.text for document in whole.documents}) == len(whole.documents)
    for document in whole.documents:
        (node,) = ast.parse(document.text).body
        assert document.id.endswith(f".{node.name}")
