"""MaxSim against the definition, written as loops in float64."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates, maxsim
from smartrt.errors import InputError, OptionError
from smartrt.maxsim import maxsim_exact
from smartrt.scoring import kernel
from smartrt.scoring.exact import exact_late
from smartrt.scoring.products import Way
from smartrt.scoring.shapes import Shape
from smartrt.scoring.storage import store
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


def set_tiles(monkeypatch: pytest.MonkeyPatch, groups: int, columns: int) -> None:
    """Cut documents into tiles of so many groups of 8 tokens, and queries into blocks of so many tokens."""

    def shape(width: int, *_: int) -> Shape:
        return Shape(Way(), groups, groups, min(columns, width))

    monkeypatch.setattr(kernel, "shape_for", shape)
    monkeypatch.setattr(kernel, "_COLUMNS", columns)


lengths = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    query=lengths,
    document=lengths,
    groups=st.integers(1, 5),
    columns=st.integers(1, 20),
    threads=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 1000),
)
def test_scores_are_the_definition_whatever_the_tiles(query, document, groups, columns, threads, dtype, seed):
    queries = states(query, seed=seed)
    documents = states(document, seed=seed + 1, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        set_tiles(patch, groups, columns)
        scores = maxsim(queries, documents, threads=threads)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_definition(queries, documents), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [3, 4, 5], ids=["tile one short", "tile fits", "tile one over"])
def test_items_that_end_at_a_tile_boundary_are_whole(size, monkeypatch):
    set_tiles(monkeypatch, size, size)
    queries, documents = states([2, 2, 4, 1, 3]), states([32, 32, 7, 8, 40, 9, 16], seed=1)
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


@pytest.mark.parametrize("threads", [0, 257, 1.0, True, "all"], ids=repr)
def test_threads_that_are_no_count_are_refused_with_their_value(threads):
    with pytest.raises(OptionError) as caught:
        maxsim(states([1]), states([1]), threads=threads)
    message_of(caught.value, "threads", repr(threads))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["query", "document"])
def test_vectors_that_are_not_finite_are_refused(side, value):
    pair = {"query": states([2, 3]), "document": states([4], seed=1)}
    pair[side].values[1, 2] = value
    with pytest.raises(InputError) as caught:
        maxsim(*pair.values())
    message_of(caught.value, side, "NaN")


def test_exact_scores_of_stored_rows_are_those_of_what_they_stand_for():
    stored = store(states([9], seed=1), "int16")
    query = states([5])[0]
    wanted = (query.astype(float) @ stored.exact(0).T).max(axis=1).mean()
    assert exact_late(query, stored.codes.reshape(-1, 8), stored.scale) == pytest.approx(wanted, abs=1e-14)


def test_exact_scores_of_many_equal_tokens_take_little_memory():
    """An empty page against another: 700 patches each, all alike."""
    query, document = (np.repeat(unit_rows(np.random.default_rng(0), 1, 64), 700, axis=0) for _ in range(2))
    tracemalloc.start()
    try:
        maxsim_exact(query, document)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
