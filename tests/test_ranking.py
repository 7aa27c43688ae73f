"""The true top k from approximate scores."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import ranking
from smartrt.errors import InputError
from smartrt.ranking import MARGIN, best, check_k, hash_tie, still_possible, top_k
from support import message_of


def sorted_fully(exact: np.ndarray, k: int) -> list[tuple[int, float]]:
    return [(int(i), float(exact[i])) for i in np.argsort(-exact, kind="stable")[:k]]


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(st.integers(-4, 4), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_noise_within_the_margin_never_changes_the_result(steps, seed, data):
    """Exact scores a fraction of the margin apart, so that the noise reorders most of them, and many ties."""
    k = data.draw(st.integers(1, len(steps)))
    exact = 0.5 + np.array(steps) * MARGIN / 4
    noise = np.random.default_rng(seed).uniform(-0.45, 0.45, len(exact)) * MARGIN
    assert top_k((exact + noise).astype(np.float32), k, lambda i: float(exact[i])) == sorted_fully(exact, k)


@settings(deadline=None, max_examples=40)
@given(margin=st.sampled_from([0.01, 0.1, 1.0]), seed=st.integers(0, 1000), k=st.integers(1, 30))
def test_a_wider_margin_covers_wider_noise(margin, seed, k):
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=30)
    scores = (exact + rng.uniform(-0.49, 0.49, 30) * margin).astype(np.float32)
    assert top_k(scores, k, lambda i: float(exact[i]), margin) == sorted_fully(exact, k)


def test_equal_scores_keep_the_order_of_the_candidates():
    scores = np.array([0.5, 0.7, 0.5, 0.7, 0.7, 0.5], np.float32)
    assert [i for i, _ in top_k(scores, 5, lambda i: float(scores[i]))] == [1, 3, 4, 0, 2]


def test_only_candidates_near_the_top_are_scored_again():
    scores, asked = np.linspace(0, 1, 101).astype(np.float32), []

    def exact(i: int) -> float:
        asked.append(i)
        return float(scores[i])

    top_k(scores, 3, exact)
    assert sorted(asked) == [98, 99, 100]


def test_candidates_and_scores_are_plain_numbers():
    ((candidate, value),) = top_k(np.array([0.25], np.float32), 1, lambda _: 0.25)
    assert (type(candidate), type(value)) == (int, float)


@pytest.mark.parametrize("k", [4, 5, 1000, 10**30])
def test_a_k_beyond_the_candidates_returns_them_all(k):
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert top_k(scores, k, lambda i: float(scores[i])) == sorted_fully(scores, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_candidates_have_no_best(dtype):
    assert top_k(np.zeros(0, dtype), 3, float) == []


def test_equal_scores_are_ordered_by_the_key_that_is_asked_for():
    scores, keys = np.array([0.5, 0.7, 0.5, 0.7, 0.5], np.float32), [b"c", b"y", b"a", b"x", b"a"]
    ranked = top_k(scores, 4, lambda i: float(scores[i]), tie=lambda i: keys[i])
    assert [i for i, _ in ranked] == [3, 1, 2, 4]


@settings(deadline=None, max_examples=200)
@given(
    steps=st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 8)), max_size=300),
    k=st.integers(1, 12),
    first=st.sampled_from([1, 5, 64]),
    seed=st.integers(0, 1000),
)
def test_what_the_bounds_leave_holds_the_k_best_and_all_their_equals(steps, k, first, seed):
    true = 0.5 + np.array([step for step, _ in steps], np.float64) * MARGIN
    upper = true + np.array([slack for _, slack in steps], np.float64) * MARGIN
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, len(true)) * MARGIN
    scored = []

    def score(some):
        assert some.tolist() == sorted(some)
        scored.extend(some.tolist())
        return (true + noise)[some]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_FIRST", first)
        left = still_possible(upper, k, score)
    assert left.tolist() == sorted(set(scored))
    assert len(scored) == len(set(scored))
    if len(true):
        threshold = np.sort(true)[::-1][min(k, len(true)) - 1]
        assert set(np.flatnonzero(true >= threshold)) <= set(left.tolist())


@settings(deadline=None, max_examples=100)
@given(scores=st.lists(st.integers(-3, 3), max_size=40), count=st.integers(1, 50))
def test_the_best_of_equal_scores_are_the_first(scores, count):
    values = np.array(scores, np.float64)
    chosen = best(values, count)
    assert chosen.tolist() == sorted(np.argsort(-values, kind="stable")[:count].tolist())
    assert chosen.dtype == np.int64


def test_candidates_that_the_bounds_rule_out_are_not_scored():
    upper, scored = np.linspace(1, 0, 5000), []

    def score(some):
        scored.extend(some.tolist())
        return upper[some]

    assert len(still_possible(upper, 3, score)) == len(scored) < 100


def test_the_hash_of_two_names_is_the_published_order():
    assert hash_tie("q1", "d1") == hashlib.blake2b(b"q1\0d1\0", digest_size=8).digest()
    assert len({hash_tie(*names) for names in (("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""))}) == 4
    assert len(hash_tie("\u00fc", "\U0001f600")) == 8


@pytest.mark.parametrize("k", [0, -1, -(10**30)])
def test_a_k_below_1_is_refused_with_its_value(k):
    with pytest.raises(InputError) as caught:
        check_k(k)
    message_of(caught.value, f"k={k}", "at least 1")


@pytest.mark.parametrize("k", [1.5, 1.0, "1", None, True, False, np.float32(1), np.bool_(True), [1]], ids=repr)
def test_a_k_that_is_no_whole_number_is_refused_with_its_value(k):
    with pytest.raises(InputError) as caught:
        check_k(k)
    message_of(caught.value, repr(k), "whole number")


@pytest.mark.parametrize("k", [1, 10**30, np.int64(7), np.uint8(3)])
def test_a_k_is_a_plain_number_afterwards(k):
    assert check_k(k) == k
    assert type(check_k(k)) is int
