"""Stored numbers back to float32, to the bit; and ragged arrays cut into groups and runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.scoring.ragged import GROUP, grouped_rows, spans
from smartrt.scoring.upcast import upcast

# Back to float32.


@pytest.mark.parametrize("layout", ["contiguous", "strided out", "transposed out"])
def test_every_finite_half_comes_back_to_the_bit(layout):
    halves = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    frame = np.full((halves.shape[1], 2, 2), 7, np.float32)
    out = {
        "contiguous": np.empty(halves.shape, np.float32),
        "strided out": np.full((2, halves.shape[1], 3), 7, np.float32)[:, :, 1],
        "transposed out": frame[:, :, 0].T,
    }[layout]
    upcast(halves, out)
    np.testing.assert_array_equal(out.view(np.int32), halves.astype(np.float32).view(np.int32))
    assert (frame[:, :, 1] == 7).all()
    assert out.base is None or layout != "strided out" or (out.base[:, :, [0, 2]] == 7).all()


@pytest.mark.parametrize("dtype", ["<i2", "|i1"])
def test_integers_come_back_as_they_are(dtype):
    limits = np.iinfo(dtype)
    codes = np.arange(limits.min, limits.max + 1, dtype=dtype).reshape(4, -1)
    out = np.empty((codes.shape[1], 4), np.float32).T
    upcast(codes, out)
    np.testing.assert_array_equal(out, codes.astype(np.float32))


@pytest.mark.parametrize("dtype", ["<f2", "<i2", "|i1", "<f4"])
def test_what_is_read_may_be_strided_too(dtype):
    codes = np.arange(48).reshape(2, 8, 3).astype(dtype)
    slots, out = codes.transpose(1, 0, 2), np.empty((8, 2, 3), np.float32)
    upcast(slots, out)
    np.testing.assert_array_equal(out, slots.astype(np.float32))


# Ragged arrays.


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 40), max_size=12))
def test_groups_hold_every_row_in_order_and_then_the_first_one_again(lengths):
    offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
    rows, starts = grouped_rows(offsets)
    assert rows.shape == (starts[-1], GROUP)
    assert len(starts) == len(lengths) + 1
    for item, length in enumerate(lengths):
        own = rows[starts[item] : starts[item + 1]].ravel().tolist()
        first = int(offsets[item])
        assert own == [*range(first, first + length), *[first] * (len(own) - length)]
        assert len(own) - length < GROUP


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(0, 12), max_size=20), budget=st.integers(1, 20))
def test_runs_cover_all_items_fit_the_budget_and_are_no_shorter_than_they_must(lengths, budget):
    offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
    runs = list(spans(offsets, budget))
    assert [item for first, last in runs for item in range(first, last)] == list(range(len(lengths)))
    for first, last in runs:
        assert last == first + 1 or offsets[last] - offsets[first] <= budget
        assert last == len(lengths) or offsets[last + 1] - offsets[first] > budget
