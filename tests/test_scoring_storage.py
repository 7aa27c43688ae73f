"""Token vectors as they are stored: the padding, the numbers, and the bounds on their error."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates
from smartrt.errors import InputError, OptionError
from smartrt.scoring import storage as storage_module
from smartrt.scoring.storage import DTYPES, HEADROOM, LARGEST, fitting_scale, store
from support import message_of, unit_rows

STORAGES = st.sampled_from(list(DTYPES))
INTEGERS = list(LARGEST)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
SPREAD = st.sampled_from([0.0, 1.0, 4.0])
"""Powers of ten that the dimensions of a vector are apart."""


def states(lengths, *, seed=0, dim=8, size=1.0, spread=0.0, dtype=np.float32):
    """Items of rows that are `size` long or so, their dimensions up to `spread` powers of ten apart."""
    rng = np.random.default_rng(seed)
    stretch = size * 10 ** rng.uniform(-spread, spread, dim)
    arrays = [(unit_rows(rng, length, dim) * stretch).astype(dtype) for length in lengths]
    return TokenStates.from_arrays(arrays, dim)


def is_tight_bound(bounds, values):
    """Never below the float64 value, and above it by no more than two steps of float32."""
    assert bounds.dtype == np.float32
    assert (bounds.astype(np.float64) >= values).all()
    assert (bounds.astype(np.float64) <= values * (1 + 2.0**-22) + 1e-44).all()


# Padding.


@settings(max_examples=40)
@given(lengths=LENGTHS, storage=STORAGES, dim=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_document_is_padded_to_groups_of_8_by_its_first_row(lengths, storage, dim, seed):
    tokens = states(lengths, seed=seed, dim=dim)
    stored = store(tokens, storage)
    groups = [-(-length // 8) for length in lengths]
    assert stored.codes.shape == (sum(groups), 8, dim)
    assert stored.codes.dtype == np.dtype(DTYPES[storage])
    assert stored.starts.dtype == np.int64
    assert stored.starts.tolist() == [0, *itertools.accumulate(groups)]
    assert (len(stored), stored.dim, stored.storage) == (len(lengths), dim, storage)
    for document, length in enumerate(lengths):
        rows = stored.exact(document)
        assert rows.dtype == np.float64
        assert len(rows) == groups[document] * 8
        assert (rows[length:] == rows[0]).all()


@pytest.mark.parametrize("storage", DTYPES)
def test_no_documents_are_stored_as_nothing(storage):
    stored = store(states([], dim=5), storage)
    assert (len(stored), stored.dim, stored.codes.shape) == (0, 5, (0, 8, 5))
    assert stored.errors.shape == (0,)


@pytest.mark.parametrize(("lengths", "named"), [([2, 0, 1], 1), ([0], 0), ([1, 3, 0, 0], 2)])
def test_a_document_without_a_token_is_refused_by_name(lengths, named):
    with pytest.raises(InputError) as caught:
        store(states(lengths), "int16")
    message_of(caught.value, f"document {named}", "no token vector")


@pytest.mark.parametrize("storage", ["int4", "", "INT8", None])
def test_a_storage_that_does_not_exist_is_refused_with_those_that_do(storage):
    with pytest.raises(OptionError) as caught:
        store(states([1]), storage)
    message_of(caught.value, repr(storage), *DTYPES)


# Numbers.


@settings(max_examples=60)
@given(
    lengths=LENGTHS,
    storage=STORAGES,
    spread=SPREAD,
    size=st.sampled_from([1e-3, 1.0, 3.0]),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 999),
)
def test_errors_bound_the_distance_to_what_was_given_and_are_tight(lengths, storage, spread, size, dtype, seed):
    with np.errstate(under="ignore"):
        tokens = states(lengths, seed=seed, dim=13, size=size, spread=spread, dtype=dtype)
        stored = store(tokens, storage)
    distances = [
        np.linalg.norm(rows.astype(np.float64) - stored.exact(i)[: len(rows)], axis=1).max()
        for i, rows in enumerate(tokens)
    ]
    is_tight_bound(stored.errors, np.array(distances))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_float_storages_keep_what_they_can_hold(dtype):
    tokens = states([3, 9], dtype=dtype)
    for storage in ("float32", np.dtype(dtype).name):
        stored = store(tokens, storage)
        np.testing.assert_array_equal(stored.exact(1)[:9], tokens[1].astype(np.float64))
        assert stored.scale is None
        assert stored.rough is None
        assert (stored.errors <= 1e-44).all()


@settings(max_examples=60)
@given(
    lengths=LENGTHS,
    storage=st.sampled_from(INTEGERS),
    spread=SPREAD,
    exponent=st.integers(-20, 20),
    seed=st.integers(0, 999),
)
def test_a_scale_clips_nothing_and_is_no_larger_than_it_must(lengths, storage, spread, exponent, seed):
    tokens = states(lengths, seed=seed, size=10.0**exponent, spread=spread)
    stored = store(tokens, storage)
    assert stored.scale.dtype == np.float32
    assert (np.abs(stored.codes.astype(int)).max(axis=(0, 1)) == LARGEST[storage]).all()
    for i, rows in enumerate(tokens):
        apart = np.abs(rows.astype(np.float64) - stored.exact(i)[: len(rows)])
        assert (apart <= 0.502 * stored.scale.astype(np.float64)).all()  # half a step, and float32's division


@settings(max_examples=60)
@given(storage=st.sampled_from(INTEGERS), spread=SPREAD, exponent=st.integers(-9, 9), seed=st.integers(0, 999))
def test_the_rough_form_is_as_near_and_as_long_as_is_said(storage, spread, exponent, seed):
    stored = store(states([1, 8, 30], seed=seed, dim=11, size=10.0**exponent, spread=spread), storage)
    unit = stored.scale.astype(np.float64) * {"int8": 1, "int16": 256}[storage]
    distances, lengths = [], []
    for i in range(3):
        codes = stored.codes[stored.starts[i] : stored.starts[i + 1]].reshape(-1, 11).astype(np.float64)
        rough = codes if storage == "int8" else np.floor(codes / 256) + 0.5
        distances.append(np.linalg.norm(stored.exact(i) - rough * unit, axis=1).max())
        lengths.append(np.linalg.norm(rough, axis=1).max())
    is_tight_bound(stored.rough.distance, np.array(distances))
    is_tight_bound(stored.rough.length, np.array(lengths))


@pytest.mark.parametrize("storage", DTYPES)
def test_a_dimension_that_is_always_zero_stays_zero(storage):
    tokens = states([3, 10])
    values = tokens.values.copy()
    values[:, [0, 5]] = 0
    stored = store(TokenStates(values, tokens.offsets), storage)
    assert (stored.codes[:, :, [0, 5]] == 0).all()
    assert np.isfinite(stored.exact(0)).all()
    if stored.scale is not None:
        assert (stored.scale > 0).all()


def test_documents_of_zeros_only_are_stored_as_zeros():
    stored = store(TokenStates(np.zeros((9, 4), np.float32), np.array([0, 9])), "int8")
    assert (stored.exact(0) == 0).all()
    assert stored.errors[0] <= 1e-44


@pytest.mark.parametrize("storage", INTEGERS)
def test_a_scale_that_fits_is_used_as_it_is(storage):
    first, later = states([5, 2], seed=1), states([9], seed=1, size=0.5)
    scale = store(first, storage).scale
    kept = scale.copy()
    again = store(later, storage, scale)
    np.testing.assert_array_equal(again.scale, kept)
    np.testing.assert_array_equal(store(first, storage, scale).codes, store(first, storage).codes)
    exact = np.rint(later[0] / kept)
    np.testing.assert_array_equal(again.codes.reshape(-1, 8)[:9], exact)


@pytest.mark.parametrize("storage", INTEGERS)
def test_a_scale_still_fits_a_number_that_is_just_its_largest(storage):
    scale = np.full(4, np.float32(0.001))
    largest = scale * np.float32(LARGEST[storage])
    stored = store(TokenStates(np.stack([largest, -largest]), np.array([0, 2])), storage, scale)
    np.testing.assert_array_equal(stored.scale, scale)
    assert np.unique(stored.codes).tolist() == [-LARGEST[storage], LARGEST[storage]]
    beyond = np.nextafter(largest, np.float32(np.inf))
    assert (fitting_scale(TokenStates(beyond[None], np.array([0, 1])), storage, scale) > scale).all()


@pytest.mark.parametrize("storage", INTEGERS)
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e6, 1e20])
def test_a_scale_fits_what_it_was_made_for(storage, size):
    for seed in range(20):
        tokens = states([5], seed=seed, size=size)
        scale = fitting_scale(tokens, storage)
        assert fitting_scale(tokens, storage, scale) is scale


@pytest.mark.parametrize("storage", INTEGERS)
def test_an_outgrown_scale_gets_headroom_in_every_dimension(storage):
    tokens, scale = states([9]), store(states([9]), storage).scale
    values = tokens.values.copy()
    values[:, 3] *= 2
    fresh = fitting_scale(TokenStates(values, tokens.offsets), storage, scale)
    np.testing.assert_allclose(fresh, HEADROOM * scale * np.where(np.arange(8) == 3, 2, 1), rtol=1e-6)
    assert fresh.dtype == np.float32
    values[:, 3] /= 4
    quieter = TokenStates(values / 8, tokens.offsets)
    assert fitting_scale(quieter, storage, fresh) is fresh


@settings(max_examples=40)
@given(storage=st.sampled_from(INTEGERS), sizes=st.lists(st.integers(-4, 4), min_size=2, max_size=5))
def test_a_scale_never_shrinks(storage, sizes):
    scale = None
    for seed, size in enumerate(sizes):
        fresh = fitting_scale(states([4], seed=seed, size=10.0**size, spread=1), storage, scale)
        assert scale is None or (fresh >= scale).all()
        scale = fresh


@pytest.mark.parametrize("storage", DTYPES)
def test_the_batches_in_which_documents_are_converted_change_nothing(storage, monkeypatch):
    tokens = states([40, 1, 9, 8, 3, 30], spread=1)
    whole = store(tokens, storage)
    monkeypatch.setattr(storage_module, "_BATCH", 2)
    cut = store(tokens, storage)
    np.testing.assert_array_equal(cut.codes, whole.codes)
    np.testing.assert_array_equal(cut.errors, whole.errors)
    if whole.rough is not None:
        np.testing.assert_array_equal(cut.rough.distance, whole.rough.distance)
        np.testing.assert_array_equal(cut.rough.length, whole.rough.length)


def test_a_number_that_float16_cannot_hold_is_refused():
    with pytest.raises(InputError):
        store(TokenStates(np.full((1, 4), 1e5, np.float32), np.array([0, 1])), "float16")
