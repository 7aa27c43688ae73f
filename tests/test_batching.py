"""Cutting texts into padded engine calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.batching import pad, plan_batches

lengths_of_items = st.lists(st.integers(1, 50), max_size=40)


@settings(deadline=None, max_examples=100)
@given(lengths=lengths_of_items, budget=st.integers(1, 200))
def test_every_item_is_in_exactly_one_batch(lengths, budget):
    planned = [int(i) for batch in plan_batches(lengths, budget) for i in batch]
    assert sorted(planned) == list(range(len(lengths)))


@settings(deadline=None, max_examples=100)
@given(lengths=lengths_of_items, budget=st.integers(1, 200))
def test_a_padded_batch_fits_the_budget_or_is_one_item(lengths, budget):
    for batch in plan_batches(lengths, budget):
        longest = max(lengths[i] for i in batch)
        assert len(batch) * longest <= budget or len(batch) == 1


@settings(deadline=None, max_examples=100)
@given(lengths=lengths_of_items, budget=st.integers(1, 200))
def test_the_longest_items_come_first_and_equals_keep_their_order(lengths, budget):
    planned = [int(i) for batch in plan_batches(lengths, budget) for i in batch]
    assert planned == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def test_a_batch_is_as_full_as_the_budget_allows():
    assert [batch.tolist() for batch in plan_batches([2, 2, 2, 2, 5], 6)] == [[4], [0, 1, 2], [3]]


@pytest.mark.parametrize(
    ("side", "ids", "mask"),
    [
        ("right", [[5, 6, 7], [8, 9, 9]], [[1, 1, 1], [1, 0, 0]]),
        ("left", [[5, 6, 7], [9, 9, 8]], [[1, 1, 1], [0, 0, 1]]),
    ],
)
def test_padding_goes_to_its_side_and_is_masked(side, ids, mask):
    padded, attention = pad([np.array([5, 6, 7]), np.array([8])], 9, side)
    assert padded.tolist() == ids
    assert attention.tolist() == mask
    assert padded.dtype == attention.dtype == np.int64


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), side=st.sampled_from(["left", "right"]))
def test_the_mask_gives_every_row_back(lengths, side):
    rows = [np.arange(length, dtype=np.int64) for length in lengths]
    padded, attention = pad(rows, 0, side)  # the pad id is also a real id: only the mask tells them apart
    for row, ids, mask in zip(rows, padded, attention, strict=True):
        np.testing.assert_array_equal(ids[mask == 1], row)
