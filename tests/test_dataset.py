"""Retrieval sets: what is read, and every way a set can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from commandline import call, refused
from smartrt.errors import InputError
from smartrt.evaluation.dataset import RetrievalSet
from support import message_of

CORPUS = '{"id": "a", "text": "sort a list"}\n{"id": "b", "text": "open a file"}\n{"id": "c", "text": ""}\n'
QUERIES = '{"id": "q1", "text": "sort"}\n{"id": "q2", "text": "open"}\n{"id": "q3", "text": "sing"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "q2\tb\t1\nq1\ta\t2\nq1\tc\t0.5\nq1\tb\t0\n"


@pytest.fixture
def directory(tmp_path):
    """A sound set; a test replaces one file."""
    path = tmp_path / "small_set"
    path.mkdir()
    for name, content in (("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels.tsv", QRELS)):
        (path / name).write_text(content, encoding="utf-8")
    return path


def test_a_set_is_read(directory):
    data = RetrievalSet.read(directory)
    assert data.name == "small_set"
    assert [record.id for record in data.documents] == ["a", "b", "c"]
    assert [record.text for record in data.documents] == ["sort a list", "open a file", ""]
    assert [record.id for record in data.queries] == ["q1", "q2"]
    assert data.gains == ({0: 2.0, 2: 0.5}, {1: 1.0})


def test_queries_without_a_relevant_document_are_left_out_and_counted(directory):
    assert RetrievalSet.read(directory).unjudged == 1
    (directory / "qrels.tsv").write_text(HEADER + "q1\ta\t0\nq2\tb\t1\nq3\ta\t-1\n")
    data = RetrievalSet.read(directory)
    assert [record.id for record in data.queries] == ["q2"]
    assert data.unjudged == 2


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_lines_may_end_as_windows_ends_them(directory, name):
    wanted = RetrievalSet.read(directory)
    path = directory / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n \r\n")
    assert RetrievalSet.read(directory) == wanted


def test_ids_of_any_kind_are_kept_as_they_are(directory):
    (directory / "corpus.jsonl").write_text('{"id": "a b\u2028 é", "text": "x"}\n', encoding="utf-8")
    (directory / "qrels.tsv").write_text(f"{HEADER}q1\ta b\u2028 é\t1", encoding="utf-8")
    assert RetrievalSet.read(directory).gains == ({0: 1.0},)


def test_a_set_is_named_after_its_directory_however_it_was_given(directory, monkeypatch):
    monkeypatch.chdir(directory)
    assert RetrievalSet.read(Path()).name == "small_set"


def test_a_document_judged_twice_keeps_one_gain_or_is_refused(directory):
    (directory / "qrels.tsv").write_text(HEADER + "q1\ta\t1\nq1\ta\t3\n")
    try:
        assert RetrievalSet.read(directory).gains[0] in ({0: 1.0}, {0: 3.0})
    except InputError as error:
        message_of(error, "line 3", "'a'")


WRONG = {
    "no corpus": ("corpus.jsonl", None, ["cannot read", "corpus.jsonl"]),
    "no queries": ("queries.jsonl", None, ["cannot read", "queries.jsonl"]),
    "no judgements": ("qrels.tsv", None, ["cannot read", "qrels.tsv"]),
    "an empty corpus": ("corpus.jsonl", "", ["corpus.jsonl holds no line"]),
    "no query at all": ("queries.jsonl", "\n", ["queries.jsonl holds no line"]),
    "a corpus line that is wrong": ("corpus.jsonl", CORPUS + "nope", ["corpus.jsonl line 4", "not JSON"]),
    "a document twice": ("corpus.jsonl", CORPUS + CORPUS, ["corpus.jsonl line 4", "'a'", "line 1"]),
    "a query twice": ("queries.jsonl", QUERIES + QUERIES, ["queries.jsonl line 4", "'q1'", "line 1"]),
    "no judgement": ("qrels.tsv", HEADER, ["no query has a relevant document", "qrels.tsv"]),
    "an empty file of judgements": ("qrels.tsv", "", ["no query has a relevant document", "qrels.tsv"]),
    "nothing relevant": ("qrels.tsv", HEADER + "q1\ta\t0\n", ["no query has a relevant document"]),
    "an unknown query": ("qrels.tsv", QRELS + "q9\ta\t1\n", ["qrels.tsv line 6", "query 'q9'"]),
    "an unknown document": ("qrels.tsv", QRELS + "q1\tz\t1\n", ["qrels.tsv line 6", "document 'z'"]),
    "an unknown document of relevance 0": ("qrels.tsv", QRELS + "q1\tz\t0\n", ["qrels.tsv line 6", "document 'z'"]),
    "two columns": ("qrels.tsv", QRELS + "q1\ta\n", ["qrels.tsv line 6", "q1\\ta"]),
    "four columns": ("qrels.tsv", QRELS + "\nq1\t0\ta\t1\n", ["qrels.tsv line 7", "q1\\t0\\ta\\t1"]),
    "spaces instead of tabs": ("qrels.tsv", HEADER + "q1 a 1\n", ["qrels.tsv line 2", "q1 a 1"]),
    "a relevance that is a word": ("qrels.tsv", HEADER + "q1\ta\tvery\n", ["qrels.tsv line 2", "very"]),
    "a relevance that is no number": ("qrels.tsv", HEADER + "q1\ta\tnan\n", ["qrels.tsv line 2", "nan"]),
    "an endless relevance": ("qrels.tsv", HEADER + "q1\ta\tinf\n", ["qrels.tsv line 2", "inf"]),
    "judgements without a header": ("qrels.tsv", QRELS.removeprefix(HEADER), ["qrels.tsv line 1", "header"]),
    "judgements that are not UTF-8": ("qrels.tsv", b"q\xff\n", ["qrels.tsv"]),
}


@pytest.mark.parametrize(("name", "content", "mentions"), WRONG.values(), ids=WRONG)
def test_a_wrong_set_is_refused_with_file_and_line(directory, name, content, mentions):
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        RetrievalSet.read(directory)
    message_of(caught.value, *mentions)
    assert str(caught.value).count(str(directory)) == 1


def test_a_wrong_set_is_one_line_on_the_command_line(capsys, directory, tiny_path):
    (directory / "qrels.tsv").unlink()
    refused(call(capsys, "bench", "accuracy", tiny_path, "--data", directory), "qrels.tsv")
