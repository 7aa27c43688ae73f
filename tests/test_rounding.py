"""Weights to integers: every code and scale in its bounds, and rounding that compensates its own errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.export.precision.rounding import Codes, limit_of, round_weight

BITS = st.sampled_from([8, 4])
SEEDS = st.integers(0, 2**32 - 1)


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def correlated(channels: int, rows: int, seed: int) -> torch.Tensor:
    """Rows whose channels depend on each other and have very different sizes."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(channels, channels)) * np.geomspace(1, 0.02, channels)
    return torch.from_numpy((rng.normal(size=(rows, channels)) @ mixing).astype(np.float32))


def widened(codes: Codes) -> torch.Tensor:
    blocks, columns = codes.scales.shape
    spread = codes.scales.repeat_interleave(len(codes.values) // blocks, dim=0)
    assert spread.shape == (len(codes.values), columns)
    return codes.values * spread


def check_bounds(codes: Codes, weight: torch.Tensor, bits: int, block: int) -> None:
    assert codes.values.dtype == torch.int8
    assert codes.values.shape == weight.shape
    assert codes.scales.dtype == torch.float32
    assert codes.scales.shape == (len(weight) // (block or len(weight)), weight.shape[1])
    assert int(codes.values.abs().max()) <= limit_of(bits)
    assert bool((codes.scales > 0).all())
    assert bool(codes.scales.isfinite().all())


def output_error(states: torch.Tensor, weight: torch.Tensor, codes: Codes) -> float:
    wide = states.double() @ weight.double()
    return float((states.double() @ widened(codes).double() - wide).square().sum() / wide.square().sum())


def test_the_largest_code_has_no_partner_below_minus_itself():
    assert (limit_of(8), limit_of(4)) == (127, 7)


@settings(max_examples=60)
@given(SEEDS, BITS, st.sampled_from([0, 16, 32]), st.integers(1, 3), st.integers(1, 9), st.floats(-30, 15))
def test_codes_and_scales_stay_in_their_bounds(seed, bits, block, blocks, columns, magnitude):
    weight = normal(((block or 7) * blocks, columns), seed) * 10.0**magnitude
    check_bounds(round_weight(weight, bits, block), weight, bits, block)


@settings(max_examples=60)
@given(SEEDS, st.sampled_from([0, 16]), st.integers(1, 9), st.floats(-30, 15))
def test_eight_bits_to_the_nearest_are_off_by_half_a_step_at_most(seed, block, columns, magnitude):
    weight = normal((48, columns), seed) * 10.0**magnitude
    codes = round_weight(weight, 8, block)
    steps = codes.scales.repeat_interleave(48 // len(codes.scales), dim=0).double()
    assert bool(((weight.double() - codes.values * steps).abs() <= steps * 0.50001).all())
    largest = weight.reshape(len(codes.scales), -1, columns).abs().amax(dim=1)
    torch.testing.assert_close(codes.scales * 127, largest)  # nothing is clipped, no code is wasted


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("moments", [False, True])
def test_zero_blocks_and_columns_become_zeros(bits, moments):
    weight = normal((32, 5), 1)
    weight[:16] = 0
    weight[:, 3] = 0
    states = correlated(32, 64, 2)
    codes = round_weight(weight, bits, 16, states.T @ states if moments else None)
    check_bounds(codes, weight, bits, 16)
    assert not codes.values[:, 3].any()
    if not moments:
        assert not codes.values[:16].any()
    nothing = round_weight(torch.zeros(32, 5), bits, 16, states.T @ states if moments else None)
    assert (int(nothing.values.abs().max()), nothing.error) == (0, 0.0)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("magnitude", [1e-45, 1e-40, 1e-38, 1e-30, 1e17])
def test_tiny_and_huge_weights_have_codes_and_a_finite_error(bits, magnitude):
    weight = (normal((32, 4), 3) * magnitude).float()
    codes = round_weight(weight, bits, 16)
    check_bounds(codes, weight, bits, 16)
    assert np.isfinite(codes.error)
    assert bool(((weight.double() - widened(codes).double()).abs() <= codes.scales.amax().double() * 2).all())


def test_one_outlier_clips_in_four_bits_where_that_serves_the_others():
    weight = normal((128, 1), 4) * 0.1
    weight[5] = 1.0
    assert float(round_weight(weight, 8, 0).scales) == pytest.approx(1 / 127)
    assert float(round_weight(weight, 4, 0).scales) < 1 / 7


def test_a_scale_per_block_rounds_better_than_one_for_all():
    weight = normal((128, 6), 5) * torch.from_numpy(np.repeat(np.float32([0.01, 1, 0.1, 10]), 32))[:, None]
    blocked, whole = round_weight(weight, 4, 32), round_weight(weight, 4, 0)
    assert (blocked.scales.shape, whole.scales.shape) == ((4, 6), (1, 6))
    assert blocked.error < whole.error
    for number in range(4):  # a block is rounded as if it were alone
        alone = round_weight(weight[32 * number : 32 * (number + 1)], 4, 0)
        assert torch.equal(alone.values, blocked.values[32 * number : 32 * (number + 1)])
        assert torch.equal(alone.scales[0], blocked.scales[number])


def test_the_error_of_nearest_rounding_is_the_share_of_the_weights_energy():
    weight = normal((64, 9), 6)
    codes = round_weight(weight, 4, 16)
    difference = weight - widened(codes)
    assert codes.error == pytest.approx(float(difference.square().sum() / weight.square().sum()), rel=1e-5)
    assert 1e-3 < codes.error < 0.02


@settings(max_examples=25)
@given(SEEDS, BITS, st.sampled_from([0, 16, 32]), st.sampled_from([32, 64, 160]))
def test_compensated_rounding_changes_the_output_less_than_nearest(seed, bits, block, channels):
    weight = normal((channels, 24), seed)
    states = correlated(channels, 4 * channels, seed + 1)
    moments = states.T @ states
    nearest, compensated = round_weight(weight, bits, block), round_weight(weight, bits, block, moments)
    check_bounds(compensated, weight, bits, block)
    error = output_error(states, weight, compensated)
    assert error < output_error(states, weight, nearest)
    assert compensated.error == pytest.approx(error, rel=0.02)


def test_compensated_rounding_saves_most_of_the_error_of_strongly_correlated_rows():
    weight = normal((256, 32), 7)  # more channels than are held back at a time
    base = normal((600, 8), 8) @ normal((8, 256), 9)
    states = base + 0.1 * normal((600, 256), 10)
    nearest, compensated = round_weight(weight, 4, 32), round_weight(weight, 4, 32, states.T @ states)
    assert output_error(states, weight, compensated) < 0.25 * output_error(states, weight, nearest)


def test_uncorrelated_channels_leave_nothing_to_compensate():
    weight = normal((32, 8), 11)
    plain, moved = round_weight(weight, 8, 0), round_weight(weight, 8, 0, torch.eye(32) * 7)
    assert torch.equal(plain.values, moved.values)
    assert moved.error == pytest.approx(plain.error, rel=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["zero", "one row", "dead channels", "tiny", "huge", "slightly negative"])
def test_moments_that_have_no_inverse_do_not_fail(bits, kind):
    weight, states = normal((48, 5), 12), normal((100, 48), 13)
    if kind == "zero":
        states = torch.zeros(3, 48)
    elif kind == "one row":
        states = states[:1]
    elif kind == "dead channels":
        states[:, 10:30] = 0
    moments = states.T @ states
    if kind == "tiny":
        moments = moments * 1e-30
    elif kind == "huge":
        moments = moments * 1e30
    elif kind == "slightly negative":  # as rounding leaves them
        moments -= torch.eye(48) * float(moments.diagonal().mean()) * 0.9
    codes = round_weight(weight, bits, 16, moments)
    check_bounds(codes, weight, bits, 16)
    assert np.isfinite(codes.error)
    if kind != "slightly negative":
        assert 0 <= codes.error < 0.02
    assert float((weight - widened(codes)).square().sum() / weight.square().sum()) < 0.2  # it is still this weight


def test_dead_channels_are_rounded_to_the_nearest():
    weight, states = normal((32, 6), 14), normal((100, 32), 15)
    states[:, :16] = 0
    codes = round_weight(weight, 8, 16, states.T @ states)
    assert torch.equal(codes.values[:16], round_weight(weight[:16], 8, 0).values)


@settings(max_examples=15)
@given(SEEDS, BITS, st.booleans())
def test_rounding_is_repeatable_and_changes_nothing_it_was_given(seed, bits, compensated):
    weight, states = normal((64, 7), seed), correlated(64, 80, seed + 1)
    moments = states.T @ states if compensated else None
    before = weight.clone(), None if moments is None else moments.clone()
    first, second = (round_weight(weight, bits, 32, moments) for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.scales, second.scales)
    assert first.error == second.error
    assert torch.equal(weight, before[0])
    assert moments is None or torch.equal(moments, before[1])


def test_a_column_does_not_depend_on_the_others():
    weight, states = normal((64, 12), 16), correlated(64, 200, 17)
    moments = states.T @ states
    together, apart = round_weight(weight, 4, 16, moments), round_weight(weight[:, 3:4].contiguous(), 4, 16, moments)
    same = (together.values[:, 3:4] == apart.values).float().mean()
    assert same > 0.97  # sums of floats in another order may tip a few codes
    torch.testing.assert_close(together.scales[:, 3:4], apart.scales)
