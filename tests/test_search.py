"""Ranking documents that lie in several pieces: the true order, the terms, the ties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from smartrt import Embeddings, TokenStates
from smartrt.errors import InputError
from smartrt.fusion import Weights
from smartrt.search import Ranked, exact_terms, search
from support import embeddings, message_of, unit_rows

NOTHING = Embeddings(np.zeros((0, 32), np.float32), TokenStates.from_arrays([], 32), np.zeros(0, np.int64))
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=12)
WEIGHTS = st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0), (1.0, -0.5), (100.0, 0.01)])


def terms_in_float64(queries, query, documents, document):
    """The two terms as their definition says, one product at a time."""
    left, right = (side.pooled[i].astype(np.float64) for side, i in ((queries, query), (documents, document)))
    cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    rows = queries.tokens[query].astype(np.float64), documents.tokens[document].astype(np.float64)
    return cosine, np.mean([max(float(q @ d) for d in rows[1]) for q in rows[0]])


def cut(documents, cuts):
    """The documents in pieces, some of them empty."""
    bounds = [0, *sorted(cuts), len(documents)]
    return [documents.take(range(first, last)) for first, last in itertools.pairwise(bounds)]


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, weights=WEIGHTS, seed=st.integers(0, 99), data=st.data())
def test_a_search_is_a_full_sort_by_the_definition(lengths, weights, seed, data):
    k = data.draw(st.integers(1, len(lengths)))
    queries, documents = embeddings([3, 1], seed=seed), embeddings(lengths, seed=seed + 100)
    for row, got in enumerate(search(queries, [documents], k=k, weights=Weights(*weights))):
        terms = [terms_in_float64(queries, row, documents, i) for i in range(len(lengths))]
        scores = [weights[0] * pooled + weights[1] * late for pooled, late in terms]
        order = sorted(range(len(lengths)), key=lambda i: (-scores[i], i))[:k]
        assert [place.position for place in got] == order
        for place in got:
            assert (place.pooled, place.late) == pytest.approx(terms[place.position], abs=1e-6)
            assert place.score == weights[0] * place.pooled + weights[1] * place.late


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, weights=WEIGHTS, seed=st.integers(0, 99), data=st.data())
def test_the_cut_into_pieces_changes_nothing(lengths, weights, seed, data):
    cuts = data.draw(st.lists(st.integers(0, len(lengths)), max_size=4))
    queries, documents = embeddings([2, 4], seed=seed), embeddings(lengths, seed=seed + 100)
    options = {"k": len(lengths), "weights": Weights(*weights)}
    assert search(queries, cut(documents, cuts), **options) == search(queries, [documents], **options)


@settings(deadline=None, max_examples=40)
@given(copies=st.lists(st.integers(0, 2), min_size=2, max_size=12), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_equal_documents_keep_their_order_across_pieces(copies, cuts):
    documents = embeddings([2, 5, 3], seed=1).take(copies)
    pieces = cut(documents, [min(place, len(copies)) for place in cuts])
    (ranked,) = search(embeddings([4], seed=2), pieces, k=len(copies))
    for which in set(copies):
        positions = [place.position for place in ranked if copies[place.position] == which]
        assert positions == sorted(positions)
        assert len({place.score for place in ranked if copies[place.position] == which}) == 1


def test_without_weights_both_terms_count_once():
    queries, documents = embeddings([2]), embeddings([3, 1, 2], seed=1)
    assert search(queries, [documents], k=3) == search(queries, [documents], k=3, weights=Weights(1.0, 1.0))


def test_a_term_of_weight_0_is_reported_and_does_not_rank():
    queries, documents = embeddings([2]), embeddings([3, 1, 2], seed=1)
    (ranked,) = search(queries, [documents], k=3, weights=Weights(1.0, 0.0))
    assert [place.score for place in ranked] == [place.pooled for place in ranked]
    late = [terms_in_float64(queries, 0, documents, place.position)[1] for place in ranked]
    assert [place.late for place in ranked] == pytest.approx(late)


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_a_k_that_no_ranking_has_is_refused_with_both_numbers(k):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), [embeddings([1, 2]), embeddings([1])], k=k)
    message_of(caught.value, f"k={k}", "3")


@pytest.mark.parametrize("parts", [[], [NOTHING]], ids=["no piece", "an empty piece"])
def test_no_documents_are_refused_in_words(parts):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), parts, k=1)
    assert "1 to 0" not in message_of(caught.value, "document")


def test_no_queries_have_no_results():
    assert search(NOTHING, [embeddings([1, 2])], k=1) == []


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], ids=["hybrid", "pooled", "late"])
def test_documents_of_other_dims_are_refused_whatever_the_weights(weights):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), [embeddings([1, 2], dim=16)], k=1, weights=Weights(*weights))
    message_of(caught.value, "32", "16")


def test_pooled_vectors_of_any_length_count_by_their_direction(rng):
    lengths = np.array([[0.01], [1], [1e4], [3]], np.float32)
    documents = embeddings([1, 2, 3, 4], seed=1)
    scaled = Embeddings(documents.pooled * lengths, documents.tokens, documents.truncated)
    queries = Embeddings(unit_rows(rng, 1, 32) * np.float32(7), embeddings([2]).tokens, np.zeros(1, np.int64))
    (got,), (wanted,) = search(queries, [scaled], k=4), search(queries, [documents], k=4)
    assert [place.position for place in got] == [place.position for place in wanted]
    assert [place.score for place in got] == pytest.approx([place.score for place in wanted], abs=1e-6)


def test_exact_terms_are_those_of_the_definition_and_add_up_to_the_score():
    queries, documents = embeddings([2, 5]), embeddings([3, 1, 4], seed=1)
    scores = smartrt.score(queries, documents)
    for query in range(2):
        for document in range(3):
            terms = exact_terms(queries, query, documents, document)
            assert terms == pytest.approx(terms_in_float64(queries, query, documents, document), abs=1e-6)
            assert sum(terms) == pytest.approx(float(scores[query, document]), abs=4e-6)


def test_results_come_back_as_plain_numbers():
    ((place,),) = search(embeddings([2]), [embeddings([1])], k=1)
    assert isinstance(place, Ranked)
    assert [type(value) for value in (place.position, place.score, place.pooled, place.late)] == [
        int,
        float,
        float,
        float,
    ]
