"""`smartrt index recall`: whose queries are asked, what is printed, and what cannot be measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from commandline import FAKE, TEXTS, build_index, call, refused, tree, write_corpus
from smartrt import Encoder, Index
from smartrt.index.recall import measure_recall, sampled_documents
from support import set_key

WORDS = "sort open copy a list file key by line lines of two remove read words count merge the"
KEYS = {"queries", "documents", "k", "found", "whole", "enough"}
EASIER = "Documents are easier to find than their answers: give your own with --queries FILE --bundle BUNDLE.\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_path):
    """A directory with an index of 120 texts and a file of queries. Read only."""
    rng, directory = np.random.default_rng(5), tmp_path_factory.mktemp("recall")
    texts = [" ".join(rng.choice(WORDS.split(), rng.integers(1, 12))) for _ in range(120)]
    build_index(directory / "docs.index", tiny_path, write_corpus(directory / "corpus.jsonl", texts))
    write_corpus(directory / "queries.jsonl", TEXTS)
    return directory


@pytest.fixture
def path(place):
    return place / "docs.index"


@pytest.fixture
def asked(place, tiny_path):
    """The flags of a run with queries."""
    return "--queries", place / "queries.jsonl", "--bundle", tiny_path, *FAKE


def as_json(recall):
    return json.loads(json.dumps(recall.__dict__))


def test_sampled_documents_stand_in_for_queries(capsys, path):
    before = tree(path)
    finished = call(capsys, "index", "recall", path, "--sample", "20", "-k", "5", "--json")
    assert (finished.code, finished.err) == (0, "")
    assert set(finished.json) == {"index", "sampled", "recall"}
    assert (finished.json["index"], finished.json["sampled"]) == (str(path), True)
    index = Index.open(path)
    queries, own = sampled_documents(index, 20)
    assert finished.json["recall"] == as_json(measure_recall(index, queries, k=5, leave_out=own))
    assert set(finished.json["recall"]) == KEYS
    assert list(finished.json["recall"]["found"]) == ["10", "20", "50", "100"]
    assert tree(path) == before


def test_without_flags_100_documents_and_10_hits_are_compared(capsys, path):
    recall = call(capsys, "index", "recall", path, "--json").json["recall"]
    assert (recall["queries"], recall["k"]) == (100, 10)
    assert call(capsys, "index", "recall", path, "--sample", "1000", "--json").json["recall"]["queries"] == 120


def test_queries_are_encoded_by_the_bundle(capsys, path, asked, tiny_path):
    finished = call(capsys, "index", "recall", path, *asked, "-k", "7", "--json")
    assert (finished.code, finished.err, finished.json["sampled"]) == (0, "", False)
    with Encoder.open(tiny_path, engine="fake") as encoder:
        queries = encoder.encode_query(TEXTS)
    assert finished.json["recall"] == as_json(measure_recall(Index.open(path), queries, k=7))
    assert (finished.json["recall"]["queries"], finished.json["recall"]["documents"]) == (3, 120)


def test_queries_are_encoded_by_the_default_engine(capsys, path, place, tiny_path):
    finished = call(capsys, "index", "recall", path, "--queries", place / "queries.jsonl", "--bundle", tiny_path)
    assert (finished.code, finished.err) == (0, "")


@pytest.mark.parametrize("kept", ["--storage int8", "--projection orthogonal --dim 8", "--pool 2"])
def test_an_index_may_keep_its_vectors_in_any_way(capsys, tmp_path, place, tiny_path, asked, kept):
    if "pool" in kept:
        pytest.importorskip("scipy", reason="pooling needs scipy")
    build = ("index", "build", tiny_path, place / "corpus.jsonl", "-o", tmp_path / "i", *FAKE, *kept.split())
    assert call(capsys, *build).code == 0
    with Encoder.open(tiny_path, engine="fake") as encoder:
        index = Index.open(tmp_path / "i", encoder)
        queries = index.in_store(encoder.encode_query(TEXTS))
    wanted = as_json(measure_recall(index, queries))
    assert call(capsys, "index", "recall", tmp_path / "i", *asked, "--json").json["recall"] == wanted
    assert call(capsys, "index", "recall", tmp_path / "i").code == 0


@pytest.mark.parametrize("own", [False, True], ids=["sampled", "queries"])
def test_the_text_says_how_many_candidates_are_enough(capsys, path, asked, own):
    flags = asked if own else ("--sample", "40")
    recall = call(capsys, "index", "recall", path, *flags, "--json").json["recall"]
    finished = call(capsys, "index", "recall", path, *flags)
    assert (finished.code, finished.err) == (0, "")
    head, columns, *rows, enough = finished.out.removesuffix(EASIER).splitlines()
    assert finished.out.endswith(EASIER) is not own
    asked_with = "3 queries" if own else "40 sampled documents as queries"
    assert head.startswith(f"{path}: ")
    assert head.endswith(f" documents, {asked_with}, true top 10 by both scores")
    assert columns.split() == "candidates of the hits of the queries with all hits".split()  # noqa: SIM905
    assert [row.split() for row in rows] == [
        [level, f"{found:.1%}", f"{recall['whole'][level]:.1%}"] for level, found in recall["found"].items()
    ]
    assert enough.startswith("99% of the hits are among the ")
    assert enough.endswith(f" {recall['enough']} best by the pooled vector: --candidates {recall['enough']}")


def test_environment_variables_act_as_flags(capsys, monkeypatch, path, asked):
    for name, value in {"QUERIES": asked[1], "BUNDLE": asked[3], "ENGINE": "fake", "K": "3", "JSON": "1"}.items():
        monkeypatch.setenv(f"SMARTRT_{name}", str(value))
    data = call(capsys, "index", "recall", path).json
    assert (data["sampled"], data["recall"]["k"]) == (False, 3)


def test_deleted_documents_are_not_sampled_and_not_found(capsys, tmp_path, tiny_path):
    path = build_index(tmp_path / "i", tiny_path, write_corpus(tmp_path / "c.jsonl", [*TEXTS, *TEXTS]))
    assert call(capsys, "index", "delete", path, "d0", "d1").code == 0
    recall = call(capsys, "index", "recall", path, "--json").json["recall"]
    assert (recall["queries"], recall["k"], recall["enough"]) == (4, 3, 3)


CASES = {
    "queries without a bundle": (["--queries", "queries.jsonl"], ["--queries and --bundle go together"]),
    "a bundle without queries": (["--bundle", "tiny.smartrt"], ["--queries and --bundle go together"]),
    "no such file": (["--queries", "no.jsonl", "BUNDLE"], ["no.jsonl", "No such file"]),
    "no line": (["--queries", "nothing.jsonl", "BUNDLE"], ["nothing.jsonl holds no line"]),
    "a line that is no JSON": (["--queries", "bad.jsonl", "BUNDLE"], ["bad.jsonl line 2 is not JSON"]),
    "an empty query": (["--queries", "empty.jsonl", "BUNDLE"], ["empty.jsonl", "empty"]),
    "no bundle": (["--queries", "queries.jsonl", "--bundle", "no.smartrt"], ["no.smartrt", "no such directory"]),
    "a sample of nothing": (["--sample", "0"], ["--sample", "'0'", "from 1 up"]),
    "k of 0": (["-k", "0"], ["-k", "'0'", "from 1 up"]),
    "threads below 0": (["--threads", "-1"], ["threads", "-1"]),
}


@pytest.mark.parametrize(("flags", "mentions"), CASES.values(), ids=CASES)
def test_a_mistake_is_one_line(capsys, monkeypatch, tmp_path, place, tiny_path, flags, mentions):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "queries.jsonl", TEXTS)
    write_corpus(tmp_path / "empty.jsonl", ["a list", ""])
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "b"}\n{')
    (tmp_path / "nothing.jsonl").write_text("\n")
    given = [part for flag in flags for part in (("--bundle", tiny_path, *FAKE) if flag == "BUNDLE" else (flag,))]
    refused(call(capsys, "index", "recall", place / "docs.index", *given), *mentions)


def test_an_empty_query_is_not_told_of_an_argument_that_the_command_line_does_not_have(
    capsys, tmp_path, path, tiny_path
):
    queries = write_corpus(tmp_path / "empty.jsonl", ["a list", ""])
    line = refused(call(capsys, "index", "recall", path, "--queries", queries, "--bundle", tiny_path, *FAKE))
    assert "allow_empty=" not in line


def test_an_index_that_is_not_there_is_refused(capsys, tmp_path):
    refused(call(capsys, "index", "recall", tmp_path / "no.index"), "no.index", "smartrt index build")


def test_a_bundle_that_did_not_fill_the_index_is_refused(capsys, place, path, tiny_copy):
    set_key(tiny_copy / "manifest.json", "prompts/document", "passage: ")
    flags = ("--queries", place / "queries.jsonl", "--bundle", tiny_copy, *FAKE)
    refused(call(capsys, "index", "recall", path, *flags), f"{path} was filled by bundle 'tiny'")


@pytest.mark.parametrize("documents", [0, 1])
def test_an_index_with_nothing_to_find_is_refused_in_words(capsys, tmp_path, tiny_path, documents):
    path = build_index(tmp_path / "i", tiny_path, write_corpus(tmp_path / "c.jsonl", TEXTS[:1]))
    if not documents:
        assert call(capsys, "index", "delete", path, "d0").code == 0
    refused(call(capsys, "index", "recall", path), path, "recall needs")


def test_an_index_without_documents_is_not_said_to_hold_fewer(capsys, tmp_path, tiny_path):
    path = build_index(tmp_path / "i", tiny_path, write_corpus(tmp_path / "c.jsonl", TEXTS[:1]))
    call(capsys, "index", "delete", path, "d0")
    assert " -1" not in refused(call(capsys, "index", "recall", path))


def test_the_number_of_documents_is_that_of_the_index(capsys, path):
    assert call(capsys, "index", "recall", path, "--json").json["recall"]["documents"] == 120


def test_the_true_hits_are_those_that_a_search_with_this_bundle_gives(capsys, tmp_path, place, tiny_copy):
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)  # the pooled vector alone ranks
    path = build_index(tmp_path / "i", tiny_copy, place / "corpus.jsonl")
    flags = ("--queries", place / "queries.jsonl", "--bundle", tiny_copy, *FAKE, "-k", "5", "--json")
    assert call(capsys, "index", "recall", path, *flags).json["recall"]["enough"] <= 5
