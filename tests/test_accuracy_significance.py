"""Holm's correction: against cases by hand, against what a correction must be, and that luck is not called a find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.benchmarks.accuracy.significance import ALPHA, holm
from smartrt.errors import InputError
from smartrt.evaluation import metrics
from smartrt.evaluation.metrics import paired_test
from support import message_of

CASES = {
    "none": ([], []),
    "one": ([0.03], [0.03]),
    "two": ([0.04, 0.01], [0.04, 0.02]),
    "in any order": ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    "a later one may not be smaller": ([0.02, 0.021, 0.5], [0.06, 0.06, 0.5]),
    "never above 1": ([0.9, 0.4, 0.6], [1, 1, 1]),
    "equal ones": ([0.01, 0.01], [0.02, 0.02]),
}
P_VALUES = st.lists(st.floats(0, 1), max_size=30)


@pytest.mark.parametrize(("given", "wanted"), CASES.values(), ids=CASES)
def test_adjusted_values_are_those_computed_by_hand(given, wanted):
    assert holm(given) == pytest.approx(wanted)


@given(P_VALUES)
def test_adjusting_lowers_nothing_exceeds_nothing_and_keeps_the_order(values):
    adjusted = holm(values)
    assert all(p <= after <= 1 for p, after in zip(values, adjusted, strict=True))
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            assert one > other or adjusted[i] <= adjusted[j]


@given(P_VALUES.flatmap(lambda values: st.tuples(st.just(values), st.permutations(range(len(values))))))
def test_the_order_of_the_comparisons_changes_nothing(case):
    values, order = case
    adjusted = holm(values)
    assert holm([values[i] for i in order]) == [adjusted[i] for i in order]


@given(P_VALUES, st.floats(0, 1))
def test_one_more_comparison_makes_no_other_more_significant(values, another):
    more = holm([*values, another])[:-1]
    assert all(after >= before for before, after in zip(holm(values), more, strict=True))


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(InputError) as caught:
        holm([0.5, value])
    message_of(caught.value, repr(value))


CHANGES = np.array([-1, -0.37, -0.1, 0, 0, 0, 0, 0, 0.1, 0.37, 1.0])  # nDCG: most queries tie, the mean is 0


def family(seed, shift=0.0, size=10, queries=120):
    """The adjusted p-values of ten systems against one baseline; all but the first differ from it by luck alone."""
    generator = np.random.default_rng(seed)
    differences = generator.choice(CHANGES, (size, queries))
    differences[0] += shift
    return holm([paired_test(row).p for row in differences])


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 1000)


@pytest.mark.usefixtures("few_resamples")
def test_luck_alone_is_called_significant_in_about_one_run_of_twenty():
    single = np.mean([family(seed, size=1)[0] < ALPHA for seed in range(400)])
    assert 0.02 < single < 0.08  # 0.05, give or take three standard errors
    runs = np.mean([min(family(seed)) < ALPHA for seed in range(100)])
    assert runs < 0.12  # and not 1 - 0.95 ** 10 = 0.40, as without the correction


@pytest.mark.usefixtures("few_resamples")
def test_a_real_difference_is_found_among_nine_that_are_luck():
    found = np.mean([family(seed, shift=0.2)[0] < ALPHA for seed in range(30)])
    assert found > 0.9
