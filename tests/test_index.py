"""Searching an index: the true best documents of what is stored, whichever way they are kept and looked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from indexes import NOTHING, STORAGES, assert_true_top, by_definition, fill, top_ids
from smartrt import Bundle, Embeddings, Hit, Index, IndexOptions, TokenStates
from smartrt.errors import InputError, OptionError
from smartrt.ranking import hash_tie
from support import embeddings, message_of

# What quantising unit vectors of 32 dimensions may change of a score.
CLOSE = {"int16": 3e-5, "int8": 1e-2, "float16": 5e-4, "float32": 5e-6}


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture
def index(bundle, tmp_path):
    """An empty index."""
    return Index.create(tmp_path / "docs.index", bundle)


@pytest.fixture
def filled(index):
    return fill(index)


@pytest.fixture(params=STORAGES)
def stored(request, bundle, tmp_path):
    """An empty index of every storage."""
    return Index.create(tmp_path / f"{request.param}.index", bundle, IndexOptions(request.param))


@settings(deadline=None, max_examples=40)
@given(
    segments=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=4),
    weights=st.sampled_from([(1, 1), (1, 0), (0, 1), (0.3, 2.5), (-1, 1)]),
    storage=st.sampled_from(STORAGES),
    seed=st.integers(0, 1000),
    k=st.integers(1, 25),
)
def test_a_search_finds_what_sorting_every_score_finds(bundle, segments, weights, storage, seed, k):
    with tempfile.TemporaryDirectory() as directory:
        index = Index.create(Path(directory) / "docs.index", bundle, IndexOptions(storage))
        for i, lengths in enumerate(segments):
            index.add([f"{i}.{row}" for row in range(len(lengths))], embeddings(lengths, seed=seed + i))
        opened, queries = Index.open(index.path), embeddings([3, 1], seed=seed + 99)
        assert_true_top(opened, queries, k, weights)
        assert top_ids(opened, queries, k) == top_ids(index, queries, k)


@pytest.mark.parametrize("weights", [{}, {"pooled": 0.0}, {"late": 0.0}, {"pooled": 2.0, "late": -0.5}], ids=str)
def test_a_hit_carries_both_terms_before_weighting(stored, weights):
    queries = embeddings([3], seed=9)
    hits = {hit.id: hit for hit in fill(stored).search(queries, k=5, **weights)[0]}
    documents = Embeddings.concatenate([embeddings([2, 3, 1], seed=1), embeddings([4, 2], seed=2)])
    terms = {"pooled": {"pooled": 1, "late": 0}, "late": {"pooled": 0, "late": 1}, "score": weights}
    for name, asked in terms.items():
        wanted = smartrt.score(queries, documents, **asked)[0]
        close = CLOSE["float32" if name == "pooled" else stored.manifest.options.storage]
        np.testing.assert_allclose([getattr(hits[i], name) for i in "abcde"], wanted, rtol=0, atol=close)


def test_a_hit_carries_id_and_metadata(filled):
    (hit,) = filled.search(embeddings([2, 3, 1], seed=1).take([1]), k=1)[0]
    assert isinstance(hit, Hit)
    assert (hit.id, hit.meta) == ("b", {"n": 1})
    assert hit.score == pytest.approx(2.0, abs=CLOSE["int16"])
    assert hit.score == hit.pooled + hit.late
    assert [hit.meta for hit in filled.search(embeddings([4, 2], seed=2), k=1)[0]] == [None]


def test_equal_documents_keep_the_order_of_insertion_across_segments(stored):
    same, others = embeddings([3], seed=5), embeddings([2, 7, 1], seed=6)
    both = Embeddings.concatenate([others, same])  # in one batch: later ones keep its scale, and their codes are equal
    stored.add(["other 1", "other 2", "other 3", "same 1", "same 2"], both.take([0, 1, 2, 3, 3]))
    stored.add(["same 3"], same)
    stored.add(["other 4", "same 4"], both.take([1, 3]))
    for queries in (same, embeddings([4], seed=7)):
        for weights in ({}, {"pooled": 0}, {"late": 0}, {"fusion": "zscore"}, {"candidates": "all"}):
            hits = stored.search(queries, k=8, **weights)[0]
            ranked = [hit for hit in hits if hit.id.startswith("same")]
            assert [hit.id for hit in ranked] == ["same 1", "same 2", "same 3", "same 4"]
            assert len({hit.score for hit in ranked}) == 1


def test_pooled_vectors_of_any_length_are_ranked_by_cosine(index):
    documents, queries = embeddings([1, 1, 1], seed=1), embeddings([1], seed=2)
    longer = Embeddings(documents.pooled * np.float32([[9], [0.1], [3]]), documents.tokens, documents.truncated)
    index.add(["a", "b", "c"], longer)
    raw = Embeddings(queries.pooled * np.float32(5), queries.tokens, queries.truncated)
    scores = [hit.score for hit in index.search(raw, k=3, late=0)[0]]
    wanted = np.sort(smartrt.score(queries, documents, late=0)[0])[::-1]
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3", None], ids=str)
def test_a_k_that_is_no_count_is_refused(filled, k):
    with pytest.raises(InputError) as caught:
        filled.search(embeddings([1]), k=k)
    message_of(caught.value, "k", str(k))


@pytest.mark.parametrize("k", [5, 6, 10**12, np.int64(7)], ids=str)
def test_more_hits_than_documents_are_all_documents(filled, k):
    assert [sorted(row) for row in top_ids(filled, embeddings([1, 2]), k)] == [list("abcde")] * 2


@pytest.mark.parametrize(
    "options", [{}, {"candidates": "all"}, {"pooled": 0, "candidates": "all"}, {"extra": np.zeros((2, 0))}], ids=str
)
def test_an_empty_index_has_no_hits(index, options):
    assert index.search(embeddings([1, 1]), **options) == [[], []]


@pytest.mark.parametrize("options", [{}, {"candidates": "all"}, {"fusion": "rrf"}], ids=str)
def test_no_queries_have_no_hits(filled, options):
    assert filled.search(NOTHING, k=1, **options) == []


@pytest.mark.parametrize("weights", [{}, {"pooled": 0.0}, {"late": 0.0}], ids=str)
def test_queries_of_other_dims_are_refused_whatever_the_weights(filled, weights):
    good, other = embeddings([2]), embeddings([2], dim=16)
    for queries in (
        Embeddings(other.pooled, good.tokens, good.truncated),
        Embeddings(good.pooled, other.tokens, good.truncated),
    ):
        with pytest.raises(InputError) as caught:
            filled.search(queries, k=1, **weights)
        message_of(caught.value, "16", "32")


@pytest.mark.parametrize("where", ["pooled", "tokens"])
def test_queries_of_nan_are_refused(filled, where):
    queries = embeddings([2])
    (queries.pooled if where == "pooled" else queries.tokens.values)[0, 0] = np.nan
    with pytest.raises(InputError):
        filled.search(queries, k=1)


def test_queries_without_a_token_are_refused(filled):
    good = embeddings([1])
    with pytest.raises(InputError) as caught:
        filled.search(Embeddings(good.pooled, TokenStates.from_arrays([good.tokens[0][:0]]), good.truncated))
    message_of(caught.value, "query 0")


def test_encoded_texts_are_found_by_their_words(encoder, tmp_path):
    texts = ["sort a list by a key", "why is the sky blue", "bread without yeast"]
    index = Index.create(tmp_path / "docs.index", encoder)
    index.add(["sort", "sky", "bread"], encoder.encode_document(texts))
    opened = Index.open(tmp_path / "docs.index", encoder)
    assert top_ids(opened, encoder.encode_query(texts), 1) == [["sort"], ["sky"], ["bread"]]


# Two stages, fusions, a third signal, ties.


def test_candidates_are_the_best_by_the_pooled_score(filled):
    queries = embeddings([3], seed=9)
    terms = by_definition(filled, queries)[0]
    by_pooled = [name for name, _, _ in sorted(terms, key=lambda term: -term[1])]
    for count in (1, 2, 4):
        hits = filled.search(queries, k=1, candidates=count, pooled=0.0)[0]
        chosen = [term for term in terms if term[0] in by_pooled[:count]]
        assert [hit.id for hit in hits] == [max(chosen, key=lambda term: term[2])[0]]
    assert set(top_ids(filled, queries, 3, candidates=1)[0]) == set(by_pooled[:3])


@pytest.mark.parametrize("fusion", ["sum", "zscore", "rrf"])
def test_each_fusion_is_its_definition(filled, fusion):
    queries = embeddings([3], seed=9)
    hits = filled.search(queries, k=5, pooled=0.5, late=2.0, fusion=fusion, candidates="all")[0]
    pooled, late = (np.array([term[i] for term in by_definition(filled, queries)[0]]) for i in (1, 2))
    ways = {
        "sum": lambda term: term,
        "zscore": lambda term: (term - term.mean()) / term.std(),
        "rrf": lambda term: 1 / (60 + 1 + np.argsort(np.argsort(-term))),
    }
    wanted = 0.5 * ways[fusion](pooled) + 2.0 * ways[fusion](late)
    assert [hit.id for hit in hits] == ["abcde"[i] for i in np.argsort(-wanted, kind="stable")]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(wanted)[::-1], rtol=0, atol=1e-5)


def test_a_third_signal_counts_in_the_order_of_ids(filled):
    queries = embeddings([3, 1], seed=9)
    extra = np.arange(10, dtype=np.int64).reshape(2, 5)
    for candidates in ("all", 100, 1):
        found = filled.search(queries, k=5, extra=extra, extra_weight=0.5, candidates=candidates)
        for row, hits in zip(extra, found, strict=True):
            signal = dict(zip("abcde", row, strict=True))
            for hit in hits:
                assert hit.score == pytest.approx(hit.pooled + hit.late + 0.5 * signal[hit.id], abs=1e-12)
    assert top_ids(filled, queries, 1, extra=extra, extra_weight=1000, candidates=1) == [["e"], ["e"]]


TIES = {"too few": ["a"], "too many": ["a", "b", "c"], "one text": "ab"}


@pytest.mark.parametrize("keys", TIES.values(), ids=TIES)
def test_tie_keys_that_are_not_one_for_each_query_are_refused(filled, keys):
    with pytest.raises(InputError) as caught:
        filled.search(embeddings([1, 1]), tie_keys=keys)
    message_of(caught.value, "tie_keys", "2 queries")


@pytest.mark.parametrize("keys", [["\ud800", "a"], 5], ids=["lone surrogate", "a number"])
def test_tie_keys_that_are_no_texts_are_refused(filled, keys):
    with pytest.raises(InputError):
        filled.search(embeddings([1, 1]), tie_keys=keys)


def test_equal_scores_are_ordered_by_the_hash_of_query_and_id(index):
    same, names = embeddings([3], seed=5), [f"same {i}" for i in range(9)]
    for first in (0, 4):
        index.add(names[first : first + 5][: 4 if first == 0 else 5], same.take([0] * (4 if first == 0 else 5)))
    for key in ("q1", "frage ü"):
        wanted = sorted(names, key=lambda name, key=key: hash_tie(key, name))
        for k in (9, 3):
            assert top_ids(index, same, k, tie_keys=[key]) == [wanted[:k]]


BAD_EXTRA = {
    "columns": np.zeros((2, 4)),
    "rows": np.zeros((1, 5)),
    "flat": np.zeros(10),
    "text": np.full((2, 5), "x"),
    "NaN": np.full((2, 5), np.nan),
    "infinity": np.full((2, 5), np.inf),
}


@pytest.mark.parametrize("extra", BAD_EXTRA.values(), ids=BAD_EXTRA)
def test_a_third_signal_that_does_not_fit_is_refused(filled, extra):
    with pytest.raises(InputError) as caught:
        filled.search(embeddings([1, 1]), extra=extra)
    message_of(caught.value, "extra", "finite")


def test_a_third_signal_of_ragged_rows_is_refused(filled):
    with pytest.raises(InputError) as caught:
        filled.search(embeddings([1, 1]), extra=[[1, 2, 3, 4, 5], [1]])
    message_of(caught.value, "extra")


def test_a_third_signal_may_be_larger_than_float32_holds(filled):
    extra = np.zeros((1, 5))
    extra[0, 3] = 1e300
    assert filled.search(embeddings([1]), k=1, extra=extra)[0][0].id == "d"


NAN_WEIGHT = pytest.param(
    {"late": float("nan")},
)
BAD_OPTIONS = [
    *({"candidates": value} for value in (0, 2.5, True, "some")),
    *({"fusion": "max"}, {"threads": 0}, {"rough": "maybe"}, {"rough": "on"}, {"pooled": 0, "late": 0}),
    *({"pooled": float("nan")}, {"late": float("inf")}, {"pooled": "1"}),
    NAN_WEIGHT,
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_an_option_that_does_not_exist_or_fit_is_refused(filled, options):
    with pytest.raises(OptionError) as caught:
        filled.search(embeddings([1]), **options)
    message_of(caught.value)


def test_the_first_pass_in_8_bits_changes_nothing(stored, rng):
    for part in range(2):
        stored.add([f"{part} {i}" for i in range(300)], embeddings(rng.integers(1, 20, 300), seed=part))
    queries = embeddings([5, 1, 20], seed=9)
    options = {"k": 7, "candidates": "all"}
    wanted = stored.search(queries, rough="off", **options)
    assert stored.search(queries, **options) == stored.search(queries, threads=1, rough="off", **options) == wanted
    if stored.manifest.options.storage in ("int16", "int8"):
        assert stored.search(queries, rough="on", **options) == wanted
    else:
        with pytest.raises(OptionError) as caught:
            stored.search(queries, rough="on", **options)
        message_of(caught.value, "int8 or int16")
