"""Metrics against numbers computed by hand, and the interval against what an interval must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.evaluation.metrics import (
    CUT,
    METRICS,
    RESAMPLES,
    ndcg,
    paired_bootstrap,
    paired_test,
    recall,
    reciprocal_rank,
)

LOG3 = math.log2(3)  # the discount of rank 2; that of rank 1 is 1, that of rank 3 is 2
CASES = {
    # ranking, gains, nDCG, recall, reciprocal rank
    "the only relevant first": ([7, 1, 2], {7: 1.0}, 1.0, 1.0, 1.0),
    "the only relevant second": ([1, 7, 2], {7: 1.0}, 1 / LOG3, 1.0, 1 / 2),
    "the only relevant third": ([1, 2, 7], {7: 1.0}, 1 / 2, 1.0, 1 / 3),
    "the only relevant tenth": ([*range(9), 77], {77: 1.0}, 1 / math.log2(11), 1.0, 1 / 10),
    "the only relevant eleventh": ([*range(10), 77], {77: 1.0}, 0.0, 0.0, 0.0),
    "nothing relevant": ([1, 2, 3], {7: 1.0}, 0.0, 0.0, 0.0),
    "one of two": ([1, 7], {7: 1.0, 8: 1.0}, (1 / LOG3) / (1 + 1 / LOG3), 1 / 2, 1 / 2),
    "graded, in order": ([1, 2, 3], {1: 3.0, 2: 2.0, 3: 1.0}, 1.0, 1.0, 1.0),
    "graded, reversed": (
        [3, 2, 1],
        {1: 3.0, 2: 2.0, 3: 1.0},
        (1 + 2 / LOG3 + 3 / 2) / (3 + 2 / LOG3 + 1 / 2),
        1.0,
        1.0,
    ),
    "graded, gains are linear": ([2, 1], {1: 3.0, 2: 1.0}, (1 + 3 / LOG3) / (3 + 1 / LOG3), 1.0, 1.0),
    "fractions as gains": ([1, 2], {2: 0.5}, 1 / LOG3, 1.0, 1 / 2),
    "fewer documents than the cut": ([5], {5: 1.0, 6: 1.0}, 1 / (1 + 1 / LOG3), 1 / 2, 1.0),
    "more relevant than the cut": (list(range(10)), dict.fromkeys(range(20), 1.0), 1.0, 1 / 2, 1.0),
    "an empty ranking": ([], {1: 1.0}, 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("ranking", "gains", *("ndcg10", "recall10", "mrr10")), CASES.values(), ids=CASES)
def test_metrics_are_those_computed_by_hand(ranking, gains, ndcg10, recall10, mrr10):
    assert ndcg(ranking, gains) == pytest.approx(ndcg10)
    assert recall(ranking, gains) == pytest.approx(recall10)
    assert reciprocal_rank(ranking, gains) == pytest.approx(mrr10)


def test_the_table_names_metric_and_cut():
    assert {"ndcg@10": ndcg, "recall@10": recall, "mrr@10": reciprocal_rank} == METRICS
    assert CUT == 10


RANKINGS = st.permutations(range(15))
GAINS = st.dictionaries(st.integers(0, 14), st.floats(0.1, 4), min_size=1)


@settings(deadline=None)
@given(RANKINGS, GAINS)
def test_every_metric_lies_between_0_and_1(ranking, gains):
    for metric in METRICS.values():
        assert 0 <= metric(ranking, gains) <= 1 + 1e-12


@settings(deadline=None)
@given(RANKINGS, GAINS)
def test_the_ideal_order_has_ndcg_1_and_no_order_beats_it(ranking, gains):
    ideal = sorted(ranking, key=lambda i: -gains.get(i, 0.0))
    assert ndcg(ideal, gains) == pytest.approx(1)
    assert ndcg(ranking, gains) <= ndcg(ideal, gains) + 1e-12


@settings(deadline=None)
@given(RANKINGS, GAINS)
def test_what_stands_behind_the_cut_counts_for_nothing(ranking, gains):
    behind = ranking[:CUT] + ranking[CUT:][::-1]
    for metric in METRICS.values():
        assert metric(ranking, gains) == metric(behind, gains) == metric(ranking[:CUT], gains)


@settings(deadline=None)
@given(RANKINGS, GAINS, st.integers(0, 8))
def test_moving_a_relevant_document_up_never_lowers_a_metric(ranking, gains, place):
    better, worse = sorted(ranking[place : place + 2], key=lambda i: -gains.get(i, 0.0))
    up = [*ranking[:place], better, worse, *ranking[place + 2 :]]
    down = [*ranking[:place], worse, better, *ranking[place + 2 :]]
    for metric in METRICS.values():
        assert metric(up, gains) >= metric(down, gains) - 1e-12


@settings(deadline=None)
@given(RANKINGS, GAINS, st.floats(0.5, 8))
def test_scaling_every_gain_changes_nothing(ranking, gains, factor):
    scaled = {i: gain * factor for i, gain in gains.items()}
    assert ndcg(ranking, scaled) == pytest.approx(ndcg(ranking, gains))


def differences(count, seed=1):
    return np.random.default_rng(seed).normal(0.1, 0.3, count)


def test_an_interval_is_the_same_for_the_same_seed_and_another_for_another():
    values = differences(50)
    assert paired_bootstrap(values) == paired_bootstrap(values, seed=0)
    assert paired_bootstrap(values, seed=1) == paired_bootstrap(values, seed=1)
    assert paired_bootstrap(values, seed=1) != paired_bootstrap(values, seed=0)


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 200), st.integers(0, 99))
def test_an_interval_holds_the_mean(count, seed):
    values = differences(count, seed)
    low, high = paired_bootstrap(values)
    assert low <= values.mean() <= high


def test_an_interval_is_as_wide_as_the_normal_theory_says():
    values = differences(400)
    low, high = paired_bootstrap(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 15)


def test_more_queries_make_a_narrower_interval():
    widths = [high - low for low, high in (paired_bootstrap(differences(count)) for count in (20, 200, 2000))]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize(("value", "count"), [(0.0, 10), (0.25, 10), (0.0, 1), (-0.5, 1)])
def test_equal_differences_have_an_interval_of_no_width(value, count):
    assert paired_bootstrap(np.full(count, value)) == (value, value)


def test_a_constant_moves_the_interval_and_a_sign_mirrors_it():
    values = differences(80)
    low, high = paired_bootstrap(values)
    assert paired_bootstrap(values + 1) == pytest.approx((low + 1, high + 1))
    assert paired_bootstrap(-values) == pytest.approx((-high, -low))


def test_the_test_has_the_interval_of_the_bootstrap():
    values = differences(60)
    found = paired_test(values)
    assert (found.low, found.high) == paired_bootstrap(values)
    assert paired_test(values, seed=1) != found


@pytest.mark.parametrize("count", [1, 2, 50])
def test_identical_systems_have_p_1(count):
    found = paired_test(np.zeros(count))
    assert (found.low, found.high, found.p) == (0, 0, 1)


@pytest.mark.parametrize("shift", [0.02, 0.04, 0.06])
def test_p_is_what_the_normal_theory_says(shift):
    values = np.random.default_rng(5).normal(0, 0.3, 400)
    values += shift - values.mean()
    z = shift / (values.std() / math.sqrt(len(values)))
    assert paired_test(values).p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.1, abs=2e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(0, 99))
def test_p_lies_between_its_least_and_1_and_the_direction_does_not_matter(count, seed):
    values = differences(count, seed)
    p = paired_test(values).p
    assert max(1 / (RESAMPLES + 1), 2.0 ** (1 - count)) <= p <= 1
    assert paired_test(-values).p == p
    assert paired_test(4 * values).p == pytest.approx(p)


@pytest.mark.parametrize(("count", "p"), [(1, 1), (2, 1 / 2), (5, 1 / 16), (40, 1 / (RESAMPLES + 1))])
def test_a_few_queries_that_agree_prove_no_more_than_a_sign_test(count, p):
    assert paired_test(np.full(count, 0.25)).p == p


def test_two_queries_that_cancel_prove_nothing():
    assert paired_test(np.array([0.5, -0.5])).p == 1
