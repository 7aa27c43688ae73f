"""Sentences that ask for the page of a class: several may ask for one page, and it says none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from textwrap import indent

import pytest

from smartrt.benchmarks.sets.classes import stdlib_classes
from smartrt.errors import InputError
from smartrt.evaluation.summaries import stands_in
from support import message_of

STDLIB = Path(sysconfig.get_path("stdlib"))
ABOUT = "A bin for things. It says enough of itself that nobody who looks for a bin can miss it."
ALL = 10_000


@pytest.fixture(scope="module")
def whole():
    """Whatever the standard library gives: every summary that can be cut is cut."""
    return stdlib_classes(ALL, ALL)


@pytest.fixture
def made(tmp_path):
    """The set of a library with these modules."""

    def make(queries=100, documents=100, **modules):
        for name, content in modules.items():
            (tmp_path / f"{name}.py").write_text(content, encoding="utf-8")
        return stdlib_classes(queries, documents, tmp_path)

    return make


def method(summary, name="take", rest="", head="def", args="self"):
    docstring = f'"""{summary}{rest}"""' if summary else "pass"
    return f"{head} {name}({args}):\n    {docstring}\n"


def a_class(*members, name="Bin", about=ABOUT, bases=""):
    return f"class {name}{bases}:\n" + indent(
        (f'"""{about}"""\n' if about else "") + "".join(members) + "x = 1\n", "    "
    )


TAKE = method("Take one thing out of it.")


def ids(records):
    return [record.id for record in records]


def pages(data):
    return {document.id: document.text for document in data.documents}


def asked(data):
    """Query id -> (query, id of its one relevant document)."""
    assert all(list(gains.values()) == [1.0] for gains in data.gains)
    return {q.id: (q.text, data.documents[next(iter(g))].id) for q, g in zip(data.queries, data.gains, strict=True)}


def test_a_page_is_heading_docstring_and_methods_in_order_without_what_is_asked(made):
    members = [
        method("Put a thing in.", "put", " There is room.", args="self, thing: int=1, *more"),
        method("", "look"),
        method("Take one thing out.", "take", "\n\n    Raises:\n        Empty: None is left.\n    ", head="async def"),
        method("Not to be seen by anybody.", "_hide"),
    ]
    data = made(m=a_class(*members, bases="(Box, metaclass=Meta)"))
    assert asked(data) == {
        "m.Bin.put": ("Put a thing in.", "m.Bin"),
        "m.Bin.take": ("Take one thing out.", "m.Bin"),
    }
    assert pages(data) == {
        "m.Bin": f"class m.Bin(Box, metaclass=Meta)\n{ABOUT}\n\nput(self, thing: int=1, *more)\nThere is room.\n\n"
        "look(self)\n\ntake(self)\nRaises:\n    Empty: None is left."
    }


def test_a_summary_that_is_not_asked_for_stays_on_its_page(made):
    data = made(1, 1, m=a_class(TAKE, method("Put a thing into it.", "put")))
    (query,) = data.queries
    kept = {"m.Bin.take": "Put a thing into it.", "m.Bin.put": "Take one thing out of it."}[query.id]
    assert kept in pages(data)["m.Bin"]
    assert query.text not in pages(data)["m.Bin"]


def test_classes_without_bases_docstring_or_a_docstring_anywhere_have_pages(made):
    bare = a_class(*(method("", f"method_{i}") for i in range(6)), about="", name="Bare")
    data = made(m=a_class(TAKE) + bare)
    assert pages(data)["m.Bare"] == "class m.Bare\n\n" + "\n\n".join(f"method_{i}(self)" for i in range(6))


def test_a_class_in_a_class_has_a_page_of_its_own(made):
    inner = a_class(method("Turn it round twice or thrice."), name="Inner")
    data = made(m=a_class(TAKE, inner))
    assert asked(data)["m.Bin.Inner.take"] == ("Turn it round twice or thrice.", "m.Bin.Inner")
    assert "Turn" not in pages(data)["m.Bin"]


SETTER = method("Set what one will take.", args="self, to")
ANOTHER = method("Take another thing out.")
SAME_NAME = {
    "a property and its setter": f"@property\n{TAKE}@take.setter\n{SETTER}",
    "overloads, then the method": 2 * ("@overload\n" + method("", args="self, one")) + TAKE,
    "both arms of a condition": f"if x:\n{indent(TAKE, '    ')}else:\n{indent(ANOTHER, '    ')}",
}


@pytest.mark.parametrize("members", SAME_NAME.values(), ids=SAME_NAME)
def test_of_methods_of_one_name_the_first_that_is_documented_is_kept(made, members):
    data = made(m=a_class(members))
    assert asked(data) == {"m.Bin.take": ("Take one thing out of it.", "m.Bin")}
    assert pages(data)["m.Bin"] == f"class m.Bin\n{ABOUT}\n\ntake(self)"


PUT = method("Put a thing in.", "put")
UNASKABLE = {
    "three words": method("Put it in.", "put"),
    "forty-one words": method("word " * 41, "put"),
    "no docstring": method("", "put"),
    "half a surrogate pair": method("Put a thing in \\ud83d there.", "put"),
    "its sentence in another method": PUT + method("See below.", "see", "\n\n    Or put a\n    thing in; or not."),
    "its sentence in its own rest": method("Put a thing in.", "put", "\n\n    PUT a thing in, is what it does."),
}


@pytest.mark.parametrize("members", UNASKABLE.values(), ids=UNASKABLE)
def test_what_would_be_vague_or_given_away_is_not_asked(made, members):
    data = made(m=a_class(TAKE, members))
    assert ids(data.queries) == ["m.Bin.take"]


def test_a_sentence_in_the_docstring_of_the_class_is_not_asked(made):
    data = made(m=a_class(TAKE, method("It says enough of itself.", "say")))
    assert ids(data.queries) == ["m.Bin.take"]


@pytest.mark.parametrize("where", ["same", "other"])
def test_a_sentence_that_two_methods_share_is_asked_of_neither(made, where):
    shared = method("PUT a thing\n    in"), method("Put a thing in.", "put")
    if where == "same":
        data = made(m=a_class(*shared, method("Look at what is in there.", "look")))
    else:
        data = made(m=a_class(shared[0]) + a_class(shared[1], method("Look at what is in there.", "look"), name="Bag"))
    assert [query.text for query in data.queries] == ["Look at what is in there."]


TOO_LITTLE = {
    "a short docstring": a_class(method("Turn it round twice or thrice."), about="A thing.", name="Small"),
    "what can be asked for only": a_class(method("Turn it round, " + "again and " * 10), about="", name="Small"),
    "nothing": a_class(about="", name="Small"),
    "bases nested too deeply": a_class(bases=f"({' + '.join(['1'] * 900)})", name="Small"),
    "a private class": a_class(method("Turn it round twice or thrice."), name="_Small"),
    "a function": method(f"Turn it round twice or thrice.\n\n    {ABOUT}"),
}


@pytest.mark.parametrize("content", TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_what_says_too_little_has_no_page(made, content):
    data = made(a=content, m=a_class(TAKE))
    assert (ids(data.queries), ids(data.documents)) == (["m.Bin.take"], ["m.Bin"])


@pytest.mark.parametrize(("length", "wanted"), [(78, ["m.Bin"]), (79, ["m.Bin", "m.Small"])])
def test_eighty_characters_below_the_heading_are_enough(made, length, wanted):
    assert ids(made(m=a_class(TAKE) + a_class(about="x" * length, name="Small")).documents) == wanted


def test_pages_without_a_question_fill_up_module_by_module(made):
    many = "".join(a_class(name=f"C{i}") for i in range(10))
    data = made(1, 5, alpha=a_class(TAKE), beta=many, gamma=many)
    assert Counter(document.id.split(".")[0] for document in data.documents) == {"alpha": 1, "beta": 2, "gamma": 2}
    assert ids(data.documents) == sorted(ids(data.documents))


def test_a_page_that_several_ask_for_counts_once_among_the_documents(made):
    many = "".join(a_class(name=f"C{i}") for i in range(10))
    data = made(2, 5, alpha=a_class(TAKE, method("Put a thing into it.", "put")), beta=many)
    assert (len(data.queries), len(data.documents)) == (2, 5)
    assert {page for _, page in asked(data).values()} == {"alpha.Bin"}


def test_of_classes_of_one_name_the_first_that_says_enough_is_kept(made):
    arms = [a_class(about="Too little."), a_class(TAKE), a_class(method("Put a thing into it."))]
    data = made(m="if x:\n" + indent(arms[0], "    ") + "elif y:\n" + indent(arms[1], "    ") + arms[2])
    assert asked(data) == {"m.Bin.take": ("Take one thing out of it.", "m.Bin")}
    assert ids(data.documents) == ["m.Bin"]


@pytest.mark.parametrize(("queries", "documents"), [(0, 10), (-1, 10), (11, 10)])
def test_counts_that_make_no_set_are_refused(queries, documents):
    with pytest.raises(InputError) as caught:
        stdlib_classes(queries, documents)
    message_of(caught.value, f"got {queries} queries and {documents} documents")


def test_a_library_without_a_question_is_refused(made, tmp_path):
    with pytest.raises(InputError) as caught:
        made(m=a_class())
    message_of(caught.value, str(tmp_path), "no docstring")


def test_the_set_is_the_same_whatever_the_hash_seed():
    script = (
        "import sys, pathlib, hashlib; from smartrt.benchmarks.sets.classes import stdlib_classes;"
        "found = stdlib_classes(20, 30, pathlib.Path(sys.argv[1]));"
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
    assert len(whole.queries) > 800
    assert len(whole.documents) > 600


def test_each_query_has_the_page_of_its_class_and_no_other(whole):
    found = asked(whole)
    assert all(page == query.rpartition(".")[0] for query, (_, page) in found.items())
    assert max(Counter(page for _, page in found.values()).values()) > 10


def test_no_page_says_any_sentence_that_is_asked_of_it(whole):
    text = pages(whole)
    assert not [name for name, (query, page) in asked(whole).items() if stands_in(query, text[page])]


def test_no_sentence_of_a_smaller_set_stands_on_its_page_either():
    data = stdlib_classes(50, 50, STDLIB / "email")
    text = pages(data)
    assert not [name for name, (query, page) in asked(data).items() if stands_in(query, text[page])]


def test_no_page_and_no_question_comes_twice(whole):
    for records in (whole.queries, whole.documents):
        assert len({record.text.casefold() for record in records}) == len(set(ids(records))) == len(records)
