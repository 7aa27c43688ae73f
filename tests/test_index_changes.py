"""Deleting, replacing, compacting: what counts afterwards, who still sees what was, and that no score moves a bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import STORAGES, assert_true_top, fill, listing, loud, top_ids
from smartrt import Bundle, Embeddings, Index, IndexOptions
from smartrt.errors import CorruptIndexError, IndexStoreError, InputError
from smartrt.ranking import hash_tie
from support import embeddings, flip_bit, message_of

QUERIES = embeddings([3, 1, 6], seed=9)


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture(params=STORAGES)
def filled(request, bundle, tmp_path):
    """Two segments, a b c and d e, in every storage."""
    return fill(Index.create(tmp_path / "docs.index", bundle, IndexOptions(request.param)))


@pytest.fixture
def default(bundle, tmp_path):
    """The same in int16."""
    return fill(Index.create(tmp_path / "default.index", bundle))


def hits_of(index, **options):
    """Every hit of every kind of search, to the last bit."""
    ways = ({}, {"candidates": "all"}, {"pooled": 0.3, "late": -2.0}, {"candidates": 1}, {"fusion": "rrf"})
    return [index.search(QUERIES, k=9, **way, **options) for way in ways]


def scores_of(index):
    """Score and terms of each document for each query, to the last bit."""
    found = index.search(QUERIES, k=99, candidates="all")
    return [{hit.id: (hit.score, hit.pooled, hit.late, hit.meta) for hit in hits} for hits in found]


def test_deleted_documents_are_gone(filled):
    before = scores_of(filled)
    filled.delete(["b", "e"])
    for index in (filled, Index.open(filled.path)):
        assert index.ids() == ["a", "c", "d"]
        assert (len(index), index.tokens) == (3, 2 + 1 + 4)
        assert scores_of(index) == [{name: row[name] for name in "acd"} for row in before]
        assert_true_top(index, QUERIES, 2)
        index.check()
    filled.delete(["a"])
    assert Index.open(filled.path).ids() == ["c", "d"]
    assert len(list(filled.path.glob("*/deleted-*.npy"))) == 2


def test_deleting_everything_leaves_an_index_that_can_be_filled_again(filled):
    filled.delete(filled.ids())
    assert filled.search(QUERIES, extra=np.zeros((3, 0))) == [[], [], []]
    for _ in range(2):
        opened = Index.open(filled.path)
        assert (opened.ids(), len(opened), opened.tokens, opened.truncated) == ([], 0, 0, 0)
        opened.check()
        opened.compact()
    assert Index.open(filled.path).segments == ()
    opened.add(["a"], QUERIES.take([0]))
    assert top_ids(Index.open(filled.path), QUERIES, 3) == [["a"]] * 3
    assert opened.segments[0].entry.name == "segment-000003"  # a number is never used twice


BAD_DELETIONS = {
    "unknown": (["a", "nobody"], "'nobody'"),
    "deleted already": (["a", "c"], "'c'"),
    "given twice": (["a", "a"], "'a'"),
    "one string": ("ab", "'ab'"),
    "a number": ([1], "1"),
    "empty": ([""], "''"),
    "lone surrogate": (["\ud800"], r"'\ud800'"),
    "an iterator": (iter(["a"]), "ids"),
    "None": (None, "ids"),
}


@pytest.mark.parametrize(("ids", "mentions"), BAD_DELETIONS.values(), ids=BAD_DELETIONS)
def test_what_cannot_be_deleted_is_named_and_nothing_is(default, ids, mentions):
    default.delete(["c"])
    before = listing(default.path)
    for index in (default, Index.open(default.path)):
        with pytest.raises(InputError) as caught:
            index.delete(ids)
        message_of(caught.value, mentions)
        assert index.ids() == ["a", "b", "d", "e"]
    assert listing(default.path) == before


def test_deleting_nothing_and_compacting_nothing_write_nothing(default, bundle, tmp_path):
    default.compact()
    before = listing(default.path)
    default.delete([])
    default.compact()
    assert listing(default.path) == before
    empty = Index.create(tmp_path / "empty.index", bundle)
    empty.compact()
    assert empty.manifest.generation == 0


def test_an_id_may_come_back(filled):
    filled.delete(["b"])
    filled.add(["b"], embeddings([5], seed=7), ["new"])
    assert filled.ids() == Index.open(filled.path).ids() == ["a", "c", "d", "e", "b"]
    (hit,) = filled.search(embeddings([5], seed=7), k=1)[0]
    assert (hit.id, hit.meta) == ("b", "new")
    with pytest.raises(InputError):
        filled.add(["b"], embeddings([5]))


def test_a_replaced_document_counts_as_inserted_last(filled):
    new = embeddings([5, 1, 2], seed=7)
    filled.add(["d", "x", "a"], new, ["d2", "x2", "a2"], replace=True)
    for index in (filled, Index.open(filled.path)):
        assert index.ids() == ["b", "c", "e", "d", "x", "a"]
        assert (len(index), index.tokens) == (6, 3 + 1 + 2 + 5 + 1 + 2)
        assert [[(hit.id, hit.meta) for hit in row] for row in index.search(new, k=1)] == [
            [("d", "d2")],
            [("x", "x2")],
            [("a", "a2")],
        ]
        assert_true_top(index, QUERIES, 6)
    assert filled.manifest.generation == 3  # one commit


# Compaction.


def test_compaction_changes_no_bit_of_any_score(filled):
    filled.add(["f", "g"], Embeddings.concatenate([embeddings([9], seed=3), loud(17)]))
    filled.add(["h", "i"], embeddings([8, 16], seed=4))
    for gone in ([], ["h", "b"], ["f"], ["g", "i"]):
        filled.delete(gone)
        ids, hits, scores, tokens = filled.ids(), hits_of(filled), scores_of(filled), filled.tokens
        filled.compact()
        for index in (filled, Index.open(filled.path)):
            assert (index.ids(), index.tokens) == (ids, tokens)
            assert scores_of(index) == scores
            assert hits_of(index) == hits
            index.check()
            assert all(segment.entry.deleted is None for segment in index.segments)
        assert_true_top(filled, QUERIES, 3)


@pytest.mark.parametrize(("storage", "left"), [("int16", [3, 2]), ("int8", [3, 2]), ("float16", [5]), ("float32", [5])])
def test_segments_of_one_scale_become_one(bundle, tmp_path, storage, left):
    index = Index.create(tmp_path / "docs.index", bundle, IndexOptions(storage))
    for name in "abc":
        index.add([name], embeddings([4], seed=1))
    for name in "de":
        index.add([name], loud(3))
    scales = [segment.documents.tokens.scale for segment in index.segments]
    index.compact()
    assert [segment.entry.documents for segment in index.segments] == left
    for segment, scale in zip(index.segments, [scales[0], scales[-1]], strict=False):
        assert np.array_equal(segment.documents.tokens.scale, scale)


def test_compaction_gives_the_space_of_deleted_documents_back(default):
    default.add(["big"], embeddings([4000]))
    default.delete(["big"])
    assert sum(map(len, filter(None, listing(default.path).values()))) > 100_000
    default.compact()
    assert sum(map(len, filter(None, listing(default.path).values()))) < 15_000


def test_truncation_counts_survive_compaction(bundle, tmp_path):
    index = Index.create(tmp_path / "docs.index", bundle)
    batch = embeddings([1, 2, 3])
    index.add(["a", "b", "c"], Embeddings(batch.pooled, batch.tokens, np.array([5, 0, 7])))
    index.delete(["a"])
    assert index.truncated == 1
    index.compact()
    assert index.truncated == 1
    assert index.segments[0].truncated.tolist() == [0, 7]
    assert index.segments[0].lengths.tolist() == [2, 3]


def test_compaction_does_not_hide_damage(default):
    default.delete(["a"])
    flip_bit(default.path / "segment-000001" / "codes.npy")
    index = Index.open(default.path)
    with pytest.raises(CorruptIndexError):
        index.compact()
    with pytest.raises(CorruptIndexError):
        Index.open(default.path).check()


# Readers and writers that opened before.


CHANGES = {
    "delete": lambda index: index.delete(["b", "d"]),
    "replace": lambda index: index.add(["a", "e"], embeddings([2, 2], seed=8), replace=True),
    "delete and compact": lambda index: (index.delete(["b", "d"]), index.compact()),
    "delete all and compact": lambda index: (index.delete(index.ids()), index.compact()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_reader_keeps_answering_as_before(filled, change):
    filled.delete(["c"])
    reader, untouched = Index.open(filled.path), Index.open(filled.path)
    before, ids = hits_of(reader), reader.ids()
    change(filled)
    assert hits_of(reader) == hits_of(untouched) == before
    assert (reader.ids(), len(reader)) == (ids, 4)
    assert Index.open(filled.path).ids() == filled.ids() != ids


@pytest.mark.parametrize("change", [CHANGES["delete"], CHANGES["delete and compact"]], ids=["delete", "compact"])
def test_a_reader_does_not_call_an_index_damaged_that_others_changed(default, change):
    default.delete(["c"])
    reader = Index.open(default.path)
    change(default)
    try:
        reader.check()
    except CorruptIndexError as error:
        raise AssertionError(error) from None
    except IndexStoreError:
        pass  # to be told to open it again would be fine


STALE = {
    "adds": lambda index: index.add(["z"], embeddings([1])),
    "replaces": lambda index: index.add(["a"], embeddings([1]), replace=True),
    "deletes": lambda index: index.delete(["a"]),
    "compacts": lambda index: index.compact(),
}


@pytest.mark.parametrize("late", STALE.values(), ids=STALE)
@pytest.mark.parametrize("first", [*CHANGES.values(), STALE["adds"]], ids=[*CHANGES, "add"])
def test_a_writer_that_missed_a_change_is_told_to_open_again(default, first, late):
    stale = Index.open(default.path)
    first(default)
    before, ids = listing(default.path), stale.ids()
    with pytest.raises(IndexStoreError) as caught:
        late(stale)
    message_of(caught.value, "open it again")
    assert listing(default.path) == before
    assert stale.ids() == ids


# A third signal and ties beside deleted documents.


def test_a_third_signal_passes_deleted_documents_over(default):
    default.delete(["a", "d"])
    extra = np.float32([[10, 20, 30]] * 3)
    for candidates in ("all", 100, 1):
        for hits in default.search(QUERIES, k=3, extra=extra, candidates=candidates):
            assert [hit.id for hit in hits] == ["e", "c", "b"]
            for hit, signal in zip(hits, (30, 20, 10), strict=True):
                assert hit.score == pytest.approx(hit.pooled + hit.late + signal, abs=1e-9)
    with pytest.raises(InputError) as caught:
        default.search(QUERIES, extra=np.zeros((3, 5)))
    message_of(caught.value, "[3, 3]")


@pytest.mark.parametrize("extra", [np.zeros((1, 3)), np.full((3, 3), np.nan)], ids=["rows", "NaN"])
def test_a_third_signal_that_does_not_fit_is_refused_with_the_shape_it_should_have(default, extra):
    default.delete(["a", "d"])
    with pytest.raises(InputError) as caught:
        default.search(QUERIES, extra=extra)
    message_of(caught.value, "[3, 3]")
    assert "5" not in str(caught.value)


@settings(deadline=None, max_examples=15)
@given(gone=st.sets(st.integers(0, 11), max_size=11), key=st.text(st.characters(codec="utf-8"), max_size=3))
def test_equal_scores_of_what_is_left_are_ordered_by_the_hash(bundle, tmp_path_factory, gone, key):
    same, names = embeddings([3], seed=5), [f"same {i}" for i in range(12)]
    index = Index.create(tmp_path_factory.mktemp("ties") / "docs.index", bundle)
    for first in (0, 5, 7):
        batch = names[first : {0: 5, 5: 7, 7: 12}[first]]
        index.add(batch, same.take([0] * len(batch)))
    index.delete([names[i] for i in sorted(gone)])
    left = [name for i, name in enumerate(names) if i not in gone]
    wanted = sorted(left, key=lambda name: hash_tie(key, name))
    for _ in range(2):
        assert top_ids(index, same, 12) == [left]
        assert top_ids(index, same, 12, tie_keys=[key]) == [wanted]
        assert top_ids(index, same, 2, tie_keys=[key], candidates="all") == [wanted[:2]]
        index.compact()
