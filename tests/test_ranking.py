"""The true top k from approximate scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.errors import InputError
from smartrt.ranking import MARGIN, check_k, top_k
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


@pytest.mark.parametrize("k", [0, -1, 4], ids=["zero", "negative", "one too many"])
def test_k_out_of_bounds_is_refused_with_the_bounds(k):
    for call in (lambda: check_k(k, 3), lambda: top_k(np.zeros(3, np.float32), k, float)):
        with pytest.raises(InputError) as caught:
            call()
        message_of(caught.value, f"k={k}", "1 to 3")


def test_a_k_that_is_no_whole_number_is_refused():
    with pytest.raises(InputError):
        check_k(1.5, 3)


def test_k_of_nothing_does_not_advise_an_impossible_range():
    with pytest.raises(InputError) as caught:
        check_k(10, 0)
    assert "1 to 0" not in message_of(caught.value)
