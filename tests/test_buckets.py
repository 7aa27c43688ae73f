"""Buckets: which shapes a graph is run in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smartrt
from smartrt.engines.axes import axes_of
from smartrt.engines.buckets import BucketOptions, Buckets, Range, buckets_of, cut, fill, rounded
from smartrt.errors import EngineError, OptionError
from support import message_of


@pytest.fixture(scope="module")
def tiny(tiny_path):
    return smartrt.Bundle.open(tiny_path).manifest


@pytest.fixture(scope="module")
def page(page_path):
    return smartrt.Bundle.open(page_path).manifest


def test_lengths_double_up_to_the_models_own_limit(tiny):
    assert buckets_of(tiny, "encoder", BucketOptions()).rungs["length"] == (32, 48)
    assert buckets_of(tiny, "encoder", BucketOptions(max_length=33)).rungs["length"] == (32, 33)
    assert buckets_of(tiny, "encoder", BucketOptions(max_length=8)).rungs["length"] == (8,)


@pytest.mark.parametrize(("tokens", "expected"), [
    (128, [{"batch": (2, 4, 4), "length": (32,) * 3}, {"batch": (2, 2, 2), "length": (48,) * 3}]),
    (64, [{"batch": (2, 2, 2), "length": (32,) * 3}]),
    (32, []),
])  # fmt: skip
def test_lengths_share_a_range_for_one_and_have_their_own_for_many(tiny, tokens, expected):
    ranges = buckets_of(tiny, "encoder", BucketOptions(batch_tokens=tokens)).ranges
    assert [entry.axes for entry in ranges] == [{"batch": (1, 1, 1), "length": (32, 48, 48)}, *expected]


@given(tokens=st.integers(1, 8192))
def test_no_corner_of_a_range_is_beyond_the_budget(tiny, tokens):
    for entry in buckets_of(tiny, "encoder", BucketOptions(batch_tokens=tokens)).ranges:
        batch, length = entry.axes["batch"][2], entry.axes["length"][2]
        assert batch == 1 or batch * length <= tokens


@given(tokens=st.integers(1, 4096), length=st.integers(1, 48), data=st.data())
def test_whatever_fits_the_budget_fits_a_bucket(tiny, tokens, length, data):
    buckets = buckets_of(tiny, "encoder", BucketOptions(batch_tokens=tokens))
    padded_length = buckets.round_up("length", length)
    batch = data.draw(st.integers(1, max(1, tokens // padded_length)))
    padded, number = buckets.fit({"batch": batch, "length": length})
    assert padded["length"] == padded_length
    assert batch <= padded["batch"]
    assert buckets.ranges[number].holds(padded)


@pytest.mark.parametrize("graph", ["vision", "decoder"])
def test_every_dynamic_axis_of_a_graph_has_rungs_and_bounds(page, graph):
    buckets = buckets_of(page, graph, BucketOptions())
    inputs = axes_of(page, graph)
    named = {axis for name in page.graphs[graph].inputs for axis in inputs[name] if isinstance(axis, str)}
    assert set(buckets.rungs) == named
    for entry in buckets.ranges:
        assert set(entry.axes) == named
        assert all(least <= best <= most for least, best, most in entry.axes.values())


def test_a_text_is_not_padded_to_the_rows_of_an_image(page):
    buckets = buckets_of(page, "decoder", BucketOptions())
    assert buckets.fit({"batch": 1, "length": 20, "row": 1})[0]["row"] == 1
    assert buckets.fit({"batch": 1, "length": 20, "row": 12})[0]["row"] == 16


def test_the_decoder_takes_whatever_rows_the_vision_graph_gives(page):
    vision, decoder = (buckets_of(page, graph, BucketOptions()) for graph in ("vision", "decoder"))
    most = max(entry.axes["image"][2] * entry.axes["block"][2] for entry in vision.ranges)
    assert decoder.rungs["row"][-1] >= most


def test_what_is_too_large_is_refused_with_what_to_do():
    buckets = Buckets({"batch": (1, 2, 4), "length": (8,)}, (Range({"batch": (1, 1, 2), "length": (8, 8, 8)}),))
    assert buckets.fit({"batch": 2, "length": 3}) == ({"batch": 2, "length": 8}, 0)
    for sizes, mention in (
        ({"batch": 1, "length": 9}, "'length' is 9"),
        ({"batch": 3, "length": 8}, "batch 3, length 8"),
    ):
        with pytest.raises(EngineError) as caught:
            buckets.fit(sizes)
        message_of(caught.value, mention, "batch_tokens")


@pytest.mark.parametrize(
    "options", [{"max_length": 0}, {"max_length": True}, {"batch_tokens": -1}, {"batch_tokens": "9"}]
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError) as caught:
        BucketOptions(**options)
    message_of(caught.value, next(iter(options)))


def test_an_engine_without_buckets_takes_every_length(tiny_path):
    encoder = smartrt.Encoder.open(tiny_path, engine="fake")
    assert rounded(encoder.backbone.engine, "length", 13) == 13


@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 4)), more=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_what_was_filled_in_is_cut_out_again_and_the_rest_is_zero(shape, more):
    values = np.arange(1, 1 + shape[0] * shape[1]).reshape(shape)
    target = np.full((shape[0] + more[0], shape[1] + more[1]), 99)
    fill(target, values)
    np.testing.assert_array_equal(cut(target, shape), values)
    assert target.sum() == values.sum()
