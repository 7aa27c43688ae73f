"""`smartrt bench accuracy --stored`: what storages, compression and two-stage search cost."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from commandline import records
from smartrt import Bundle, Encoder, Index, IndexOptions, Weights
from smartrt.benchmarks.accuracy import stored
from smartrt.benchmarks.accuracy.contenders import Contender
from smartrt.benchmarks.accuracy.measure import AccuracyOptions, measure
from smartrt.benchmarks.accuracy.stored import ALL, REFERENCE, VARIANTS, Variant, choose_variants, rank_stored
from smartrt.documents import Documents
from smartrt.errors import MissingDependencyError, OptionError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.metrics import METRICS
from smartrt.jsonl import Record
from smartrt.search import SearchOptions, search
from support import embeddings, message_of, set_key

pytest.importorskip("scipy", reason="some variants pool tokens, which needs scipy")

UNPROJECTED = [name for name, variant in VARIANTS.items() if variant.options.dim is None]
TEXTS = ["sort a list", "open a file", "copy a list", "read lines", "join a file", "count words", "the"] * 2
QUERIES = ["how to sort a list", "read a file", "count the words"]
GAINS = [{0: 2.0, 7: 1.0}, {1: 1.0, 4: 1.0}, {5: 3.0}]


@pytest.fixture(scope="module")
def wide():
    """Queries and documents of 160 dimensions, and what every variant ranks."""
    queries, documents = embeddings([4] * 9, seed=1, dim=160), embeddings(range(1, 61), seed=2, dim=160)
    return queries, documents, rank_stored(queries, documents, Weights())


@pytest.fixture(scope="module")
def fake(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


@pytest.fixture
def data():
    asked = tuple(Record(f"q{i}", text, {}) for i, text in enumerate(QUERIES))
    return RetrievalSet("made up", tuple(records(TEXTS)), asked, tuple(GAINS), 0)


def test_every_variant_ranks_every_query(wide):
    queries, _, rankings = wide
    assert list(rankings) == list(VARIANTS)
    for ranking in rankings.values():
        assert len(ranking.positions) == len(queries)
        assert all(len(row) == len(set(row)) == 10 for row in ranking.positions)
        assert all(type(position) is int and 0 <= position < 60 for row in ranking.positions for position in row)


def test_the_reference_is_the_hybrid_of_what_the_encoder_returned(wide):
    queries, documents, rankings = wide
    found = search(queries, [Documents.of(documents)], k=10, weights=Weights())
    assert rankings[REFERENCE].positions == [[place.position for place in row] for row in found]
    assert VARIANTS[REFERENCE] == Variant(IndexOptions("float32"), SearchOptions("all"))


@pytest.mark.parametrize("weights", [Weights(1, 0), Weights(0, 1), Weights(2, 0.5)], ids=["pooled", "late", "both"])
def test_the_weights_are_those_that_are_given(wide, weights):
    queries, documents, _ = wide
    found = search(queries, [Documents.of(documents)], k=10, weights=weights)
    positions = rank_stored(queries, documents, weights, names=[REFERENCE])[REFERENCE].positions
    assert positions == [[place.position for place in row] for row in found]


def test_fewer_numbers_take_fewer_bytes(wide):
    size = {name: ranking.bytes_per_document for name, ranking in wide[2].items()}
    assert size["float32"] > size["float16"] == size["int16"] > size["int8"] > size["int8, pool 2"]
    assert size["int8, pool 2"] > size["int8, pool 4"]
    assert size["int16"] == size["int16, 100 candidates"] == size["int16, zscore"] == size["int16, rrf"]
    assert size["int16"] > size["int16, pca 128"] == size["int16, orthogonal 128"] > size["int8, pca 128"]
    assert size["int8, pca 128"] > size["int8, pool 2, pca 128"]


def test_bytes_count_the_pooled_vector_and_groups_of_eight_token_vectors(wide):
    groups = sum(-(-length // 8) for length in range(1, 61))
    assert wide[2]["float32"].bytes_per_document == 4 * 160 + groups * 8 * 160 * 4 / 60
    assert wide[2]["int8, pca 128"].bytes_per_document == 4 * 160 + groups * 8 * 128 / 60


@pytest.mark.parametrize("dim", [32, 128])
def test_vectors_of_at_most_128_dimensions_are_not_projected_to_as_many(dim):
    done = []
    rankings = rank_stored(embeddings([3], dim=dim), embeddings([5] * 40, seed=1, dim=dim), Weights(), done.append)
    assert list(rankings) == UNPROJECTED
    assert done == [1] * len(VARIANTS)


def test_a_set_with_fewer_than_128_token_vectors_is_measured_without_a_pca():
    rankings = rank_stored(embeddings([3], dim=160), embeddings([5] * 20, seed=1, dim=160), Weights())
    assert {"int8", "int16, orthogonal 128"} <= set(rankings)


SMALL = VARIANTS | {
    "int16, pca 8": Variant(IndexOptions("int16", projection="pca", dim=8)),
    "int8, pool 2, orthogonal 8": Variant(IndexOptions("int8", 2, "orthogonal", 8)),
}


@pytest.mark.parametrize("name", [name for name, variant in SMALL.items() if (variant.options.dim or 0) < 32])
def test_a_variant_ranks_as_an_index_with_its_options(monkeypatch, tmp_path, tiny_path, name):
    monkeypatch.setattr(stored, "VARIANTS", SMALL)
    queries, documents = embeddings([5] * 7, seed=3), embeddings([*range(1, 13)] * 12, seed=4)
    ranking = rank_stored(queries, documents, Weights(0.7, 1.3))[name]
    index = Index.create(tmp_path / "docs.index", Bundle.open(tiny_path), SMALL[name].options)
    index.add([str(row) for row in range(len(documents))], documents)
    how = SMALL[name].search
    found = index.search(queries, k=10, pooled=0.7, late=1.3, candidates=how.candidates, fusion=how.fusion)
    assert ranking.positions == [[int(hit.id) for hit in hits] for hits in found]


def test_fewer_numbers_change_few_answers(wide):
    rankings = {name: [set(row) for row in ranking.positions] for name, ranking in wide[2].items()}
    exact = rankings[REFERENCE]

    def same(name):
        return np.mean([len(one & other) / 10 for one, other in zip(rankings[name], exact, strict=True)])

    assert same("int16") == same("float16") == same("int16, 100 candidates") == 1
    assert 1 >= same("int8") > 0.9
    assert same("int8, pool 4") <= same("int8, pool 2") < same("int8")


def systems_of(encoder, data, *names):
    """By variant, and ``hybrid`` and ``pooled`` as they were encoded, what is measured of one encoder."""
    options = AccuracyOptions("tiny hybrid", names)
    (result,) = measure([Contender.of_encoder(encoder)], [data], options)["results"]
    return {each["stored"] or each["system"]: each for each in result["systems"]}


def test_the_measurement_has_the_variants_that_are_asked_for(fake, data):
    plain, some, every = (systems_of(fake, data, *names) for names in ((), ("int8", "int16"), (ALL,)))
    assert list(plain) == ["pooled", "late", "hybrid", "bm25"]
    assert list(some) == ["pooled", "late", "hybrid", "int16", "int8", "bm25"]
    assert list(every) == ["pooled", "late", "hybrid", *UNPROJECTED, "bm25"]
    for name, each in plain.items():
        assert [every[name][metric] for metric in METRICS] == [each[metric] for metric in METRICS]
    for name in UNPROJECTED:
        assert every[name]["name"] == f"tiny hybrid, {name}"
        assert type(every[name]["bytes_per_document"]) is int


def test_variants_that_do_not_fit_are_left_out_and_named(fake, data):
    options = AccuracyOptions(stored=(ALL,))
    (result,) = measure([Contender.of_encoder(fake)], [data], options)["results"]
    assert result["left_out"] == {"tiny": [name for name in VARIANTS if name not in UNPROJECTED]}


def test_float32_as_an_index_keeps_it_is_the_hybrid_of_what_was_encoded(fake, data):
    systems = systems_of(fake, data, ALL)
    assert [systems[REFERENCE][metric] for metric in METRICS] == [systems["hybrid"][metric] for metric in METRICS]
    assert (systems[REFERENCE]["difference"], systems[REFERENCE]["interval"], systems[REFERENCE]["p"]) == (0, [0, 0], 1)
    for name in UNPROJECTED:
        low, high = systems[name]["interval"]
        assert low <= systems[name]["difference"] + 1e-12
        assert systems[name]["difference"] <= high + 1e-12


def test_the_weights_of_the_bundle_rank(tiny_copy, data):
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)
    with Encoder.open(tiny_copy, engine="fake") as encoder:
        systems = systems_of(encoder, data, ALL)
    for name in ("float32", "int8", "int8, pool 4"):  # the tokens do not count
        assert [systems[name][metric] for metric in METRICS] == [systems["pooled"][metric] for metric in METRICS]


def test_a_variant_chosen_by_name_must_fit_an_encoder():
    assert choose_variants(["int8, pca 128", "int16"], [64, 384]) == ("int16", "int8, pca 128")
    with pytest.raises(OptionError) as caught:
        choose_variants(["int8, pca 128"], [64, 128])
    message_of(caught.value, "'int8, pca 128'", "128 dimensions")


@pytest.mark.parametrize("name", ["int7", "", "INT8", "int8,pool 2"])
def test_an_unknown_variant_is_refused_with_the_list(name):
    with pytest.raises(OptionError) as caught:
        choose_variants(["int16", name], [384])
    message_of(caught.value, repr(name), *map(repr, VARIANTS))


def test_only_variants_that_pool_need_scipy(fake, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    assert "int8" in systems_of(fake, data, "int8")
    unused = dataclasses.replace(Contender.of_encoder(fake), open=lambda: pytest.fail("an encoder was opened"))
    with pytest.raises(MissingDependencyError) as caught:
        measure([unused], [data], AccuracyOptions(stored=("int8", "int8, pool 2")))
    message_of(caught.value, "scipy", "pip install 'smartrt[pool]'")
