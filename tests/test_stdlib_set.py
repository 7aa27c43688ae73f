"""The standard library as a retrieval set: one right answer a query, none given away, the same every time."""

from __future__ import annotations

import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from smartrt.errors import InputError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.stdlib_corpus import read_stdlib
from smartrt.evaluation.stdlib_set import stdlib_set
from support import message_of, run_python

STDLIB = Path(sysconfig.get_path("stdlib"))
REST = "What follows says more of it than the summary does, and takes about a hundred characters to do so."


@pytest.fixture(scope="module")
def whole():
    return stdlib_set()


@pytest.fixture
def library(tmp_path):
    """A library of one file a module, each a list of docstrings; returns its directory."""

    def make(**modules):
        for name, docstrings in modules.items():
            lines = [f"def f{i}():\n    {docstring!r}\n" for i, docstring in enumerate(docstrings)]
            (tmp_path / f"{name}.py").write_text("".join(lines), encoding="utf-8")
        return tmp_path

    return make


def squeezed(text):
    return " ".join(text.split()).casefold()


def asked(data):
    """Query -> text of its one relevant document."""
    assert all(list(gains.values()) == [1.0] for gains in data.gains)
    return {q.text: data.documents[next(iter(g))].text for q, g in zip(data.queries, data.gains, strict=True)}


def test_the_set_has_the_sizes_asked_for(whole):
    assert (whole.name, len(whole.queries), len(whole.documents), whole.unjudged) == ("python-stdlib", 300, 600, 0)
    small = stdlib_set(20, 20, STDLIB / "email")
    assert (len(small.queries), len(small.documents)) == (20, 20)


def test_each_query_has_one_relevant_document_of_its_own(whole):
    relevant = [next(iter(gains)) for gains in whole.gains]
    assert len(set(relevant)) == len(relevant) == 300
    assert all(len(gains) == 1 for gains in whole.gains)
    assert [whole.documents[at].id for at in relevant] == [query.id for query in whole.queries]


def test_query_and_document_are_the_record_in_two(whole):
    texts = {record.id: record.text for record in read_stdlib()}
    for query, gains in zip(whole.queries, whole.gains, strict=True):
        (document,) = (whole.documents[at].text for at in gains)
        signature, _, rest = document.partition("\n")
        assert squeezed(f"{signature} {query.text} {rest}") == squeezed(texts[query.id])


def test_no_summary_stands_in_its_document(whole):
    for query, document in asked(whole).items():
        assert squeezed(query).rstrip(".") not in squeezed(document)


def test_nothing_comes_twice(whole):
    for records in (whole.queries, whole.documents):
        assert len({record.id for record in records}) == len({squeezed(record.text) for record in records})
        assert len({record.id for record in records}) == len(records)


def test_queries_and_documents_are_long_enough(whole):
    assert min(len(query.text.split()) for query in whole.queries) == 4
    assert max(len(query.text.split()) for query in whole.queries) <= 40
    assert min(len(document.text.partition("\n")[2]) for document in whole.documents) >= 80


def test_no_module_has_two_more_than_another_that_has_some_left(whole):
    of_module = Counter(query.id.split(".")[0] for query in whole.queries)
    assert len(of_module) > 100
    assert max(of_module.values()) <= 4


def test_documents_stand_in_the_order_of_the_library(whole):
    order = {record.id: i for i, record in enumerate(read_stdlib())}
    places = [order[document.id] for document in whole.documents]
    assert places == sorted(places)


def test_the_set_is_the_same_in_every_process():
    script = (
        "import sys, pathlib, hashlib; from smartrt.evaluation.stdlib_set import stdlib_set;"
        "found = stdlib_set(30, 50, pathlib.Path(sys.argv[1]));"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())"
    )
    printed = {run_python(script, STDLIB / "email").stdout for _ in range(2)}
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64


def test_a_small_library_gives_what_it_has(library):
    data = stdlib_set(root=library(alpha=[f"Sort a list by key.\n\n{REST}", "Too short to find."]))
    assert isinstance(data, RetrievalSet)
    assert asked(data) == {"Sort a list by key.": f"alpha.f0()\n{REST}"}
    assert [document.id for document in data.documents] == ["alpha.f0"]


SUMMARIES = {
    "a paragraph without a full stop": (f"Sort a list\n  by its key\n\n{REST}", "Sort a list by its key"),
    "one of two sentences": (f"Sort a list now. {REST}", "Sort a list now."),
    "a question": (f"Is this list sorted? {REST}", "Is this list sorted?"),
    "an abbreviation within": (f"Sort things, e.g. a list.\n\n{REST}", "Sort things, e.g. a list."),
    "a full stop within a name": (f"Sort a list.sort faster.\n\n{REST}", "Sort a list.sort faster."),
    "a blank line with spaces": (f"Sort a list now\n   \n{REST}", "Sort a list now"),
}


@pytest.mark.parametrize(("docstring", "query"), SUMMARIES.values(), ids=SUMMARIES)
def test_a_summary_is_the_first_sentence(library, docstring, query):
    assert asked(stdlib_set(root=library(alpha=[docstring]))) == {query: f"alpha.f0()\n{REST}"}


UNASKABLE = {
    "three words": f"Sort a list.\n\n{REST}",
    "forty-one words": f"{'word ' * 41}\n\n{REST}",
    "its summary again in the rest": f"Sort a list by key.\n\n{REST} To sort a  LIST by\nkey, sort it.",
}


@pytest.mark.parametrize("docstring", UNASKABLE.values(), ids=UNASKABLE)
def test_what_cannot_be_asked_for_is_a_distractor(library, docstring):
    data = stdlib_set(root=library(alpha=[docstring, f"Open a file to read.\n\n{REST}"]))
    assert [query.text for query in data.queries] == ["Open a file to read."]
    assert [document.id for document in data.documents] == ["alpha.f0", "alpha.f1"]


def test_a_rest_of_79_characters_is_no_document_and_one_of_80_is(library):
    root = library(alpha=[f"Sort a list by key.\n\n{'x' * 79}", f"Open a file to read.\n\n{'x' * 80}"])
    assert [document.id for document in stdlib_set(root=root).documents] == ["alpha.f1"]


def test_summaries_that_two_records_share_are_asked_of_neither(library):
    shared = [f"Sort a list by key.\n\n{REST}", f"sort a list\nby key\n\n{REST} Again."]
    data = stdlib_set(root=library(alpha=shared, beta=[f"Open a file to read.\n\n{REST}"]))
    assert [query.text for query in data.queries] == ["Open a file to read."]
    assert len(data.documents) == 3


def test_modules_take_turns(library):
    many = [f"Sort list {i} by key.\n\n{REST}" for i in range(20)]
    root = library(alpha=many, beta=[f"Open file {i} to read.\n\n{REST}" for i in range(3)])
    of_module = Counter(query.id.split(".")[0] for query in stdlib_set(8, 8, root).queries)
    assert of_module == {"alpha": 5, "beta": 3}
    assert Counter(d.id.split(".")[0] for d in stdlib_set(2, 6, root).documents)["beta"] == 3


def test_distractors_do_not_change_the_queries(library):
    root = library(alpha=[f"Sort list {i} by key.\n\n{REST}" for i in range(20)])
    assert stdlib_set(5, 5, root).queries == stdlib_set(5, 15, root).queries
    fewer, more = ({document.id for document in stdlib_set(5, count, root).documents} for count in (5, 15))
    assert fewer < more


@pytest.mark.parametrize(("queries", "documents"), [(0, 10), (-1, 10), (11, 10), (1, 0)])
def test_counts_that_make_no_set_are_refused(queries, documents):
    with pytest.raises(InputError) as caught:
        stdlib_set(queries, documents)
    message_of(caught.value, f"got {queries} queries and {documents} documents")


def test_a_library_without_a_summary_is_refused(library):
    with pytest.raises(InputError) as caught:
        stdlib_set(root=library(alpha=["Short."]))
    message_of(caught.value, "no docstring")
