"""`smartrt bench accuracy`: its figures against a direct computation, its ties, its BM25 line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import smartrt
from commandline import FAKE, call, records, refused
from smartrt import Encoder, TruncationWarning
from smartrt.benchmarks import accuracy
from smartrt.benchmarks.lexical import SETTINGS, bm25
from smartrt.errors import MissingDependencyError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.metrics import METRICS, paired_bootstrap
from smartrt.jsonl import Record
from support import message_of, set_key

DOCUMENTS = (
    "sort a list by key", "open a file", "copy a list", "remove a key from a list", "read a file line by line",
    "reverse a list", "join lines of a file", "split a line", "count the words of a line", "compare two files",
    "sort the lines of a file", "merge two sorted lists", "the", "",
)  # fmt: skip
QUERIES = ("how to sort a list", "read a file", "compare the lines of two files", "the")
GAINS = ({0: 3.0, 10: 1.0, 11: 2.0}, {4: 2.0, 1: 1.0}, {9: 1.0, 10: 1.0}, {12: 1.0, 13: 1.0})


@pytest.fixture(scope="module")
def fake(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


def made_up(documents=DOCUMENTS, queries=QUERIES, gains=GAINS, unjudged=0):
    asked = [Record(f"q{i}", text, {}) for i, text in enumerate(queries)]
    return RetrievalSet("made up", tuple(records(documents)), tuple(asked), tuple(gains), unjudged)


def direct(encoder, data, **weights):
    """The mean of each metric by `smartrt.score` and a stable sort."""
    queries = encoder.encode_query([record.text for record in data.queries], allow_empty=True)
    documents = encoder.encode_document([record.text for record in data.documents], allow_empty=True)
    order = np.argsort(-smartrt.score(queries, documents, **weights), axis=1, kind="stable")
    return per_query(order, data)


def per_query(order, data):
    return {
        name: np.array([metric(row.tolist(), gains) for row, gains in zip(order, data.gains, strict=True)])
        for name, metric in METRICS.items()
    }


SYSTEMS = {"pooled": {"pooled": 1, "late": 0}, "late": {"pooled": 0, "late": 1}, "hybrid": {"pooled": 1, "late": 1}}


def test_the_dense_systems_score_what_a_direct_computation_scores(encoder):
    data = made_up()
    systems = accuracy.measure(encoder, data)["systems"]
    baseline = direct(encoder, data, **SYSTEMS["pooled"])["ndcg@10"]
    for name, weights in SYSTEMS.items():
        wanted = direct(encoder, data, **weights)
        assert {metric: systems[name][metric] for metric in METRICS} == pytest.approx(
            {metric: values.mean() for metric, values in wanted.items()}
        )
        changes = wanted["ndcg@10"] - baseline
        assert systems[name]["difference"] == pytest.approx(changes.mean())
        assert systems[name]["interval"] == pytest.approx(list(paired_bootstrap(changes)))


def test_the_bm25_line_scores_what_a_direct_computation_scores(fake):
    data = made_up()
    order = np.argsort(-bm25(QUERIES, DOCUMENTS), axis=1, kind="stable")
    wanted = {metric: values.mean() for metric, values in per_query(order, data).items()}
    measured = accuracy.measure(fake, data)["systems"]["bm25"]
    assert {metric: measured[metric] for metric in METRICS} == pytest.approx(wanted)


def test_the_result_has_the_documented_keys(fake):
    result = accuracy.measure(fake, made_up(unjudged=3))
    assert set(result) == {
        "set", "documents", "queries", "queries_without_relevant_document", "document_tokens", "truncated_documents",
        "systems", "bm25", "interval", "seconds",
    }  # fmt: skip
    assert list(result["systems"]) == ["pooled", "late", "hybrid", "bm25"]
    for values in result["systems"].values():
        assert set(values) == {*METRICS, "difference", "interval"}
    assert result["systems"]["pooled"]["difference"] == 0
    assert result["systems"]["pooled"]["interval"] == [0, 0]
    assert (result["documents"], result["queries"], result["queries_without_relevant_document"]) == (14, 4, 3)
    assert result["bm25"] == SETTINGS
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_hybrid_uses_the_weights_of_the_bundle(tiny_copy):
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)
    with Encoder.open(tiny_copy, engine="fake") as encoder:
        systems = accuracy.measure(encoder, made_up())["systems"]
    assert systems["hybrid"] == systems["pooled"] != systems["late"]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("target", [0, 7, 9, 10, 19])
def test_duplicate_documents_tie_in_the_order_of_the_set(encoder, system, target):
    data = made_up(["a list"] * 20, ["sort a list"], [{target: 1.0}])
    measured = accuracy.measure(encoder, data)["systems"][system]
    assert measured["mrr@10"] == (1 / (target + 1) if target < 10 else 0)


def test_truncated_and_empty_documents_are_counted_and_have_figures(fake):
    data = made_up(["", "word " * 200, " ", "a list"], ["a list", ""], [{3: 1.0}, {0: 1.0, 2: 1.0}])
    with pytest.warns(TruncationWarning):
        result = accuracy.measure(fake, data)
    assert result["truncated_documents"] == 1
    assert result["document_tokens"] == 1 + 46 + 1 + 2
    assert all(np.isfinite(values["ndcg@10"]) for values in result["systems"].values())
    with pytest.warns(TruncationWarning):
        assert result["systems"]["hybrid"]["ndcg@10"] == pytest.approx(direct(fake, data)["ndcg@10"].mean())


@pytest.mark.parametrize("count", [1, 9, 10, 11])
def test_a_set_may_have_fewer_documents_than_the_cut(fake, count):
    data = made_up(["a list"] * count, ["list"], [{count - 1: 1.0}])
    systems = accuracy.measure(fake, data)["systems"]
    assert {values["recall@10"] for values in systems.values()} == {1.0 if count <= 10 else 0.0}


def test_progress_counts_every_query_and_document_once(fake):
    steps = []
    accuracy.measure(fake, made_up(), steps.append)
    assert sum(steps) == len(DOCUMENTS) + len(QUERIES)


def test_bm25_scores_a_query_of_stop_words_only_as_zero():
    assert bm25(["the of and", ""], DOCUMENTS).tolist() == [[0.0] * len(DOCUMENTS)] * 2


def test_bm25_scores_words_that_no_document_has_as_zero():
    scores = bm25(["zebra", "zebra sort", "sort"], DOCUMENTS)
    assert not scores[0].any()
    assert scores[1].tolist() == scores[2].tolist()


def test_bm25_ties_on_identical_documents():
    scores = bm25(["sort a list", "file"], ["sort list", "file", "sort list", "file"])
    assert scores[:, 0].tolist() == scores[:, 2].tolist()
    assert scores[:, 1].tolist() == scores[:, 3].tolist()
    assert scores[0, 0] > scores[0, 1]


def test_bm25_reads_words_as_its_settings_say():
    scores = bm25(["sorting", "LIST", "key"], ["sorted", "list", "by_key"])
    assert (scores > 0).tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize("documents", [["", ""], ["the", "of the"]], ids=["empty", "stop words"])
def test_bm25_scores_documents_without_a_word_as_zero(documents):
    assert bm25(["sort"], documents).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["bm25s", "Stemmer"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError) as caught:
        bm25(["a"], ["b"])
    message_of(caught.value, name, "pip install 'smartrt[bench]'")


@pytest.fixture
def set_on_disk(tmp_path):
    directory = tmp_path / "made_up"
    directory.mkdir()
    for name, prefix, texts in (("corpus", "d", DOCUMENTS), ("queries", "q", QUERIES)):
        lines = [json.dumps({"id": f"{prefix}{i}", "text": text}) for i, text in enumerate(texts)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    judged = [f"q{query}\td{document}\t{gain}" for query, row in enumerate(GAINS) for document, gain in row.items()]
    (directory / "qrels.tsv").write_text("\n".join(["query\tdocument\tgain", *judged]))
    return directory


def test_the_command_prints_json_of_every_set(capsys, tiny_path, set_on_disk, fake):
    arguments = ("bench", "accuracy", tiny_path, *FAKE, "--json", "--data", set_on_disk, set_on_disk)
    finished = call(capsys, *arguments)
    assert (finished.code, finished.err) == (0, "")
    assert set(finished.json) == {"machine", "bundle", "results"}
    assert set(finished.json["machine"]) >= {"command", "smartrt", "python", "cpu", "cores", "system", "libraries"}
    assert finished.json["bundle"] == {"name": "tiny", "identity": fake.bundle.identity}
    wanted = accuracy.measure(fake, made_up())["systems"]
    assert [result["systems"] for result in finished.json["results"]] == [wanted, wanted]
    assert finished.json["results"][0]["set"] == "made_up"


def test_the_command_prints_a_table_with_every_system(capsys, tiny_path, set_on_disk, fake):
    lines = call(capsys, "bench", "accuracy", tiny_path, *FAKE, "--data", set_on_disk).out.splitlines()
    assert lines[0] == "made_up: 14 documents, 4 queries"
    wanted = accuracy.measure(fake, made_up())["systems"]
    assert [line.split()[0] for line in lines[2:]] == list(wanted)
    for line, values in zip(lines[2:], wanted.values(), strict=True):
        assert [float(figure) for figure in line.split()[1:4]] == pytest.approx([values[m] for m in METRICS], abs=1e-4)


def test_a_missing_library_is_known_before_anything_is_encoded(capsys, monkeypatch, tiny_path, set_on_disk):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    monkeypatch.setattr(Encoder, "embed", lambda *_, **__: pytest.fail("texts were encoded"))
    refused(call(capsys, "bench", "accuracy", tiny_path, *FAKE, "--data", set_on_disk), "pip install 'smartrt[bench]'")
