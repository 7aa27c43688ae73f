"""TokenStates and Embeddings: what goes in comes out, and nothing that does not fit gets in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import Embeddings, TokenStates
from smartrt.errors import InputError
from support import embeddings, message_of

F32, F16, I64 = np.float32, np.float16, np.int64


@st.composite
def ragged(draw: st.DrawFn, dim: int = 3) -> list[np.ndarray]:
    """A list of ``[tokens, dim]`` arrays of one dtype, empty ones among them."""
    dtype = draw(st.sampled_from([F32, F16]))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return [rng.normal(size=(length, dim)).astype(dtype) for length in lengths]


@settings(deadline=None, max_examples=60)
@given(arrays=ragged())
def test_from_arrays_gives_every_array_back(arrays):
    states = TokenStates.from_arrays(arrays)
    assert len(states) == len(arrays)
    assert states.dim == 3
    assert states.lengths.tolist() == [len(array) for array in arrays]
    for i, (array, item) in enumerate(zip(arrays, states, strict=True)):
        np.testing.assert_array_equal(item, array, strict=True)
        np.testing.assert_array_equal(states[i - len(arrays)], array, strict=True)


@settings(deadline=None, max_examples=60)
@given(arrays=ragged(), cut=st.integers(0, 6))
def test_concatenate_joins_what_was_cut(arrays, cut):
    parts = [TokenStates.from_arrays(part, 3) for part in (arrays[:cut], arrays[cut:]) if part]
    joined, whole = TokenStates.concatenate(parts), TokenStates.from_arrays(arrays)
    np.testing.assert_array_equal(joined.values, whole.values, strict=True)
    np.testing.assert_array_equal(joined.offsets, whole.offsets, strict=True)


@settings(deadline=None, max_examples=60)
@given(arrays=ragged(), data=st.data())
def test_take_chooses_items_in_the_order_asked(arrays, data):
    chosen = data.draw(st.lists(st.integers(-len(arrays), len(arrays) - 1), min_size=1))
    taken = TokenStates.from_arrays(arrays).take(chosen)
    assert len(taken) == len(chosen)
    for i, item in zip(chosen, taken, strict=True):
        np.testing.assert_array_equal(item, arrays[i], strict=True)


@pytest.mark.parametrize("dtype", [F32, F16], ids=["float32", "float16"])
def test_take_of_nothing_keeps_dim_and_dtype(dtype):
    taken = TokenStates.from_arrays([np.ones((2, 5), dtype)]).take([])
    assert (len(taken), taken.dim, taken.values.dtype) == (0, 5, dtype)


def test_an_item_is_a_view_and_a_take_is_a_copy():
    states = TokenStates.from_arrays([np.zeros((2, 3), F32), np.zeros((1, 3), F32)])
    assert np.shares_memory(states[1], states.values)
    assert not np.shares_memory(states.take([0, 1]).values, states.values)


@pytest.mark.parametrize("index", [2, -3], ids=["past the end", "before the start"])
def test_an_item_that_is_not_there_is_an_index_error(index):
    states = TokenStates.from_arrays([np.zeros((2, 3), F32), np.zeros((1, 3), F32)])
    with pytest.raises(IndexError):
        states[index]


def test_no_arrays_need_a_dim():
    assert TokenStates.from_arrays([], 7).values.shape == (0, 7)
    with pytest.raises(InputError, match="pass dim"):
        TokenStates.from_arrays([])


def test_arrays_of_different_dims_are_refused():
    with pytest.raises(InputError):
        TokenStates.from_arrays([np.zeros((2, 3), F32), np.zeros((1, 4), F32)])


def test_states_of_different_dims_are_not_joined():
    parts = [TokenStates.from_arrays([np.zeros((2, dim), F32)]) for dim in (3, 4)]
    with pytest.raises(InputError):
        TokenStates.concatenate(parts)


@pytest.mark.parametrize("kind", [TokenStates, Embeddings])
def test_joining_no_parts_is_refused_in_words(kind):
    with pytest.raises(InputError):
        kind.concatenate([])


@pytest.mark.parametrize("items", [np.array([True, False]), [0.5]], ids=["a mask", "a float"])
def test_take_refuses_what_is_not_a_position(items):
    with pytest.raises(InputError):
        embeddings([2, 1]).take(items)


@pytest.mark.parametrize(
    ("values", "offsets", "mentions"),
    [
        pytest.param(np.zeros(3, F32), np.array([0, 3]), "[3] float32", id="one axis"),
        pytest.param(np.zeros((3, 1, 2), F32), np.array([0, 3]), "[3, 1, 2] float32", id="three axes"),
        pytest.param(np.zeros((3, 2), np.float64), np.array([0, 3]), "float64", id="float64"),
        pytest.param(np.zeros((3, 2), np.int8), np.array([0, 3]), "int8", id="int8"),
        pytest.param(np.zeros((3, 2), F32), np.array([0, 3], np.int32), "int32", id="int32 offsets"),
        pytest.param(np.zeros((3, 2), F32), np.array([0.0, 3.0]), "float64", id="float offsets"),
        pytest.param(np.zeros((3, 2), F32), np.array([[0, 3]]), "[1, 2] int64", id="offsets with two axes"),
        pytest.param(np.zeros((0, 2), F32), np.array([], I64), "[0] int64", id="no offsets"),
        pytest.param(np.zeros((3, 2), F32), np.array([1, 3]), "1 to 3", id="first offset not 0"),
        pytest.param(np.zeros((3, 2), F32), np.array([0, 2]), "0 to 2", id="rows left over"),
        pytest.param(np.zeros((3, 2), F32), np.array([0, 4]), "0 to 4", id="rows missing"),
        pytest.param(np.zeros((3, 2), F32), np.array([0, 3, 1, 3]), "rise", id="falling offsets"),
        pytest.param(np.zeros((3, 2), F32), np.array([0, -1, 3]), "rise", id="a negative offset"),
    ],
)
def test_token_states_that_do_not_fit_are_refused(values, offsets, mentions):
    with pytest.raises(InputError) as caught:
        TokenStates(values, offsets)
    message_of(caught.value, mentions)


@pytest.mark.parametrize(
    ("pooled", "truncated"),
    [
        pytest.param(np.zeros(2, F32), np.zeros(2, I64), id="pooled with one axis"),
        pytest.param(np.zeros((2, 3), F16), np.zeros(2, I64), id="float16 pooled"),
        pytest.param(np.zeros((2, 3)), np.zeros(2, I64), id="float64 pooled"),
        pytest.param(np.zeros((1, 3), F32), np.zeros(2, I64), id="too few pooled"),
        pytest.param(np.zeros((2, 3), F32), np.zeros(3, I64), id="too many truncated"),
        pytest.param(np.zeros((2, 3), F32), np.zeros((2, 1), I64), id="truncated with two axes"),
        pytest.param(np.zeros((2, 3), F32), np.zeros(2, F32), id="float truncated"),
    ],
)
def test_embeddings_that_disagree_are_refused(pooled, truncated):
    tokens = TokenStates.from_arrays([np.zeros((2, 3), F32), np.zeros((1, 3), F32)])
    with pytest.raises(InputError) as caught:
        Embeddings(pooled, tokens, truncated)
    message_of(caught.value)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=6), data=st.data())
def test_embeddings_survive_cutting_and_joining(lengths, data):
    whole = embeddings(lengths)
    cut = data.draw(st.integers(0, len(lengths)))
    halves = whole.take(range(cut)), whole.take(range(cut, len(lengths)))
    joined = Embeddings.concatenate(halves)
    assert len(halves[0]) == cut
    np.testing.assert_array_equal(joined.pooled, whole.pooled, strict=True)
    np.testing.assert_array_equal(joined.tokens.values, whole.tokens.values, strict=True)
    np.testing.assert_array_equal(joined.tokens.offsets, whole.tokens.offsets, strict=True)
    np.testing.assert_array_equal(joined.truncated, whole.truncated, strict=True)


def test_embeddings_take_keeps_the_parts_of_an_item_together():
    whole = embeddings([2, 1, 3])
    whole.truncated[:] = [7, 8, 9]
    taken = whole.take([2, 0])
    np.testing.assert_array_equal(taken.pooled, whole.pooled[[2, 0]])
    np.testing.assert_array_equal(taken.tokens[0], whole.tokens[2])
    assert taken.truncated.tolist() == [9, 7]
