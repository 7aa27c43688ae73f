"""Ranking documents in memory: the true order of what is stored, however it is searched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from searching import alive_in, check_ranked, cut, terms_of
from smartrt import Embeddings, TokenStates, stages
from smartrt import search as search_module
from smartrt.documents import Documents, exact_terms
from smartrt.fusion import Weights
from smartrt.ranking import hash_tie
from smartrt.scoring.storage import DTYPES, LARGEST
from smartrt.search import Ranked, SearchOptions, search
from support import embeddings, unit_rows

NOTHING = embeddings([])
LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=14)
WEIGHTS = st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0), (1.0, -0.5), (-1.0, -2.0), (100.0, 0.01)])
STORAGES = st.sampled_from(list(DTYPES))


@settings(max_examples=100)
@given(
    lengths=LENGTHS,
    weights=WEIGHTS,
    storage=STORAGES,
    cuts=st.lists(st.integers(0, 14), max_size=3),
    dead=st.sets(st.integers(0, 13)),
    k=st.integers(1, 20),
    rough=st.sampled_from(["auto", "off", "on"]),
    seed=st.integers(0, 99),
)
def test_a_search_is_a_full_sort_by_the_definition(lengths, weights, storage, cuts, dead, k, rough, seed):
    queries, parts = embeddings([3, 1], seed=seed), cut(embeddings(lengths, seed=seed + 100), cuts, storage, dead)
    options = SearchOptions(rough=rough if storage in LARGEST else "auto", threads=1 + seed % 3)
    ranked = search(queries, parts, k=k, weights=Weights(*weights), options=options)
    assert len(ranked) == 2
    among = alive_in(parts)
    for row, got in enumerate(ranked):
        terms = terms_of(queries, row, parts)
        wanted = weights[0] * terms["pooled"] + weights[1] * terms["late"]
        check_ranked(got, wanted[among], terms, among, k, tolerance=1e-12)


def near_copies(rng, count, dim, step):
    """Documents of which most are copies of others, or a `step` away from them."""
    bases = [unit_rows(rng, length, dim) for length in (1, 3, 9)]
    pooled = unit_rows(rng, 3, dim)
    arrays, rows = [], []
    for _ in range(count):
        which, moved = rng.integers(3), rng.random() < 0.5
        noise = rng.normal(size=bases[which].shape) * step * moved
        arrays.append((bases[which] + noise).astype(np.float32))
        rows.append(pooled[which])
    return Embeddings(np.array(rows), TokenStates.from_arrays(arrays), np.zeros(count, np.int64))


@settings(max_examples=100)
@given(
    storage=st.sampled_from(list(LARGEST)),
    weights=WEIGHTS,
    count=st.integers(1, 60),
    step=st.sampled_from([1e-7, 1e-5, 1e-3, 1e-2]),
    cuts=st.lists(st.integers(0, 60), max_size=2),
    dead=st.sets(st.integers(0, 59), max_size=10),
    k=st.integers(1, 12),
    with_extra=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_first_pass_changes_no_answer(storage, weights, count, step, cuts, dead, k, with_extra, seed):
    rng = np.random.default_rng(seed)
    parts = cut(near_copies(rng, count, 24, step), cuts, storage, dead)
    queries = embeddings([5, 1, 30], seed=seed, dim=24)
    extra = rng.integers(0, 3, (3, count)).astype(np.float32) if with_extra else None
    given_options = {"k": k, "weights": Weights(*weights), "extra": extra}
    off, on = (search(queries, parts, options=SearchOptions(rough=way), **given_options) for way in ("off", "on"))
    assert off == on
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "pays", lambda *_: True)
        assert search(queries, parts, **given_options) == off


@settings(max_examples=40)
@given(copies=st.lists(st.integers(0, 2), min_size=2, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=3))
def test_equal_documents_keep_their_order_across_pieces(copies, cuts):
    documents = embeddings([2, 5, 3], seed=1).take(copies)
    (ranked,) = search(embeddings([4], seed=2), cut(documents, cuts), k=len(copies))
    for which in set(copies):
        positions = [place.position for place in ranked if copies[place.position] == which]
        assert positions == sorted(positions)
        assert len({place.score for place in ranked if copies[place.position] == which}) == 1


def test_equal_documents_are_ordered_by_the_hash_of_their_names_where_that_is_asked_for():
    names = [f"d{i}" for i in range(12)]
    parts = cut(embeddings([2, 4], seed=1).take([0, 1] * 6), [5])
    ties = [lambda at, query=query: hash_tie(query, names[at]) for query in ("q0", "q1")]
    for query, ranked in zip(("q0", "q1"), search(embeddings([3, 2]), parts, k=9, ties=ties), strict=True):
        keys = [(-place.score, hash_tie(query, names[place.position])) for place in ranked]
        assert keys == sorted(keys)
        assert [place.position for place in ranked] != sorted(place.position for place in ranked)


def test_a_query_is_answered_the_same_in_a_block_of_its_own(monkeypatch):
    queries, parts = embeddings([3, 1, 4, 2, 5]), cut(embeddings([3, 9, 1, 4], seed=1), [2], "int8")
    extra = np.arange(20, dtype=np.float32).reshape(5, 4) % 3
    ties = [lambda at, row=row: bytes([(at * 7 + row) % 4]) for row in range(5)]
    whole = search(queries, parts, k=4, extra=extra, ties=ties)
    monkeypatch.setattr(search_module, "_SCORES", 8)
    assert search(queries, parts, k=4, extra=extra, ties=ties) == whole


def test_without_weights_both_terms_count_once():
    queries, parts = embeddings([2]), cut(embeddings([3, 1, 2], seed=1))
    assert search(queries, parts, k=3) == search(queries, parts, k=3, weights=Weights(1.0, 1.0))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["late off", "pooled off"])
@pytest.mark.parametrize("candidates", ["all", 2])
def test_a_term_of_weight_0_is_reported_and_does_not_rank(weights, candidates):
    queries, parts = embeddings([2]), cut(embeddings([3, 1, 2, 5], seed=1), [1])
    options = SearchOptions(candidates=candidates)
    (ranked,) = search(queries, parts, k=2, weights=Weights(*weights), options=options)
    terms = terms_of(queries, 0, parts)
    for place in ranked:
        assert place.score == (place.pooled if weights[0] else place.late)
        assert (place.pooled, place.late) == pytest.approx(tuple(terms[name][place.position] for name in terms))


def test_pooled_vectors_of_any_length_count_by_their_direction(rng):
    lengths = np.array([[0.01], [1], [1e4], [3]], np.float32)
    documents = embeddings([1, 2, 3, 4], seed=1)
    scaled = Embeddings(documents.pooled * lengths, documents.tokens, documents.truncated)
    queries = Embeddings(unit_rows(rng, 1, 32) * np.float32(7), embeddings([2]).tokens, np.zeros(1, np.int64))
    (got,), (wanted,) = (search(queries, [Documents.of(each)], k=4) for each in (scaled, documents))
    assert [place.position for place in got] == [place.position for place in wanted]
    assert [place.score for place in got] == pytest.approx([place.score for place in wanted], abs=1e-6)


def test_exact_terms_are_those_of_the_definition_and_add_up_to_the_score():
    queries, documents = embeddings([2, 5]), embeddings([3, 1, 4], seed=1)
    scores = smartrt.score(queries, documents)
    for query in range(2):
        wanted = terms_of(queries, query, [Documents.of(documents)])
        for document in range(3):
            terms = exact_terms(queries, query, documents, document)
            assert terms == pytest.approx((wanted["pooled"][document], wanted["late"][document]), abs=1e-12)
            assert sum(terms) == pytest.approx(float(scores[query, document]), abs=4e-6)


def test_results_come_back_as_plain_numbers():
    ((place,),) = search(embeddings([2]), [Documents.of(embeddings([1]))], k=1)
    assert isinstance(place, Ranked)
    kinds = [type(value) for value in (place.position, place.score, place.pooled, place.late)]
    assert kinds == [int, float, float, float]


# Few documents, or none.


@pytest.mark.parametrize("k", [3, 4, 1000, np.int64(5)])
def test_more_than_there_are_returns_all(k):
    assert [len(ranked) for ranked in search(embeddings([2, 1]), cut(embeddings([1, 2, 3]), [1]), k=k)] == [3, 3]


EMPTY = [
    pytest.param(
        [],
        id="no piece",
    ),
    pytest.param([Documents.of(NOTHING, "int8")], id="an empty piece"),
    pytest.param(cut(embeddings([1, 2]), [1], "int8", [0, 1]), id="deleted ones"),
]


@pytest.mark.parametrize("parts", EMPTY)
@pytest.mark.parametrize(
    "options",
    [{}, {"rough": "off"}, {"rough": "on"}, {"fusion": "zscore"}, {"fusion": "rrf"}, {"candidates": 3}],
    ids=str,
)
def test_no_documents_have_no_results(parts, options):
    assert search(embeddings([2, 1]), parts, k=1, options=SearchOptions(**options)) == [[], []]


@pytest.mark.parametrize("rough", ["off", "on"])
def test_no_queries_have_no_results(rough):
    parts = [Documents.of(embeddings([1, 2]), "int16")]
    assert search(NOTHING, parts, k=1, options=SearchOptions(rough=rough)) == []
