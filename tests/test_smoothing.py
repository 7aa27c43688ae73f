"""Outlying channels of activations moved into the weights: the product is the same, the int8 error smaller."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.export.precision.smoothing import choose
from smartrt.models.statistics import InputStatistics

KINDS = ("dynamic", "static")


def normal(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def measured(states, items=16):
    """Statistics of rows that came as several items."""
    first, *others = states.chunk(items)
    found = InputStatistics.of(first[None], moments=False)
    for item in others:
        found = found.with_item(item[None])
    return found


def outlying(seed, channels=64, rows=256, size=60.0):
    states = normal((rows, channels), seed)
    states[:, [3, channels // 2]] *= size
    return states


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(KINDS), st.floats(1, 300), st.integers(1, 3))
def test_the_product_is_the_same_and_the_factors_are_balanced(seed, kind, size, count):
    states = outlying(seed, size=size)
    weights = [normal((64, 16), seed + i + 1) for i in range(count)]
    found = choose(measured(states), weights, kind)
    assert found.factors.shape == (64,)
    assert bool((found.factors > 0).all())
    assert float(found.factors.log().mean().exp()) == pytest.approx(1, rel=1e-3)
    for weight in weights:
        truth = states.double() @ weight.double()
        moved = (states / found.factors).double() @ (weight * found.factors[:, None]).double()
        torch.testing.assert_close(moved, truth, rtol=1e-4, atol=1e-4 * float(truth.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_outlying_channel_costs_less_with_smoothing(kind):
    states = outlying(1)
    weights = [normal((64, 32), 2) * torch.linspace(0.5, 2, 64)[:, None]]
    smooth = choose(measured(states), weights, kind)
    rough = choose(measured(states), weights, kind, smooth=False)
    assert rough.factors is None
    assert smooth.error < 0.5 * rough.error
    assert smooth.factors[3] > 3 * smooth.factors.median()  # what is divided down is the outlier


def test_a_scale_per_row_costs_less_than_one_for_all():
    states = normal((256, 64), 3) * torch.logspace(-1, 1, 256)[:, None]
    weights = [normal((64, 32), 4)]
    assert choose(measured(states), weights, "dynamic").error < choose(measured(states), weights, "static").error


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_that_of_int8_codes_on_the_sampled_rows(kind):
    states, weight = normal((64, 32), 5), normal((32, 16), 6)
    found = choose(measured(states), [weight], kind, smooth=False)
    sample = measured(states).sample
    scale = sample.abs().amax(dim=1, keepdim=True) / 127 if kind == "dynamic" else torch.tensor(found.largest / 127)
    rounded = (sample / scale).round().clamp(-127, 127) * scale
    steps = weight.abs().amax(dim=0) / 127
    difference = rounded @ ((weight / steps).round() * steps) - sample @ weight
    expected = float(difference.square().sum() / (sample @ weight).square().sum())
    assert found.error == pytest.approx(expected, rel=1e-3)
    assert 0 < found.error < 0.01


def test_a_static_scale_clips_an_outlying_row_and_never_more_than_there_is():
    states = normal((256, 64), 7)
    calm = choose(measured(states), [normal((64, 16), 8)], "static", smooth=False)
    assert 0 < calm.largest <= float(states.abs().max()) * 1.0001
    states[0] *= 40  # first rows are sampled
    wild = choose(measured(states), [normal((64, 16), 8)], "static", smooth=False)
    assert 0 < wild.largest < 0.7 * float(states.abs().max())


def test_a_dynamic_scale_never_clips():
    states = outlying(9)
    found = choose(measured(states), [normal((64, 16), 10)], "dynamic")
    assert found.largest == pytest.approx(float((measured(states).largest / found.factors).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_channels_that_calibration_never_saw_are_not_scaled_beyond_measure(kind):
    states, weight = normal((128, 64), 11), normal((64, 16), 12)
    states[:, 5], weight[7] = 0, 0
    found = choose(measured(states), [weight], kind)
    assert bool(found.factors.isfinite().all())
    assert float(found.factors.max() / found.factors.min()) <= 1e6
    assert found.factors.min() >= 0.999e-3
    assert np.isfinite(found.error)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_that_are_all_zero_cost_nothing(kind):
    found = choose(measured(torch.zeros(64, 32)), [normal((32, 8), 13)], kind)
    assert found.error == 0
    assert bool(found.factors.isfinite().all())


def test_it_is_repeatable_and_changes_nothing_it_was_given():
    found, weight = measured(outlying(14)), normal((64, 16), 15)
    before = found.sample.clone(), found.largest.clone(), weight.clone()
    first, second = (choose(found, [weight], "static") for _ in range(2))
    assert torch.equal(first.factors, second.factors)
    assert (first.largest, first.error) == (second.largest, second.error)
    assert all(torch.equal(*pair) for pair in zip(before, (found.sample, found.largest, weight), strict=True))


def test_statistics_are_those_of_all_rows():
    states = normal((3, 40, 8), 16)
    found = InputStatistics.of(states[0], moments=True)
    for item in states[1:]:
        found = found.with_item(item[None])
    rows = states.flatten(0, 1)
    assert found.rows == 120
    assert torch.equal(found.largest, rows.abs().amax(dim=0))
    torch.testing.assert_close(found.moments, rows.T @ rows)
    assert found.sample.shape == (12, 8)
    assert torch.equal(found.sample[0], states[0, 0])
    assert torch.equal(found.sample[3], states[0, -1])
    both = InputStatistics.of(states[0], moments=True) + InputStatistics.of(states[1:], moments=True)
    torch.testing.assert_close(both.moments, rows.T @ rows)
    assert InputStatistics.of(states[0, :2], moments=False).sample.shape == (2, 8)
