"""Sets by name: opening, listing, and writing what reads back as the same set."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commandline import call, refused, tree
from smartrt.benchmarks.sets import SETS, Generated, catalogue, make_set, open_set, write_set
from smartrt.errors import InputError, StorageError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.jsonl import Record
from support import message_of

NAMES = ("stdlib-functions", "stdlib-classes", "stdlib-known-item")
SMALL = RetrievalSet(
    "small",
    (Record("d0", "Größe\u2028und mehr\n", {}), Record("d1", "", {"page": 3}), Record("a b", "x", {})),
    (Record("q0", "how large?", {}), Record("q1", "how many?", {})),
    ({1: 1.0, 0: 0.1}, {2: 3.0}),
    0,
)


@pytest.fixture(scope="module")
def sets():
    """Each set of this Python, small: reading the library takes seconds."""
    return {name: make_set(name, 30, 40) for name in NAMES}


@pytest.fixture
def quick(monkeypatch):
    """A catalogue of sets that need no library; each remembers the counts it was asked for."""
    asked = []

    def maker(name):
        def make(queries, documents):
            asked.append((name, queries, documents))
            return replace(SMALL, name=name)

        return make

    entries = {name: Generated(maker(name), 5, 9, f"what {name} asks") for name in ("one", "two")}
    for module in (catalogue, _command()):
        monkeypatch.setattr(module, "SETS", entries)
    return asked


def _command():
    from smartrt.benchmarks.commands import sets

    return sets


@pytest.mark.parametrize("name", NAMES)
def test_a_set_has_its_name_and_the_counts_asked_for(sets, name):
    data = sets[name]
    assert (data.name, len(data.queries), len(data.documents), data.unjudged) == (name, 30, 40, 0)
    assert all(list(gains.values()) == [1.0] for gains in data.gains)


def test_the_catalogue_names_every_set_and_says_what_it_asks():
    assert tuple(SETS) == NAMES
    assert all(entry.description and entry.queries <= entry.documents for entry in SETS.values())


def test_a_set_opened_by_name_has_its_usual_counts(quick):
    assert open_set("two").name == "two"
    assert quick == [("two", 5, 9)]


@pytest.mark.parametrize(("counts", "wanted"), [((7, None), (7, 9)), ((None, 20), (5, 20)), ((0, 0), (0, 0))])
def test_a_count_that_is_given_replaces_the_usual_one(quick, counts, wanted):
    make_set("one", *counts)
    assert quick == [("one", *wanted)]


def test_a_directory_is_read(tmp_path):
    write_set(SMALL, tmp_path / "small")
    assert open_set(str(tmp_path / "small")) == SMALL


def test_a_name_is_never_a_directory_and_a_path_never_a_name(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(SMALL, tmp_path / "one")
    assert open_set("./one") == replace(SMALL, name="one")
    assert quick == []
    open_set("one")
    assert quick == [("one", 5, 9)]


@pytest.mark.parametrize("name", ["stdlib", "", "no/such/directory", "stdlib-functions/"])
def test_what_is_neither_name_nor_directory_is_refused_with_the_names(name):
    with pytest.raises(InputError) as caught:
        open_set(name)
    message_of(caught.value, repr(name), *NAMES)


def test_a_directory_without_a_set_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        open_set(str(tmp_path))
    message_of(caught.value, "corpus.jsonl")


@pytest.mark.parametrize("name", NAMES)
def test_a_written_set_reads_back_equal(sets, name, tmp_path):
    write_set(sets[name], tmp_path / name)
    assert RetrievalSet.read(tmp_path / name) == sets[name]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    documents=st.dictionaries(TEXTS.filter(lambda text: text and not set(text) & set("\t\r\n")), TEXTS, min_size=1),
    gains=st.lists(st.floats(0, 1e9, exclude_min=True), min_size=1, max_size=5),
)
def test_whatever_a_text_an_id_or_a_gain_is_it_reads_back_equal(tmp_path_factory, documents, gains):
    records = tuple(Record(*pair, {}) for pair in documents.items())
    queries = tuple(Record(f"{i}", text, {}) for i, text in enumerate(documents.values()))[: len(gains)]
    judged = tuple({i: gain} for i, gain in enumerate(gains[: len(queries)]))
    data = RetrievalSet("any", records, queries, judged, 0)
    directory = tmp_path_factory.mktemp("written") / "any"
    write_set(data, directory)
    assert RetrievalSet.read(directory) == data


@pytest.mark.parametrize("separator", ["\t", "\n", "\r"])
@pytest.mark.parametrize("side", ["queries", "documents"])
def test_an_id_that_the_table_cannot_hold_is_refused_and_nothing_is_written(side, separator, tmp_path):
    first, second, *others = getattr(SMALL, side)
    named = (first, replace(second, id=f"bad{separator}id"), *others)
    with pytest.raises(InputError) as caught:
        write_set(replace(SMALL, **{side: named}), tmp_path / "new")
    message_of(caught.value, repr(f"bad{separator}id"), "tab or a line end")
    assert tree(tmp_path) == {}


def test_an_existing_directory_is_left_as_it_is(tmp_path):
    write_set(SMALL, tmp_path / "small")
    before = tree(tmp_path)
    with pytest.raises(StorageError) as caught:
        write_set(replace(SMALL, documents=SMALL.documents[::-1]), tmp_path / "small")
    message_of(caught.value, "small exists already")
    assert tree(tmp_path) == before


def test_the_command_lists_the_sets_of_this_python(quick, capsys):
    assert call(capsys, "bench", "sets").out.splitlines() == [
        f"From the standard library of Python {platform.python_version()}:",
        "       queries  documents",
        "  one        2          3  what one asks",
        "  two        2          3  what two asks",
    ]
    assert len(quick) == 2


def test_the_command_tells_programs_the_same(quick, capsys):
    found = call(capsys, "bench", "sets", "--json", "--queries", 3).json
    assert [each["set"] for each in found["sets"]] == ["one", "two"]
    assert found["sets"][1] == {
        "set": "two", "queries": 2, "documents": 3, "relevant_documents": 3, "description": "what two asks"
    }  # fmt: skip
    assert found["output"] is None
    assert quick == [("one", 3, 9), ("two", 3, 9)]


def test_the_command_lists_one_set_that_is_named(quick, capsys):
    assert [each["set"] for each in call(capsys, "bench", "sets", "two", "--json").json["sets"]] == ["two"]
    assert quick == [("two", 5, 9)]


def test_the_command_writes_a_set_of_the_counts_asked_for(quick, capsys, tmp_path):
    done = call(capsys, "bench", "sets", "two", "-o", tmp_path / "two", "--queries", 2, "--documents", 3)
    assert (done.code, done.out) == (0, f"{tmp_path / 'two'}: 2 queries, 3 documents\n")
    assert quick == [("two", 2, 3)]
    assert RetrievalSet.read(tmp_path / "two") == replace(SMALL, name="two")


REFUSED = {
    "a name that is none": (["three"], ["three", "one, two"]),
    "a directory for all of them": (["-o", "here"], ["here", "one, two"]),
    "a directory that exists": (["one", "-o", "."], ["exists already"]),
    "no queries": (["--queries", "0"], ["--queries"]),
    "a count in words": (["--documents", "many"], ["--documents"]),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("arguments", "mentions"), REFUSED.values(), ids=REFUSED)
def test_the_command_refuses_in_one_line(capsys, tmp_path, monkeypatch, arguments, mentions):
    monkeypatch.chdir(tmp_path)
    refused(call(capsys, "bench", "sets", *arguments), *mentions)
    assert list(Path().iterdir()) == []


def test_more_queries_than_documents_are_refused(capsys):
    refused(call(capsys, "bench", "sets", "stdlib-functions", "--queries", 1001), "got 1001 queries and 1000 documents")
