"""Fewer and shorter token vectors: pooling by Ward's method, and projections."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates, maxsim
from smartrt.compression.apply import compress
from smartrt.compression.projection import fit_projection, project
from smartrt.compression.ward import pool_tokens
from smartrt.errors import MissingDependencyError, OptionError
from support import embeddings, message_of, unit_rows


def states(lengths, *, seed=0, dim=8, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return TokenStates.from_arrays([unit_rows(rng, length, dim).astype(dtype) for length in lengths], dim)


def are_unit(values, tolerance=1e-6):
    np.testing.assert_allclose(np.linalg.norm(values.astype(float), axis=1), 1, rtol=0, atol=tolerance)


# Pooling.


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 40), max_size=5), factor=st.integers(1, 50), seed=st.integers(0, 99))
def test_pooling_leaves_a_vector_of_length_1_for_so_many_tokens(lengths, factor, seed):
    pooled = pool_tokens(states(lengths, seed=seed), factor)
    assert pooled.lengths.tolist() == [-(-length // factor) for length in lengths]
    assert pooled.values.dtype == np.float32
    assert pooled.dim == 8
    are_unit(pooled.values)


def test_pooling_by_1_changes_nothing():
    tokens = states([3, 1, 7])
    np.testing.assert_array_equal(pool_tokens(tokens, 1).values, tokens.values)


@pytest.mark.parametrize("factor", [2, 100])
def test_a_document_of_one_token_keeps_it(factor):
    tokens = states([1, 1])
    np.testing.assert_array_equal(pool_tokens(tokens, factor).values, tokens.values)


def test_a_factor_beyond_the_tokens_leaves_their_normalised_mean():
    tokens = states([5])
    mean = tokens.values.astype(float).mean(axis=0)
    np.testing.assert_allclose(pool_tokens(tokens, 9).values, [mean / np.linalg.norm(mean)], atol=1e-7)


@pytest.mark.parametrize("factor", [2, 3, 20])
def test_equal_tokens_become_one(factor):
    token = states([1]).values
    pooled = pool_tokens(TokenStates.from_arrays([np.repeat(token, 12, axis=0)]), factor)
    assert 1 <= len(pooled.values) <= -(-12 // factor)
    np.testing.assert_allclose(pooled.values, np.repeat(token, len(pooled.values), axis=0), atol=1e-7)


def test_tokens_that_say_the_same_are_the_ones_that_are_pooled_in_the_order_of_their_firsts():
    """Four directions, three near copies of each: the groups are known, and so is their order."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(16, 16)))[0][:4]
    which = [2, 0, 2, 3, 1, 0, 3, 3, 1, 2, 1, 0]
    rows = directions[which] + 0.01 * rng.normal(size=(12, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    pooled = pool_tokens(TokenStates.from_arrays([rows]), 3).values
    for row, direction in zip(pooled, (2, 0, 3, 1), strict=True):
        mean = rows[np.array(which) == direction].astype(float).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def merged_by_definition(rows, wanted):
    """Ward's method as it is written down: join the two groups whose sum of squares grows least."""
    groups = [[i] for i in range(len(rows))]

    def growth(pair):
        left, right = (groups[i] for i in pair)
        apart = rows[left].mean(axis=0) - rows[right].mean(axis=0)
        return len(left) * len(right) / (len(left) + len(right)) * (apart @ apart)

    while len(groups) > wanted:
        left, right = min(itertools.combinations(range(len(groups)), 2), key=growth)
        groups[left] += groups.pop(right)
    return sorted((sorted(group) for group in groups), key=lambda group: group[0])


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("length", [7, 15, 24])
def test_groups_are_those_of_wards_method(length, factor):
    tokens = states([length], seed=length)
    wide = tokens.values.astype(float)
    sums = [wide[group].sum(axis=0) for group in merged_by_definition(wide, -(-length // factor))]
    wanted = [total / np.linalg.norm(total) for total in sums]
    np.testing.assert_allclose(pool_tokens(tokens, factor).values, wanted, atol=1e-6)


def test_documents_are_pooled_each_by_itself():
    tokens = states([9, 1, 14, 5])
    pooled = pool_tokens(tokens, 3)
    for i, rows in enumerate(tokens):
        np.testing.assert_array_equal(pooled[i], pool_tokens(TokenStates.from_arrays([rows]), 3).values)


def test_halves_are_pooled_to_float32():
    pooled = pool_tokens(states([9, 2, 1], dtype=np.float16), 2)
    assert pooled.values.dtype == np.float32
    are_unit(pooled.values, 1e-3)  # the document of one token keeps the length it has


def test_opposite_tokens_still_leave_a_vector_of_length_1():
    token = states([1]).values
    are_unit(pool_tokens(TokenStates.from_arrays([np.concatenate([token, -token])]), 2).values)


@pytest.mark.parametrize("module", ["scipy", "scipy.cluster.hierarchy"])
def test_without_scipy_the_error_says_how_to_get_it(module, monkeypatch):
    for loaded in [name for name in sys.modules if name.startswith("scipy.cluster")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        pool_tokens(states([3]), 2)
    message_of(caught.value, "scipy", "pip install 'smartrt[pool]'")


# Projections.


@settings(max_examples=40)
@given(method=st.sampled_from(["pca", "orthogonal"]), dim=st.integers(1, 16), seed=st.integers(0, 99))
def test_a_projection_has_orthonormal_columns(method, dim, seed):
    matrix = fit_projection(states([20, 9], seed=seed, dim=16), method, dim)
    assert (matrix.shape, matrix.dtype) == ((16, dim), np.float32)
    assert matrix.flags.c_contiguous
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(dim), atol=1e-6)


@pytest.mark.parametrize("method", ["pca", "orthogonal"])
def test_a_projection_to_all_dimensions_changes_no_score(method):
    queries, documents = states([5, 2]), states([9, 30], seed=1)
    matrix = fit_projection(documents, method, 8)
    got = maxsim(project(queries, matrix), project(documents, matrix))
    np.testing.assert_allclose(got, maxsim(queries, documents), atol=5e-6)


def test_pca_finds_the_subspace_in_which_the_vectors_lie():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(32, 5)))[0]
    rows = unit_rows(rng, 200, 5).astype(float) @ plane.T
    tokens = TokenStates.from_arrays([(rows + 1e-4 * rng.normal(size=rows.shape)).astype(np.float32)])
    matrix = fit_projection(tokens, "pca", 5)
    np.testing.assert_allclose(matrix @ matrix.T, plane @ plane.T, atol=1e-3)
    kept = project(tokens, matrix).values
    np.testing.assert_allclose(kept @ kept.T, rows @ rows.T, atol=2e-3)


@settings(max_examples=30)
@given(dim=st.integers(1, 15), seed=st.integers(0, 99))
def test_pca_keeps_as_much_as_the_largest_singular_values_and_does_not_centre(dim, seed):
    rng = np.random.default_rng(seed)
    rows = (unit_rows(rng, 60, 16) + 0.4).astype(np.float32) * rng.uniform(0.1, 2, 16).astype(np.float32)
    matrix = fit_projection(TokenStates(rows, np.array([0, 60])), "pca", dim).astype(float)
    largest = np.linalg.svd(rows.astype(float), compute_uv=False)[:dim]
    np.testing.assert_allclose(np.sum((rows @ matrix) ** 2), np.sum(largest**2), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows @ matrix, axis=0), largest, rtol=1e-4)  # largest first


def test_orthogonal_needs_no_data_and_is_always_the_same():
    first, again = (
        fit_projection(states(lengths, seed=seed), "orthogonal", 3) for lengths, seed in (([], 0), ([9], 1))
    )
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("given", [[], [1], [2, 2]])
def test_too_few_tokens_for_a_pca_are_refused_with_both_numbers(given):
    with pytest.raises(OptionError) as caught:
        fit_projection(states(given), "pca", 5)
    message_of(caught.value, f"{sum(given)} token vectors", "at least 5", "orthogonal")
    assert fit_projection(states([5]), "pca", 5).shape == (8, 5)


def test_pca_looks_at_tokens_from_the_first_to_the_last(monkeypatch):
    """A sample, evenly spread: the second half lies in other dimensions, and they are found."""
    monkeypatch.setattr(sys.modules["smartrt.compression.projection"], "_SAMPLE", 10)
    rows = np.zeros((95, 8), np.float32)
    rows[:48, 2], rows[48:, 5] = 1, 1
    matrix = fit_projection(TokenStates(rows, np.array([0, 95])), "pca", 2)
    np.testing.assert_allclose(np.abs(matrix).max(axis=1)[[2, 5]], 1, atol=1e-6)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 9), max_size=4), dtype=st.sampled_from([np.float32, np.float16]))
def test_projected_tokens_have_length_1_and_stay_with_their_items(lengths, dtype):
    tokens = states(lengths, dtype=dtype)
    shorter = project(tokens, fit_projection(tokens, "orthogonal", 3))
    assert shorter.offsets.tolist() == tokens.offsets.tolist()
    assert (shorter.dim, shorter.values.dtype) == (3, np.float32)
    are_unit(shorter.values)


def test_what_lies_outside_the_projection_becomes_zero_and_nothing_worse():
    rows = np.eye(4, dtype=np.float32)[[0, 3]]
    shorter = project(TokenStates(rows, np.array([0, 2])), np.eye(4, 2, dtype=np.float32))
    np.testing.assert_array_equal(shorter.values, [[1, 0], [0, 0]])


# Both.


def test_tokens_are_pooled_first_and_projected_then():
    tokens = embeddings([9, 20]).tokens
    pooled = pool_tokens(tokens, 2)
    matrix = fit_projection(pooled, "pca", 4)
    got, fitted = compress(tokens, 2, "pca", 4)
    np.testing.assert_array_equal(fitted, matrix)
    np.testing.assert_array_equal(got.values, project(pooled, matrix).values)
    later, same = compress(embeddings([3], seed=1).tokens, 2, "pca", 4, matrix)
    assert same is matrix
    assert later.lengths.tolist() == [2]


def test_nothing_is_done_unless_it_is_asked_for():
    tokens = embeddings([9, 20]).tokens
    assert compress(tokens, 1, None, None) == (tokens, None)
