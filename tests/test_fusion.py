"""Fusing the pooled and the late score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from smartrt import Embeddings, TokenStates, Weights, fusion, score
from smartrt.errors import InputError, OptionError
from smartrt.fusion import Fused, check_method, fuse
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
    assert Weights() == Weights(1.0, 1.0) == Weights(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("off", "term"), [("pooled", "cosine"), ("late", "maxsim")])
def test_a_term_of_weight_0_is_not_computed(off, term, monkeypatch):
    def fail(*_, **__):
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
    [
        (0, 0),
        (float("nan"), 1),
        pytest.param(1, float("nan")),
        (1, float("inf")),
        (-float("inf"), 0),
        (0.0, -0.0),
        (1e6 + 1, 1),
        (1, -1e6 - 1),
    ],
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


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(float("nan")),
        float("inf"),
        -2e6,
        "1",
        None,
    ],
    ids=repr,
)
def test_a_weight_of_the_third_signal_is_a_finite_number_too(extra):
    with pytest.raises(OptionError) as caught:
        Weights(extra=extra)
    message_of(caught.value, f"extra={extra!r}")


def test_a_third_signal_alone_does_not_rank():
    with pytest.raises(OptionError):
        Weights(0, 0, 1)


@pytest.mark.parametrize("weights", [{"pooled": "1"}, {"late": None}], ids=str)
def test_a_weight_that_is_no_number_is_refused(weights):
    with pytest.raises(OptionError, match="weights must be numbers"):
        score(embeddings([1]), embeddings([1]), **weights)


@pytest.mark.parametrize("side", ["queries", "documents"])
@pytest.mark.parametrize("given", ["text", None, np.zeros((1, 32), np.float32)], ids=["text", "None", "array"])
def test_what_no_encoder_returned_is_refused_by_name(side, given):
    pair = {"queries": embeddings([1]), "documents": embeddings([1])}
    with pytest.raises(InputError) as caught:
        score(*(pair | {side: given}).values())
    message_of(caught.value, f"{side} must be Embeddings", type(given).__name__)


def test_the_number_of_threads_changes_no_score():
    queries, documents = embeddings([3, 30]), embeddings([2, 70, 5], seed=1)
    np.testing.assert_allclose(score(queries, documents, threads=1), score(queries, documents, threads=3), atol=4e-6)
    with pytest.raises(OptionError, match="threads"):
        score(queries, documents, threads=0)


# Fusions of the terms of one query.

TERMS = st.integers(1, 12).flatmap(
    lambda count: st.dictionaries(
        st.sampled_from(["pooled", "late", "extra"]),
        st.lists(st.integers(-8, 8).map(lambda value: value / 8), min_size=count, max_size=count),
        min_size=1,
    )
)
GIVEN = Weights(0.5, -2.0, 3.0)


def weighted(terms):
    return {name: (getattr(GIVEN, name), np.array(values)) for name, values in terms.items()}


@settings(max_examples=60)
@given(terms=TERMS)
def test_a_sum_is_the_sum_of_the_weighted_terms(terms):
    fused = fuse("sum", GIVEN, {name: np.array(values, np.float32) for name, values in terms.items()})
    assert fused.scores.dtype == np.float64
    np.testing.assert_allclose(fused.scores, sum(weight * term for weight, term in weighted(terms).values()))
    assert fused.constant == 0


@settings(max_examples=60)
@given(terms=TERMS)
def test_a_zscore_counts_deviations_from_the_mean(terms):
    wanted = np.zeros(len(next(iter(terms.values()))))
    for weight, term in weighted(terms).values():
        if np.ptp(term):
            wanted += weight * (term - np.mean(term)) / np.sqrt(np.mean((term - np.mean(term)) ** 2))
    fused = fuse("zscore", GIVEN, {name: np.array(values) for name, values in terms.items()})
    np.testing.assert_allclose(fused.scores, wanted, atol=1e-9)


@settings(max_examples=60)
@given(terms=TERMS)
def test_reciprocal_ranks_begin_at_1_and_equal_terms_keep_their_order(terms):
    wanted = np.zeros(len(next(iter(terms.values()))))
    for weight, term in weighted(terms).values():
        for rank, i in enumerate(sorted(range(len(term)), key=lambda i: (-term[i], i)), start=1):
            wanted[i] += weight / (60 + rank)
    fused = fuse("rrf", GIVEN, {name: np.array(values) for name, values in terms.items()})
    np.testing.assert_allclose(fused.scores, wanted, atol=1e-12)
    assert fused.factors is None


@settings(max_examples=60)
@given(terms=TERMS, method=st.sampled_from(["sum", "zscore", "rrf"]))
def test_a_score_from_the_terms_again_is_the_score(terms, method):
    fused = fuse(method, GIVEN, {name: np.array(values) for name, values in terms.items()})
    every = {"pooled": 5.0, "late": 5.0, "extra": 5.0}  # what does not count may be there
    for i, wanted in enumerate(fused.scores):
        known = every | {name: values[i] for name, values in terms.items()}
        assert fused.again(i, known) == pytest.approx(wanted, abs=1e-9)


def test_again_uses_what_is_known_better():
    assert Fused(np.array([0.0]), {"late": 2.0}, 0.5).again(0, {"late": 1.25, "pooled": 9.0}) == 3.0


@pytest.mark.parametrize("method", ["", "mean", "SUM", None, 3], ids=repr)
def test_a_fusion_that_does_not_exist_is_refused_with_those_that_do(method):
    with pytest.raises(OptionError) as caught:
        check_method(method)
    message_of(caught.value, repr(method), "sum", "zscore", "rrf")
