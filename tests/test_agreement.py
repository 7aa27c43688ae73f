"""Agreement of two encoders without judgements, against the definitions written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from smartrt import Embeddings, TokenStates, Weights, score
from smartrt.errors import InputError
from smartrt.evaluation import quality
from smartrt.evaluation.quality import Agreement, agreement, cosines
from support import embeddings, message_of, unit_rows


def scoring(scores):
    """Queries and documents of which the pooled cosines are ``[n, m]`` `scores`, each at most 1 by n."""
    scores = np.asarray(scores, np.float64)
    count, total = scores.shape
    filler = np.sqrt(1 - (scores**2).sum(axis=0))  # makes the documents' length 1
    documents = np.vstack([scores, filler]).T.astype(np.float32)
    return of_pooled(np.eye(count, count + 1, dtype=np.float32)), of_pooled(documents.reshape(total, count + 1))


def of_pooled(rows):
    tokens = TokenStates(rows.copy(), np.arange(len(rows) + 1))
    return Embeddings(rows, tokens, np.zeros(len(rows), np.int64))


POOLED = Weights(1, 0)


def agreed(one, other):
    return agreement(scoring(one), scoring(other), POOLED)


def random_pair(seed, queries=5, documents=17, dim=8):
    return embeddings([3] * queries, seed=seed, dim=dim), embeddings([4] * documents, seed=seed + 100, dim=dim)


def direct(reference, found, weights):
    """The three figures as they are defined, a pair at a time."""
    one, other = (score(*pair, pooled=weights.pooled, late=weights.late).astype(float) for pair in (reference, found))
    shift = other - one
    shift -= shift.mean(axis=1, keepdims=True)
    first, same, ordered = 0, 0, 0
    for a, b in zip(one.round(5).tolist(), other.round(5).tolist(), strict=True):
        first += a[b.index(max(b))] == max(a)
        for i, j in itertools.combinations(range(len(a)), 2):
            ordered += a[i] != a[j]
            same += (a[i] - a[j]) * (b[i] - b[j]) > 0
    return Agreement(first / len(one), same / ordered, float(np.sqrt((shift**2).mean())))


@pytest.mark.parametrize("weights", [Weights(), POOLED, Weights(0, 1), Weights(0.3, 2)])
@pytest.mark.parametrize("cells", [1, 40, 1 << 24])
def test_the_figures_are_those_of_the_definition_however_it_is_cut(monkeypatch, weights, cells):
    monkeypatch.setattr(quality, "_CELLS", cells)
    reference, found = random_pair(1), random_pair(2)
    got, wanted = agreement(reference, found, weights), direct(reference, found, weights)
    assert (got.first, got.pairs) == (wanted.first, wanted.pairs)
    assert got.score_error == pytest.approx(wanted.score_error, rel=1e-6)
    assert 0 < got.pairs < 1


def test_whoever_is_compared_with_itself_agrees():
    pair = random_pair(3)
    assert agreement(pair, pair, Weights()) == Agreement(1.0, 1.0, 0.0)


def test_the_other_may_have_other_dims():
    assert 0 < agreement(random_pair(1), random_pair(2, dim=6), Weights()).pairs < 1


def test_the_hybrid_is_compared_with_its_weights():
    reference, other = random_pair(1), random_pair(2)
    found = tuple(Embeddings(a.pooled, b.tokens, a.truncated) for a, b in zip(reference, other, strict=True))
    assert agreement(reference, found, POOLED) == Agreement(1.0, 1.0, 0.0)
    assert agreement(reference, found, Weights(0, 1)).pairs < 1


def test_the_opposite_order_agrees_in_nothing():
    assert agreed([[0.1, 0.2, 0.3]], [[0.3, 0.2, 0.1]]) == Agreement(0.0, 0.0, pytest.approx(0.2 * np.sqrt(2 / 3)))


CASES = {  # reference, found -> first, pairs
    "one swap of three": ([[0.1, 0.2, 0.3]], [[0.2, 0.1, 0.3]], 1.0, 2 / 3),
    "another best": ([[0.1, 0.2, 0.3]], [[0.1, 0.3, 0.2]], 0.0, 2 / 3),
    "one of two queries": ([[0.1, 0.2], [0.1, 0.2]], [[0.1, 0.2], [0.2, 0.1]], 0.5, 0.5),
    "a tie for the best, the other found": ([[0.1, 0.3, 0.3]], [[0.1, 0.2, 0.3]], 1.0, 1.0),
    "a tie for the best, neither found": ([[0.1, 0.3, 0.3]], [[0.4, 0.2, 0.3]], 0.0, 0.0),
    "a tie found that was none": ([[0.1, 0.2, 0.3]], [[0.1, 0.3, 0.3]], 0.0, 2 / 3),
    "a tie found, the first of it the best": ([[0.3, 0.2, 0.1]], [[0.3, 0.3, 0.1]], 1.0, 2 / 3),
    "all tied in the reference": ([[0.2, 0.2, 0.2]], [[0.1, 0.2, 0.3]], 1.0, 1.0),
    "all tied in the other": ([[0.1, 0.2, 0.3]], [[0.2, 0.2, 0.2]], 0.0, 0.0),
    "one document": ([[0.2]], [[-0.5]], 1.0, 1.0),
    "a difference in the seventh digit is a tie": ([[0.2, 0.2000002]], [[0.3, 0.1]], 1.0, 1.0),
    "a difference in the fourth digit is none": ([[0.2, 0.2003]], [[0.3, 0.1]], 0.0, 0.0),
}


@pytest.mark.parametrize(("one", "other", "first", "pairs"), CASES.values(), ids=CASES)
def test_ties_and_orders(one, other, first, pairs):
    got = agreed(one, other)
    assert (got.first, got.pairs) == (first, pytest.approx(pairs))


def test_what_moves_all_documents_of_a_query_alike_is_no_error():
    one = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
    assert agreed(one, one + np.array([[0.1], [-0.2]])).score_error == pytest.approx(0, abs=1e-6)
    assert agreed(one, one + np.array([[0.03, 0, 0], [0, 0, 0]])).score_error == pytest.approx(
        np.sqrt((0.02**2 + 2 * 0.01**2) / 6), abs=1e-6
    )


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_shares_are_shares_and_the_error_is_the_same_both_ways(seed, queries, documents):
    one, other = random_pair(seed, queries, documents), random_pair(seed + 1, queries, documents)
    there, back = agreement(one, other, Weights()), agreement(other, one, Weights())
    assert 0 <= there.first <= 1
    assert 0 <= there.pairs <= 1
    assert there.score_error == pytest.approx(back.score_error)
    assert there.score_error >= 0


EMPTY = embeddings([], dim=8)
WRONG = {
    "other queries": random_pair(1, queries=4),
    "other documents": random_pair(1, documents=16),
    "no documents": (random_pair(1)[0], EMPTY),
    "no queries": (EMPTY, random_pair(1)[1]),
}


@pytest.mark.parametrize("found", WRONG.values(), ids=WRONG)
def test_other_numbers_are_refused(found):
    with pytest.raises(InputError) as caught:
        agreement(random_pair(1), found, Weights())
    message_of(caught.value, "5 queries and 17 documents", f"{len(found[0])} and {len(found[1])}")


def test_nothing_at_all_is_refused():
    for pair in (WRONG["no documents"], WRONG["no queries"]):
        with pytest.raises(InputError):
            agreement(pair, pair, Weights())


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("where", ["pooled", "tokens"])
@pytest.mark.parametrize("weights", [Weights(), POOLED, Weights(0, 1)])
def test_nan_is_refused_whatever_counts(side, which, where, weights):
    pairs = random_pair(1), random_pair(2)
    broken = pairs[which][side]
    (broken.pooled if where == "pooled" else broken.tokens.values)[0, 0] = np.nan
    with pytest.raises(InputError) as caught:
        agreement(*pairs, weights)
    message_of(caught.value, "NaN or infinity")


def test_cosines_are_those_computed_directly(rng):
    one, other = unit_rows(rng, 500, 16), unit_rows(rng, 500, 16) * np.float32(7)
    wanted = [float(a.astype(float) @ b / np.linalg.norm(a.astype(float)) / np.linalg.norm(b.astype(float)))
              for a, b in zip(one, other, strict=True)]  # fmt: skip
    got = cosines(one, other)
    assert got.mean == pytest.approx(np.mean(wanted), abs=1e-12)
    assert got.percentile_1 == pytest.approx(np.percentile(wanted, 1), abs=1e-12)
    assert got.min == pytest.approx(min(wanted), abs=1e-12)
    assert got.min < got.percentile_1 < got.mean


def test_cosines_do_not_depend_on_the_blocks(monkeypatch, rng):
    one, other = unit_rows(rng, 50, 16), unit_rows(rng, 50, 16)
    whole = cosines(one, other)
    monkeypatch.setattr(quality, "_CELLS", 1)
    assert cosines(one, other) == whole


CELLS = {
    "the same": ([[3, 4]], [[3, 4]], 1.0),
    "of another length": ([[3, 4]], [[0.3, 0.4]], 1.0),
    "opposite": ([[3, 4]], [[-3, -4]], -1.0),
    "orthogonal": ([[3, 4]], [[4, -3]], 0.0),
    "both zero": ([[0, 0]], [[0, 0]], 1.0),
    "one zero": ([[0, 0]], [[3, 4]], 0.0),
    "the other zero": ([[3, 4]], [[0, 0]], 0.0),
    "tiny": ([[1e-30, 0]], [[1e-30, 0]], 1.0),
    "huge": ([[1e30, 0]], [[1e30, 1e30]], 2**-0.5),
}


@pytest.mark.parametrize(("one", "other", "value"), CELLS.values(), ids=CELLS)
def test_a_cosine_of_one_row(one, other, value):
    got = cosines(np.array(one, np.float32), np.array(other, np.float32))
    assert (got.mean, got.percentile_1, got.min) == pytest.approx((value,) * 3, abs=1e-7)


def test_half_precision_is_compared_in_double_precision():
    rows = np.full((1, 4096), 60, np.float16)  # their squares add up to more than float16 holds
    assert cosines(rows, rows).min == pytest.approx(1, abs=1e-12)


ROWS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-4, 4, width=32))


@given(ROWS, st.floats(0.125, 8))
def test_cosines_lie_in_order_and_forget_lengths(rows, factor):
    got = cosines(rows, rows[:, ::-1])
    assert -1 <= got.min <= got.percentile_1 + 1e-12
    assert got.min <= got.mean + 1e-12 <= 1 + 2e-12
    wide = rows.astype(np.float64)
    assert cosines(wide, wide * factor).min == pytest.approx(1, abs=1e-9)
    assert -1 <= cosines(wide, -wide * factor).min <= cosines(wide, wide * factor).mean <= 1


BAD = {
    "other rows": (np.ones((2, 3)), np.ones((3, 3)), "[2, 3] and [3, 3]"),
    "other dims": (np.ones((2, 3)), np.ones((2, 4)), "[2, 3] and [2, 4]"),
    "one row without a list": (np.ones(3), np.ones(3), "[3] and [3]"),
    "nothing": (np.ones((0, 3)), np.ones((0, 3)), "not empty"),
    "no dims": (np.ones((3, 0)), np.ones((3, 0)), "not empty"),
    "NaN": (np.ones((2, 3)), np.array([[1, 1, 1], [1, np.nan, 1]]), "row 1"),
    "infinity": (np.array([[1, np.inf, 1], [1, 1, 1]]), np.ones((2, 3)), "row 0"),
    "infinity against zeros": (np.array([[np.inf, 1.0]]), np.zeros((1, 2)), "row 0"),
    "NaN against zeros": (np.array([[np.nan, 1.0]]), np.zeros((1, 2)), "row 0"),
}


@pytest.mark.parametrize(("one", "other", "mention"), BAD.values(), ids=BAD)
def test_vectors_that_do_not_compare_are_refused(one, other, mention):
    for pair in ((one, other), (other, one)):
        with pytest.raises(InputError) as caught:
            cosines(*pair)
        message_of(caught.value, *([mention] if pair[0] is one else []))
