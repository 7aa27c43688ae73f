"""Fusing the pooled and the late score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from smartrt import Embeddings, TokenStates, Weights, fusion, score
from smartrt.errors import InputError, OptionError
from support import embeddings, message_of

weights = st.floats(-4, 4).filter(lambda weight: abs(weight) > 1e-3)


def cosines(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Cosines in float64, one pair at a time."""
    pairs = [[q @ d / (np.linalg.norm(q) * np.linalg.norm(d)) for d in documents] for q in queries.astype(float)]
    return np.array(pairs)


@settings(deadline=None, max_examples=30)
@given(pooled=weights, late=weights, seed=st.integers(0, 1000))
def test_the_score_is_the_formula(pooled, late, seed):
    queries, documents = embeddings([3, 1], seed=seed), embeddings([2, 5, 1], seed=seed + 1)
    terms = cosines(queries.pooled, documents.pooled), smartrt.maxsim(queries.tokens, documents.tokens)
    got = score(queries, documents, pooled=pooled, late=late)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, pooled * terms[0] + late * terms[1], rtol=0, atol=2e-6 * (abs(pooled) + abs(late)))


def test_the_weights_are_1_unless_asked():
    queries, documents = embeddings([3]), embeddings([2, 4], seed=1)
    np.testing.assert_array_equal(score(queries, documents), score(queries, documents, pooled=1.0, late=1.0))
    assert Weights() == Weights(1.0, 1.0)


@pytest.mark.parametrize(("off", "term"), [("pooled", "cosine"), ("late", "maxsim")])
def test_a_term_of_weight_0_is_not_computed(off, term, monkeypatch):
    def fail(*_):
        raise AssertionError(f"{term} was computed")

    queries, documents = embeddings([3]), embeddings([2, 4], seed=1)
    whole = score(queries, documents)
    monkeypatch.setattr(fusion, term, fail)
    with pytest.raises(AssertionError, match="was computed"):  # the net catches what it should
        score(queries, documents)
    half = score(queries, documents, **{off: 0.0})
    assert not np.array_equal(half, whole)


@pytest.mark.parametrize(
    ("pooled", "late"),
    [(0, 0), (float("nan"), 1), (1, float("inf")), (-float("inf"), 0), (0.0, -0.0)],
    ids=str,
)
def test_weights_that_rank_nothing_are_refused_with_their_values(pooled, late):
    for call in (Weights, lambda p, w: score(embeddings([1]), embeddings([1]), pooled=p, late=w)):
        with pytest.raises(OptionError) as caught:
            call(pooled, late)
        message_of(caught.value, f"pooled={pooled}", f"late={late}")


def test_a_weight_that_overflows_float32_is_refused():
    with pytest.raises(OptionError):
        score(embeddings([1]), embeddings([1]), pooled=1e300, late=0)


@settings(deadline=None, max_examples=30)
@given(scale=st.sampled_from([1e-6, 0.3, 40.0, 1e6]), seed=st.integers(0, 1000))
def test_raw_pooled_vectors_give_cosines(scale, seed):
    rng = np.random.default_rng(seed)
    queries, documents = (rng.normal(size=(n, 16)).astype(np.float32) for n in (2, 3))
    got = fusion.cosine(queries * np.float32(scale), documents)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, cosines(queries, documents), rtol=0, atol=2e-6)


def test_a_zero_vector_has_cosine_0_with_everything():
    zero, other = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    assert fusion.cosine(zero, other).tolist() == [[0.0]]
    assert fusion.cosine(zero, zero).tolist() == [[0.0]]


def test_unit_leaves_the_input_alone():
    vectors = np.full((2, 4), 3, np.float32)
    np.testing.assert_allclose(fusion.unit(vectors), np.full((2, 4), 0.5), rtol=1e-6)
    assert vectors.min() == 3


def test_different_pooled_dims_are_refused_with_both_numbers():
    with pytest.raises(InputError) as caught:
        score(embeddings([1], dim=8), embeddings([1], dim=6))
    message_of(caught.value, "8", "6")


def test_a_score_of_no_documents_is_empty():
    nothing = Embeddings(np.zeros((0, 32), np.float32), TokenStates.from_arrays([], 32), np.zeros(0, np.int64))
    assert score(embeddings([2, 1]), nothing).shape == (2, 0)
    assert score(nothing, embeddings([2, 1])).shape == (0, 2)


@pytest.mark.parametrize("weights", [{"pooled": "1"}, {"late": None}], ids=str)
def test_a_weight_that_is_no_number_is_refused(weights):
    with pytest.raises(OptionError, match="weights must be numbers"):
        score(embeddings([1]), embeddings([1]), **weights)
