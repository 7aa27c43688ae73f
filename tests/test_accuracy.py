"""What `bench accuracy` measures: its figures against a direct computation, its ties, its comparisons, its refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import weakref

import numpy as np
import pytest

import smartrt
from commandline import records
from smartrt import Bundle, Encoder
from smartrt.benchmarks.accuracy import report
from smartrt.benchmarks.accuracy.contenders import Contender, EngineOptions
from smartrt.benchmarks.accuracy.encoded import EncodedCache
from smartrt.benchmarks.accuracy.lexical import SETTINGS, bm25
from smartrt.benchmarks.accuracy.measure import AccuracyOptions, measure
from smartrt.errors import InputError, MissingDependencyError, OptionError, StorageError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.metrics import METRICS, paired_bootstrap, paired_test
from smartrt.jsonl import Record
from support import message_of, set_key

DOCUMENTS = (
    "sort a list by key", "open a file", "copy a list", "remove a key from a list", "read a file line by line",
    "reverse a list", "join lines of a file", "split a line", "count the words of a line", "compare two files",
    "sort the lines of a file", "merge two sorted lists", "the", "",
)  # fmt: skip
QUERIES = ("how to sort a list", "read a file", "compare the lines of two files", "the")
GAINS = ({0: 3.0, 10: 1.0, 11: 2.0}, {4: 2.0, 1: 1.0}, {9: 1.0, 10: 1.0}, {12: 1.0, 13: 1.0})
SYSTEMS = {"pooled": {"pooled": 1, "late": 0}, "late": {"pooled": 0, "late": 1}, "hybrid": {"pooled": 1, "late": 1}}


@pytest.fixture(scope="module")
def fake(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


@pytest.fixture
def contender(fake):
    return Contender.of_encoder(fake)


def made_up(documents=DOCUMENTS, queries=QUERIES, gains=GAINS, unjudged=0, name="made up"):
    asked = [Record(f"q{i}", text, {}) for i, text in enumerate(queries)]
    return RetrievalSet(name, tuple(records(documents)), tuple(asked), tuple(gains), unjudged)


def systems_of(encoder, data, **options):
    """By name without the label, what is measured for one encoder and set."""
    (result,) = measure([Contender.of_encoder(encoder)], [data], AccuracyOptions(**options))["results"]
    return {each["name"].removeprefix("tiny "): each for each in result["systems"]}


def direct(encoder, data, **weights):
    """Each metric of each query by `smartrt.score` and a stable sort."""
    queries = encoder.encode_query([record.text for record in data.queries], allow_empty=True)
    documents = encoder.encode_document([record.text for record in data.documents], allow_empty=True)
    return per_query(np.argsort(-smartrt.score(queries, documents, **weights), axis=1, kind="stable"), data)


def per_query(order, data):
    return {
        name: np.array([metric(row.tolist(), gains) for row, gains in zip(order, data.gains, strict=True)])
        for name, metric in METRICS.items()
    }


def test_the_dense_systems_score_what_a_direct_computation_scores(encoder):
    data = made_up()
    systems = systems_of(encoder, data)
    baseline = direct(encoder, data, **SYSTEMS["pooled"])["ndcg@10"]
    for name, weights in SYSTEMS.items():
        wanted = direct(encoder, data, **weights)
        assert {metric: systems[name][metric] for metric in METRICS} == pytest.approx(
            {metric: values.mean() for metric, values in wanted.items()}
        )
        changes = wanted["ndcg@10"] - baseline
        assert systems[name]["difference"] == pytest.approx(changes.mean())
        assert systems[name]["interval"] == pytest.approx(list(paired_bootstrap(changes)))
        assert systems[name]["p"] == pytest.approx(paired_test(changes).p)


def test_the_bm25_line_scores_what_a_direct_computation_scores(fake):
    data = made_up()
    order = np.argsort(-bm25(QUERIES, DOCUMENTS), axis=1, kind="stable")
    wanted = {metric: values.mean() for metric, values in per_query(order, data).items()}
    measured = systems_of(fake, data)["bm25"]
    assert {metric: measured[metric] for metric in METRICS} == pytest.approx(wanted)


def test_the_result_has_the_documented_keys(contender, fake):
    data = made_up(unjudged=3)
    found = measure([contender], [data])
    assert set(found) == {
        "machine", "encoders", "cache", "baseline", "comparisons", "alpha", "statistics", "results",
    }  # fmt: skip
    about = {"label": "tiny", "kind": "bundle", "identity": fake.bundle.identity, "precision": "fp32"}
    assert found["encoders"] == [about]
    assert (found["baseline"], found["comparisons"], found["alpha"]) == ("tiny pooled", 3, 0.05)
    assert found["cache"] == {"hits": 0, "misses": 0}
    (result,) = found["results"]
    assert set(result) == {
        "set", "sha256", "documents", "queries", "queries_without_relevant_document", "bm25", "seconds",
        "document_tokens", "truncated_documents", "left_out", "systems",
    }  # fmt: skip
    assert (result["documents"], result["queries"], result["queries_without_relevant_document"]) == (14, 4, 3)
    assert result["bm25"] == SETTINGS
    assert set(result["seconds"]) == {"encode", "rank", "stored", "bm25"}
    for system in result["systems"]:
        assert set(system) == {
            "name", "encoder", "system", "stored", "bytes_per_document", *METRICS, "difference", "interval", "p",
            "p_holm", "significant",
        }  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_system_says_what_it_is_and_what_it_takes(fake):
    systems = systems_of(fake, made_up(), stored=("int16",))
    about = {name: (each["encoder"], each["system"], each["stored"]) for name, each in systems.items()}
    assert about == {
        "pooled": ("tiny", "pooled", None), "late": ("tiny", "late", None), "hybrid": ("tiny", "hybrid", None),
        "hybrid, int16": ("tiny", "hybrid", "int16"), "bm25": (None, "bm25", None),
    }  # fmt: skip
    tokens = fake.encode_document(list(DOCUMENTS), allow_empty=True).tokens.values.nbytes
    sizes = {name: each["bytes_per_document"] for name, each in systems.items()}
    assert sizes["pooled"] == 4 * 32
    assert sizes["late"] == sizes["hybrid"] == round(4 * 32 + tokens / 14)
    assert sizes["bm25"] is None


def test_a_baseline_is_compared_with_everything_but_itself(contender):
    found = measure([contender], [made_up()], AccuracyOptions("bm25"))
    rows = {each["name"]: each for each in found["results"][0]["systems"]}
    assert found["comparisons"] == 3
    same = {"difference": 0, "interval": [0, 0], "p": 1, "p_holm": 1, "significant": False}
    assert {key: rows["bm25"][key] for key in same} == same
    for each in rows.values():
        assert each["difference"] == pytest.approx(each["ndcg@10"] - rows["bm25"]["ndcg@10"])


def test_a_system_identical_to_the_baseline_has_p_1(fake):
    twin = systems_of(fake, made_up(), stored=("float32",), baseline="tiny hybrid")["hybrid, float32"]
    assert (twin["difference"], twin["p"], twin["p_holm"], twin["significant"]) == (0, 1, 1, False)


def test_comparisons_are_corrected_over_all_sets_and_systems(contender, monkeypatch):
    seen = []
    monkeypatch.setattr(report, "holm", lambda values: seen.append(list(values)) or [0.01, *values[1:]])
    found = measure([contender], [made_up(), made_up(DOCUMENTS[1:], name="second", gains=[{0: 1.0}] * 4)])
    assert found["comparisons"] == len(seen[0]) == 6
    rows = [each for result in found["results"] for each in result["systems"] if each["name"] != "tiny pooled"]
    assert [each["p"] for each in rows] == seen[0]
    assert [each["significant"] for each in rows] == [True] + [p < 0.05 for p in seen[0][1:]]


def test_the_hybrid_uses_the_weights_of_the_bundle(tiny_copy):
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)
    with Encoder.open(tiny_copy, engine="fake") as encoder:
        systems = systems_of(encoder, made_up())
    assert [systems["hybrid"][m] for m in METRICS] == [systems["pooled"][m] for m in METRICS]
    assert systems["hybrid"]["ndcg@10"] != systems["late"]["ndcg@10"]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("target", [0, 7, 9, 10, 19])
def test_duplicate_documents_tie_in_the_order_of_the_set(encoder, system, target):
    data = made_up(["a list"] * 20, ["sort a list"], [{target: 1.0}])
    assert systems_of(encoder, data)[system]["mrr@10"] == (1 / (target + 1) if target < 10 else 0)


def test_truncated_and_empty_documents_are_counted_and_have_figures(contender):
    data = made_up(["", "word " * 200, " ", "a list"], ["a list", ""], [{3: 1.0}, {0: 1.0, 2: 1.0}])
    (result,) = measure([contender], [data])["results"]
    assert result["truncated_documents"] == {"tiny": 1}
    assert result["document_tokens"] == {"tiny": 1 + 46 + 1 + 2}
    assert all(np.isfinite(each["ndcg@10"]) for each in result["systems"])


@pytest.mark.parametrize("count", [1, 9, 10, 11])
def test_a_set_may_have_fewer_documents_than_the_cut(fake, count):
    data = made_up(["a list"] * count, ["list"], [{count - 1: 1.0}])
    assert {each["recall@10"] for each in systems_of(fake, data).values()} == {1.0 if count <= 10 else 0.0}


@pytest.mark.parametrize("cached", [False, True], ids=["encoded", "cached"])
def test_progress_counts_every_query_and_document_once(tiny_path, tmp_path, cached):
    shown = {}

    @contextlib.contextmanager
    def bar(label, total):
        steps = []
        yield type("Bar", (), {"advance": staticmethod(steps.append)})
        shown[label] = (sum(steps), total)

    contender = Contender.of_bundle(Bundle.open(tiny_path), EngineOptions("fake"))
    cache, twice = EncodedCache.open(tmp_path), made_up([*DOCUMENTS, "open a file"])
    for _ in range(1 + cached):
        measure([contender], [twice], AccuracyOptions(stored=("int16", "int8")), cache=cache, bar=bar)
    assert shown == {"tiny on made up": (19, 19), "tiny on made up, stored": (2, 2)}


def test_encoders_are_loaded_one_at_a_time_and_only_for_what_is_not_cached(tiny_path, tmp_path):
    events, loaded = [], []

    class Model:
        """Refers to itself, as a PyTorch module does."""

        def __init__(self):
            self.own = self

    def watched(label):
        contender = Contender.of_bundle(Bundle.open(tiny_path), EngineOptions("fake"))

        @contextlib.contextmanager
        def opened():
            assert not any(former() for former in loaded)
            events.append(f"{label} opens")
            with contender.open() as start:
                model = Model()
                loaded.append(weakref.ref(model))
                yield lambda advance, _=model: start(advance)
            events.append(f"{label} closes")

        return dataclasses.replace(
            contender, kind="pytorch", label=label, open=opened, decides=contender.decides | {"label": label[0]}
        )

    sets = [made_up(), made_up(DOCUMENTS[1:], name="second", gains=[{0: 1.0}] * 4)]
    cache = EncodedCache.open(tmp_path)
    first = measure([watched("a"), watched("b")], sets, cache=cache)
    assert events == ["a opens", "a closes", "b opens", "b closes"]
    again = measure([watched("a"), watched("b")], sets, cache=(second := EncodedCache.open(tmp_path)))
    assert len(events) == 4
    assert (second.hits, second.misses, again["cache"]["hits"]) == (8, 0, 8)
    assert [r["systems"] for r in again["results"]] == [r["systems"] for r in first["results"]]
    # The two sets share their queries: that side was encoded once.
    assert first["cache"] == {"hits": 2, "misses": 6}
    assert again["results"][0]["seconds"]["encode"] == {"a": None, "b": None}


REFUSED = {
    "no encoder": (lambda _: ([], [made_up()], {}), InputError, "no encoder"),
    "no set": (lambda own: ([own], [], {}), InputError, "no retrieval set"),
    "two encoders of one name": (lambda own: ([own, own], [made_up()], {}), OptionError, "'tiny'"),
    "two sets of one name": (lambda own: ([own], [made_up()] * 2, {}), InputError, "'made up'"),
    "a set under two names": (lambda own: ([own], [made_up(), made_up(name="x")], {}), InputError, "x has the texts"),
    "an unknown baseline": (lambda own: ([own], [made_up()], {"baseline": "hybrid"}), OptionError, "'tiny hybrid'"),
    "a stored baseline that is not measured": (
        lambda own: ([own], [made_up()], {"baseline": "tiny hybrid, int8"}), OptionError, "'bm25'",
    ),
    "a baseline that may not fit": (
        lambda own: ([own], [made_up()], {"baseline": "tiny hybrid, int16, pca 128", "stored": ("all",)}),
        OptionError, "on every set",
    ),
    "a projection to more dimensions than there are": (
        lambda own: ([own], [made_up()], {"stored": ("int16, pca 128",)}), OptionError, "token vectors have 32",
    ),
    "an unknown storage": (lambda own: ([own], [made_up()], {"stored": ("int7",)}), OptionError, "'int8, pool 2'"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "kind", "mention"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_before_anything_is_encoded(contender, given, kind, mention):
    unused = dataclasses.replace(contender, open=lambda: pytest.fail("an encoder was opened"))
    contenders, sets, options = given(unused)
    with pytest.raises(kind) as caught:
        measure(contenders, sets, AccuracyOptions(**options))
    message_of(caught.value, mention)


@pytest.mark.parametrize("module", ["bm25s", "Stemmer", "scipy.cluster.hierarchy"])
def test_a_missing_library_is_known_before_anything_is_encoded(contender, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    unused = dataclasses.replace(contender, open=lambda: pytest.fail("an encoder was opened"))
    with pytest.raises(MissingDependencyError, match="pip install"):
        measure([unused], [made_up()], AccuracyOptions(stored=("int8, pool 2",)))


@pytest.mark.parametrize("place", ["nowhere/q.jsonl", "."])
def test_a_file_that_cannot_be_written_is_known_before_anything_is_encoded(contender, tmp_path, place):
    unused = dataclasses.replace(contender, open=lambda: pytest.fail("an encoder was opened"))
    with pytest.raises(StorageError, match="cannot write"):
        measure([unused], [made_up()], AccuracyOptions(per_query=tmp_path / place))
