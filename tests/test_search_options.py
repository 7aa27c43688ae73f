"""What a search can be told: candidates, fusions, a third signal; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searching import alive_in, check_ranked, cut, terms_of
from smartrt import Embeddings, TokenStates, stages
from smartrt.documents import Documents
from smartrt.errors import InputError, OptionError
from smartrt.fusion import Weights
from smartrt.scoring.storage import DTYPES
from smartrt.search import SearchOptions, search
from support import embeddings, message_of

LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=14)
WEIGHTS = st.sampled_from(
    [(1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.3, 2.0, -0.5), (1.0, -0.5, 0.0), (0.0, -1.0, 0.2)]
)
FUSIONS = ["sum", "zscore", "rrf"]


def fused(method, weights, terms):
    """The fusions as their documentation says, in NumPy."""
    total = np.zeros(len(terms["pooled"]))
    for weight, name in zip(weights, ("pooled", "late", "extra"), strict=True):
        term = terms.get(name)
        if term is None or not weight or not len(term):
            continue
        if method == "zscore":
            total += weight * (term - term.mean()) / term.std() if np.ptp(term) else 0
        elif method == "rrf":
            total += weight / (
                60 + 1 + np.array([(term > one).sum() + (term[:i] == one).sum() for i, one in enumerate(term)])
            )
        else:
            total += weight * term
    return total


def at(terms, positions):
    return {name: term[positions] for name, term in terms.items()}


@settings(max_examples=150)
@given(
    lengths=LENGTHS,
    weights=WEIGHTS,
    method=st.sampled_from(FUSIONS),
    storage=st.sampled_from(list(DTYPES)),
    cuts=st.lists(st.integers(0, 14), max_size=2),
    dead=st.sets(st.integers(0, 13)),
    with_extra=st.booleans(),
    candidates=st.one_of(st.just("all"), st.integers(1, 16)),
    k=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_candidates_and_fusions_rank_as_they_are_defined(
    lengths, weights, method, storage, cuts, dead, with_extra, candidates, k, seed
):
    queries, parts = embeddings([3, 1], seed=seed), cut(embeddings(lengths, seed=seed + 100), cuts, storage, dead)
    extra = np.random.default_rng(seed).normal(size=(2, len(lengths))).astype(np.float32) if with_extra else None
    options = SearchOptions(candidates=candidates, fusion=method)
    ranked = search(queries, parts, k=k, weights=Weights(*weights), options=options, extra=extra)
    for row, got in enumerate(ranked):
        terms = terms_of(queries, row, parts)
        if with_extra:
            terms["extra"] = extra[row].astype(np.float64)
        among = alive_in(parts)
        if candidates != "all" and weights[1] and len(among):
            first = (weights[0], 0, weights[2] if with_extra else 0)
            quick = fused(method, first if any(first) else (1, 0, 0), at(terms, among))
            among = among[np.sort(np.argsort(-quick, kind="stable")[: max(candidates, k)])]
        check_ranked(got, fused(method, weights, at(terms, among)), terms, among, k, tolerance=1e-4)


@pytest.mark.parametrize("method", FUSIONS)
def test_as_many_candidates_as_documents_are_all(method):
    queries, parts = embeddings([3, 1]), cut(embeddings([2, 9, 4, 1, 3], seed=1), [2], "int16", [3])
    some, every = (
        search(queries, parts, k=3, options=SearchOptions(candidates=count, fusion=method)) for count in (4, "all")
    )
    for left, right in zip(some, every, strict=True):
        assert [place.position for place in left] == [place.position for place in right]
        # Means and deviations are those of float32 terms, and these differ by rounding.
        assert [place.score for place in left] == pytest.approx([place.score for place in right], abs=1e-5)


def test_candidates_are_at_least_as_many_as_are_asked_for():
    parts = cut(embeddings([2, 9, 4, 1, 3], seed=1))
    (ranked,) = search(embeddings([3]), parts, k=4, options=SearchOptions(candidates=1))
    assert len(ranked) == 4


def test_candidates_with_late_off_change_nothing():
    queries, parts = embeddings([3]), cut(embeddings([2, 9, 4, 1, 3], seed=1))
    off = Weights(1.0, 0.0)
    assert search(queries, parts, k=2, weights=off, options=SearchOptions(candidates=2)) == search(
        queries, parts, k=2, weights=off
    )


# Rounding must not decide.


def rounded_differently(monkeypatch):
    """Let float32 late scores be off by 3e-8, up and down: what another tile or number of threads may do to them."""
    true = stages.late_of

    def late_of(*arguments, **options):
        scores = true(*arguments, **options)
        return (scores + np.where(np.arange(scores.shape[1]) % 2, 3e-8, -3e-8)).astype(np.float32)

    monkeypatch.setattr(stages, "late_of", late_of)


def test_reciprocal_ranks_of_equal_documents_keep_their_order(monkeypatch):
    queries, parts = embeddings([40]), cut(embeddings([5, 3], seed=1).take([0, 0, 0, 0, 1]))
    options = SearchOptions(fusion="rrf")
    wanted = search(queries, parts, k=5, weights=Weights(0.0, 1.0), options=options)
    rounded_differently(monkeypatch)
    assert search(queries, parts, k=5, weights=Weights(0.0, 1.0), options=options) == wanted


def test_a_term_that_is_the_same_for_all_has_no_zscore_whatever_its_rounding(monkeypatch):
    documents = embeddings([5, 3, 4], seed=1)
    alike = Embeddings(documents.pooled, documents.tokens.take([0, 0, 0]), documents.truncated)
    options = SearchOptions(fusion="zscore")
    (wanted,) = search(embeddings([40]), cut(alike), k=3, weights=Weights(1.0, 0.0), options=options)
    rounded_differently(monkeypatch)
    (got,) = search(embeddings([40]), cut(alike), k=3, options=options)
    assert [place.position for place in got] == [place.position for place in wanted]
    assert [place.score for place in got] == pytest.approx([place.score for place in wanted], abs=1e-3)


@pytest.mark.parametrize("storage", DTYPES)
def test_a_sum_is_the_same_however_float32_rounds(storage, monkeypatch):
    queries, parts = embeddings([40, 2]), cut(embeddings([5, 3, 4], seed=1).take([0, 0, 1, 1, 2, 2]), [3], storage)
    wanted = search(queries, parts, k=4)
    rounded_differently(monkeypatch)
    assert search(queries, parts, k=4) == wanted


# The third signal.


def test_a_third_signal_can_decide_and_weigh_nothing():
    queries, parts = embeddings([2]), cut(embeddings([3, 1, 2], seed=1))
    extra = np.array([[0, 50, 100]])
    (ranked,) = search(queries, parts, k=3, extra=extra)
    assert [place.position for place in ranked] == [2, 1, 0]
    assert ranked[0].score == pytest.approx(ranked[0].pooled + ranked[0].late + 100)
    assert search(queries, parts, k=3, extra=extra, weights=Weights(extra=0)) == search(queries, parts, k=3)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (3,), (3, 1)], ids=str)
def test_a_third_signal_of_another_shape_is_refused_with_both(shape):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), cut(embeddings([3, 1, 2])), k=1, extra=np.zeros(shape, np.float32))
    message_of(caught.value, "extra", "[1, 3]", str(list(shape)))


@pytest.mark.parametrize("value", [np.nan, np.inf, "a", None, True, 1j], ids=repr)
def test_a_third_signal_that_is_not_of_finite_numbers_is_refused(value):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), cut(embeddings([3, 1])), k=1, extra=np.array([[value, value]]))
    message_of(caught.value, "extra", "finite")


def test_a_third_signal_beyond_float32_is_refused_or_kept():
    (ranked,) = search(embeddings([2]), cut(embeddings([3, 1])), k=1, extra=np.array([[0, 1e39]]))
    assert ranked[0].score == pytest.approx(1e39)


def test_a_third_signal_counts_in_the_precision_it_has():
    parts = cut(embeddings([3], seed=1).take([0, 0]))
    (ranked,) = search(embeddings([2]), parts, k=2, extra=np.array([[20.0, 20.0 + 1e-7]]))
    assert [place.position for place in ranked] == [1, 0]


def test_a_third_signal_may_be_anything_at_deleted_documents():
    parts = cut(embeddings([3, 1, 2], seed=1), dead=[1])
    wanted = search(embeddings([2]), parts, k=3, extra=np.array([[1.0, 0.0, 2.0]]))
    assert search(embeddings([2]), parts, k=3, extra=np.array([[1.0, np.nan, 2.0]])) == wanted


# Refusals.


@pytest.mark.parametrize("k", [0, -1, True, 1.0, "1", None, np.float32(2)], ids=repr)
def test_a_k_that_is_no_count_is_refused(k):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), cut(embeddings([1, 2])), k=k)
    message_of(caught.value, "k", repr(k))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], ids=["hybrid", "pooled", "late"])
def test_documents_of_other_dims_are_refused_whatever_the_weights(weights):
    with pytest.raises(InputError) as caught:
        search(embeddings([2]), cut(embeddings([1, 2], dim=16)), k=1, weights=Weights(*weights))
    message_of(caught.value, "32", "16")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["pooled", "tokens"])
def test_queries_that_are_not_finite_are_refused(side, value):
    queries = embeddings([2, 1])
    (queries.pooled if side == "pooled" else queries.tokens.values)[1, 3] = value
    with pytest.raises(InputError) as caught:
        search(queries, cut(embeddings([1])), k=1)
    message_of(caught.value, "queries", "NaN")


def test_a_query_without_a_token_is_refused_by_name():
    queries = Embeddings(embeddings([1, 1]).pooled, TokenStates(np.ones((1, 32), np.float32), np.array([0, 1, 1])),
                         np.zeros(2, np.int64))  # fmt: skip
    with pytest.raises(InputError) as caught:
        search(queries, cut(embeddings([1])), k=1)
    message_of(caught.value, "query 1", "no token")


@pytest.mark.parametrize("queries", ["text", None, np.zeros((1, 32), np.float32)], ids=["text", "None", "array"])
def test_queries_that_no_encoder_returned_are_refused(queries):
    with pytest.raises(InputError) as caught:
        search(queries, [Documents.of(embeddings([1]))], k=1)
    message_of(caught.value, "queries", "Embeddings")


@pytest.mark.parametrize(
    ("name", "value"),
    [("candidates", value) for value in (0, -1, True, 1.5, "some", None, [1])]
    + [("fusion", value) for value in ("mean", "", None, 1)]
    + [("threads", value) for value in (0, 257, True, 2.0, "all")]
    + [("rough", value) for value in ("maybe", True, None, 0)],
)
def test_options_that_mean_nothing_are_refused_with_their_value(name, value):
    with pytest.raises(OptionError) as caught:
        SearchOptions(**{name: value})
    message_of(caught.value, name, repr(value))


def test_a_first_pass_that_cannot_run_is_refused():
    for options, storage, said in (
        ({}, "float16", "int8"),
        ({}, "float32", "int8"),
        ({"candidates": 1}, "int8", "candidates='all'"),
        ({"fusion": "rrf"}, "int8", "fusion='sum'"),
        ({"fusion": "zscore"}, "int16", "fusion='sum'"),
    ):
        with pytest.raises(OptionError) as caught:
            search(
                embeddings([1]),
                cut(embeddings([1, 2]), (), storage),
                k=1,
                options=SearchOptions(**options, rough="on"),
            )
        message_of(caught.value, said, "auto")
