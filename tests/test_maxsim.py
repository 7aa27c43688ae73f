"""MaxSim against the definition, written as loops in float64."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates, maxsim
from smartrt.errors import InputError
from smartrt.maxsim import maxsim_exact
from support import message_of, unit_rows

TOLERANCE = 2e-6
"""What the docstring of `maxsim` promises."""


def by_definition(queries: TokenStates, documents: TokenStates) -> np.ndarray:
    """``(1 / |q|) sum_i max_j <q_i, d_j>``, one product at a time."""
    scores = np.zeros((len(queries), len(documents)))
    for n, query in enumerate(queries):
        for m, document in enumerate(documents):
            products = [[np.dot(q, d) for d in document.astype(float)] for q in query.astype(float)]
            scores[n, m] = sum(max(row) for row in products) / len(products)
    return scores


def states(lengths: list[int], *, seed: int = 0, dim: int = 8, dtype: type = np.float32) -> TokenStates:
    rng = np.random.default_rng(seed)
    return TokenStates.from_arrays([unit_rows(rng, length, dim).astype(dtype) for length in lengths], dim)


def set_tiles(monkeypatch: pytest.MonkeyPatch, rows: int, columns: int) -> None:
    """Cut documents and queries into tiles of so many tokens (`smartrt.maxsim` is the function, not the module)."""
    module = sys.modules["smartrt.maxsim"]
    monkeypatch.setattr(module, "_TILE_ROWS", rows)
    monkeypatch.setattr(module, "_TILE_COLUMNS", columns)


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    query=lengths,
    document=lengths,
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 1000),
)
def test_scores_are_the_definition_whatever_the_tiles(query, document, rows, columns, dtype, seed):
    queries = states(query, seed=seed)
    documents = states(document, seed=seed + 1, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        set_tiles(patch, rows, columns)
        scores = maxsim(queries, documents)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_definition(queries, documents), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [3, 4, 5], ids=["tile one short", "tile fits", "tile one over"])
def test_items_that_end_at_a_tile_boundary_are_whole(size, monkeypatch):
    set_tiles(monkeypatch, size, size)
    queries, documents = states([2, 2, 4, 1, 3]), states([4, 4, 1, 3, 5, 2, 2], seed=1)
    np.testing.assert_allclose(maxsim(queries, documents), by_definition(queries, documents), rtol=0, atol=TOLERANCE)


def test_items_larger_than_the_tiles_as_shipped_keep_the_promise():
    queries, documents = states([1100, 3, 700]), states([5000, 1, 2], seed=1)
    wanted = [[maxsim_exact(query, document) for document in documents] for query in queries]
    np.testing.assert_allclose(maxsim(queries, documents), wanted, rtol=0, atol=TOLERANCE)


def test_the_mean_of_thousands_of_nearly_equal_matches_does_not_drift():
    token, other = unit_rows(np.random.default_rng(0), 2, 8)
    queries = TokenStates.from_arrays([np.repeat(token[None], 8000, axis=0)])
    documents = TokenStates.from_arrays([other[None]])
    exact = float(token.astype(float) @ other.astype(float))
    np.testing.assert_allclose(maxsim(queries, documents), [[exact]], rtol=0, atol=TOLERANCE)


def test_an_item_scores_1_with_itself():
    items = states([3, 1, 5])
    np.testing.assert_allclose(np.diag(maxsim(items, items)), 1.0, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("queries", "documents"), [([], [2, 1]), ([2, 1], []), ([], [])], ids=["no query", "no document", "neither"]
)
def test_no_items_give_an_empty_matrix(queries, documents):
    scores = maxsim(states(queries), states(documents))
    assert scores.shape == (len(queries), len(documents))
    assert scores.dtype == np.float32


def test_different_dims_are_refused_with_both_numbers():
    with pytest.raises(InputError) as caught:
        maxsim(states([1], dim=8), states([1], dim=6))
    message_of(caught.value, "8", "6")


@pytest.mark.parametrize(
    ("queries", "documents", "named"),
    [([1, 0], [1], "query 1"), ([1], [2, 1, 0], "document 2"), ([1], [0, 0], "document 0")],
)
def test_an_item_without_a_token_is_refused_by_name(queries, documents, named):
    with pytest.raises(InputError) as caught:
        maxsim(states(queries), states(documents))
    message_of(caught.value, named)


def test_exact_scores_are_the_definition_in_float64():
    queries, documents = states([5]), states([9], seed=1)
    assert maxsim_exact(queries[0], documents[0]) == pytest.approx(by_definition(queries, documents)[0, 0], abs=1e-14)


@settings(deadline=None, max_examples=40)
@given(query=st.integers(1, 40), document=st.integers(1, 60), before=st.integers(0, 9), seed=st.integers(0, 1000))
def test_exact_scores_of_equal_inputs_are_equal_to_the_last_bit(query, document, before, seed):
    rng = np.random.default_rng(seed)
    left, right = unit_rows(rng, query, 32), unit_rows(rng, document, 32)
    elsewhere = TokenStates.from_arrays([unit_rows(rng, before, 32), right])  # other neighbours, other alignment
    assert maxsim_exact(left, right) == maxsim_exact(left.copy(), elsewhere[1])
