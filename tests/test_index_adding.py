"""Adding to an index, making and opening one: what goes in comes back as it was, what is wrong stays out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from indexes import NOTHING, STORAGES, fill, listing, loud, top_ids
from smartrt import Bundle, Embeddings, Index, IndexOptions, TokenStates
from smartrt.errors import BundleMismatchError, IndexStoreError, InputError, StorageError
from support import embeddings, message_of, set_key


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


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_added_is_there_after_reopening(bundle, tmp_path, storage):
    filled = fill(Index.create(tmp_path / "docs.index", bundle, IndexOptions(storage)))
    opened = Index.open(filled.path)
    assert opened.ids() == filled.ids() == ["a", "b", "c", "d", "e"]
    assert (len(opened), opened.tokens, opened.truncated) == (5, 12, 0)
    assert [segment.entry.name for segment in opened.segments] == ["segment-000001", "segment-000002"]
    segment, added = opened.segments[0], embeddings([2, 3, 1], seed=1)
    tokens = segment.documents.tokens
    assert isinstance(tokens.codes, np.memmap)
    np.testing.assert_allclose(segment.documents.pooled, added.pooled, rtol=0, atol=1e-7)
    for row, given_rows in enumerate(added.tokens):
        stored = tokens.exact(row)[: segment.lengths[row]]
        assert np.linalg.norm(given_rows - stored, axis=1).max() <= tokens.errors[row]
        assert tokens.errors[row] <= {"int16": 1e-4, "int8": 2e-2, "float16": 5e-4, "float32": 1e-30}[storage]


def test_truncation_counts_and_float16_tokens_are_kept_as_numbers(bundle, tmp_path):
    index = Index.create(tmp_path / "docs.index", bundle, IndexOptions("float32"))
    batch = embeddings([2, 1])
    half = TokenStates(batch.tokens.values.astype(np.float16), batch.tokens.offsets)
    index.add(["a", "b"], Embeddings(batch.pooled, half, np.array([0, 7])))
    opened = Index.open(index.path)
    (segment,) = opened.segments
    assert segment.truncated.tolist() == [0, 7]
    assert opened.truncated == 1
    np.testing.assert_array_equal(segment.documents.tokens.exact(0)[:2], half[0].astype(np.float64))


@pytest.mark.parametrize("storage", ["int16", "int8"])
def test_a_scale_is_kept_until_something_does_not_fit_it(bundle, tmp_path, storage):
    index = Index.create(tmp_path / "docs.index", bundle, IndexOptions(storage))
    parts = [embeddings([5], seed=1), embeddings([5], seed=1), loud(2), embeddings([5], seed=1)]
    for number, part in enumerate(parts):
        index.add([str(number)], part)
    scales = [segment.documents.tokens.scale for segment in Index.open(index.path).segments]
    assert np.array_equal(scales[0], scales[1])
    assert np.all(scales[1] <= scales[2])
    assert np.any(scales[1] < scales[2])
    assert np.array_equal(scales[2], scales[3])
    for number, part in enumerate(parts):  # nothing was clipped
        stored = index.segments[number].documents.tokens.exact(0)[: len(part.tokens.values)]
        assert np.all(np.abs(stored - part.tokens.values) <= scales[number] * 0.51)


def test_adding_nothing_writes_nothing(filled):
    before = listing(filled.path)
    filled.add([], NOTHING)
    filled.add([], NOTHING, replace=True)
    assert listing(filled.path) == before


def nan_in(pooled: bool, value: float) -> Embeddings:
    batch = embeddings([2, 1])
    (batch.pooled if pooled else batch.tokens.values)[1, 3] = value
    return batch


GOOD = embeddings([2, 1])
TOKENLESS = Embeddings(GOOD.pooled, TokenStates.from_arrays([GOOD.tokens[0], GOOD.tokens[0][:0]]), GOOD.truncated)
BAD_BATCHES = {
    "duplicate in the batch": (["x", "x"], GOOD, None, "'x'"),
    "duplicate of an older segment": (["x", "b"], GOOD, None, "'b'"),
    "empty id": (["x", ""], GOOD, None, "''"),
    "id that is a number": (["x", 7], GOOD, None, "7"),
    "id that is None": ([None, "x"], GOOD, None, "None"),
    "one string for ids": ("xy", GOOD, None, "ids"),
    "lone surrogate in an id": (["x", "\ud800"], GOOD, None, "cannot be written as JSON"),
    "too few ids": (["x"], GOOD, None, "1 ids, 2 documents"),
    "too many ids": (["x", "y", "z"], GOOD, None, "3 ids, 2 documents"),
    "too few metadata": (["x", "y"], GOOD, [1], "1 metadata"),
    "other dims": (["x", "y"], embeddings([2, 1], dim=16), None, "(16, 16)"),
    "no embeddings": (["x", "y"], "GOOD", None, "documents"),
    "NaN pooled": (["x", "y"], nan_in(True, np.nan), None, "NaN"),
    "NaN token": (["x", "y"], nan_in(False, np.nan), None, "NaN"),
    "infinite token": (["x", "y"], nan_in(False, np.inf), None, "infinity"),
    "document without a token": (["x", "y"], TOKENLESS, None, "no token vector"),
    "metadata: a set": (["x", "y"], GOOD, [None, {1}], "'y' cannot be written as JSON"),
    "metadata: bytes": (["x", "y"], GOOD, [b"1", None], "'x' cannot be written as JSON"),
    "metadata: NaN": (["x", "y"], GOOD, [float("nan"), None], "'x' cannot be written as JSON"),
    "metadata: an array": (["x", "y"], GOOD, [np.zeros(2), None], "'x' cannot be written as JSON"),
    "metadata: half a surrogate pair": (["x", "y"], GOOD, [{"t": "\ud800"}, None], "'x' cannot be written as JSON"),
    "metadata: keys that are no strings": (["x", "y"], GOOD, [{1: "one"}, None], "'x'"),
    "metadata: nested without end": (["x", "y"], GOOD, [[], None], "'x' cannot be written as JSON"),
    "metadata: nested too deep": (["x", "y"], GOOD, [None, None], "'x' cannot be written as JSON"),
}
BAD_BATCHES["metadata: nested without end"][2][0].append(BAD_BATCHES["metadata: nested without end"][2][0])
for _ in range(100_000):
    BAD_BATCHES["metadata: nested too deep"][2][0] = [BAD_BATCHES["metadata: nested too deep"][2][0]]


@pytest.mark.parametrize(("ids", "documents", "meta", "mentions"), BAD_BATCHES.values(), ids=BAD_BATCHES)
@pytest.mark.parametrize("reopened", [False, True], ids=["same object", "reopened"])
def test_a_bad_batch_is_refused_and_nothing_is_added(filled, reopened, ids, documents, meta, mentions):
    index = Index.open(filled.path) if reopened else filled
    before = listing(index.path)
    for replace in (False, True):
        if replace and "b" in ids:
            continue
        with pytest.raises(InputError) as caught:
            index.add(ids, documents, meta, replace=replace)
        message_of(caught.value, mentions)
        assert listing(index.path) == before
        assert len(index) == 5
    index.add(["x", "y"], GOOD)
    assert Index.open(index.path).ids() == ["a", "b", "c", "d", "e", "x", "y"]


LENGTHLESS = {"iterator": (iter("xy"), None), "None": (None, None), "metadata": (["x", "y"], iter([1, 2]))}


@pytest.mark.parametrize(("ids", "meta"), LENGTHLESS.values(), ids=LENGTHLESS)
def test_ids_and_metadata_without_a_length_are_refused(filled, ids, meta):
    with pytest.raises(InputError):
        filled.add(ids, GOOD, meta)


@pytest.mark.parametrize("length", [0.5, 1.02, 1e6])
def test_token_vectors_that_are_not_of_length_1_are_refused(filled, length):
    values = GOOD.tokens.values * np.float32(length)
    long = Embeddings(GOOD.pooled, TokenStates(values, GOOD.tokens.offsets), GOOD.truncated)
    with pytest.raises(InputError) as caught:
        filled.add(["x", "y"], long)
    message_of(caught.value, "length 1", f"{length:.4g}")
    with pytest.raises(InputError):
        filled.search(long)


def test_token_vectors_of_zeros_are_what_an_adapter_leaves_of_nothing(filled):
    values = np.zeros_like(GOOD.tokens.values)
    nothing = Embeddings(GOOD.pooled, TokenStates(values, GOOD.tokens.offsets), GOOD.truncated)
    filled.add(["x", "y"], nothing)
    assert {hit.id: hit.late for hit in filled.search(embeddings([2]), k=7)[0]}["x"] == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=30)
@given(meta=st.lists(json_values, min_size=2, max_size=2))
def test_metadata_comes_back_as_it_was(bundle, meta):
    with tempfile.TemporaryDirectory() as directory:
        index = Index.create(Path(directory) / "docs.index", bundle)
        index.add(["x", "gone", "y"], GOOD.take([0, 0, 1]), [meta[0], None, meta[1]])
        index.delete(["gone"])
        index.compact()
        hits = {hit.id: hit.meta for hit in Index.open(index.path).search(GOOD.take([0]), k=2)[0]}
    assert hits == {"x": meta[0], "y": meta[1]}


NAMES = [
    "北京",
    "🙂",
    "a\u2028b",
    "a\u2029b",
    "line\nbreak",
    "a\rb",
    "a\x85b",
    "a\x1cb",
    "\x00",
    '"\\',
    " ",
    "é",
    "e\u0301",
]


def test_ids_of_any_unicode_come_back_as_they_were(index):
    index.add(NAMES, embeddings([1] * len(NAMES)))
    opened = Index.open(index.path)
    assert opened.ids() == NAMES
    assert {hit.id for hit in opened.search(embeddings([1]), k=len(NAMES))[0]} == set(NAMES)
    for name in NAMES:
        with pytest.raises(InputError):
            opened.add([name], embeddings([1]))
    opened.delete(NAMES[:5])
    opened.compact()
    assert Index.open(index.path).ids() == NAMES[5:]


# Making and opening.


def test_an_index_is_not_created_over_something(filled, bundle):
    before = listing(filled.path)
    with pytest.raises(StorageError) as caught:
        Index.create(filled.path, bundle)
    message_of(caught.value, "exists already")
    assert listing(filled.path) == before


def test_missing_parents_are_created(bundle, tmp_path):
    Index.create(tmp_path / "a" / "b" / "docs.index", bundle)
    assert Index.open(tmp_path / "a" / "b" / "docs.index").ids() == []


def test_a_place_that_cannot_be_written_is_a_storage_error(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        Index.create(tmp_path / "file" / "docs.index", bundle)
    message_of(caught.value, "cannot write", "docs.index")


def test_files_get_the_permissions_the_umask_gives(bundle, tmp_path):
    options = IndexOptions(projection="orthogonal", dim=4)
    old = os.umask(0o027)
    try:
        index = fill(Index.create(tmp_path / "docs.index", bundle, options))
        index.delete(["d"])
        index.compact()
        index.delete(["a"])
    finally:
        os.umask(old)
    modes = {str(name): (index.path / name).stat().st_mode & 0o777 for name in listing(index.path)}
    assert {name for name, mode in modes.items() if mode == 0o750} == {entry.name for entry in index.manifest.segments}
    assert {mode for name, mode in modes.items() if "." in name} == {0o640}


def test_an_index_may_be_moved(filled, tmp_path):
    queries = embeddings([2])
    wanted = top_ids(filled, queries, 5)
    moved = filled.path.rename(tmp_path / "moved elsewhere.index")
    assert top_ids(Index.open(moved), queries, 5) == wanted


def test_the_bundle_that_filled_it_opens_it_under_any_name(filled, tiny_copy):
    set_key(tiny_copy / "manifest.json", "name", "renamed")
    assert len(Index.open(filled.path, Bundle.open(tiny_copy))) == 5


def test_another_bundle_is_refused_by_name(filled, tiny_copy):
    set_key(tiny_copy / "manifest.json", "prompts/query", "find: ")
    with smartrt.Encoder.open(tiny_copy, engine="fake") as other:
        for source in (other, other.bundle):
            with pytest.raises(BundleMismatchError) as caught:
                Index.open(filled.path, source)
            message_of(caught.value, "'tiny'", str(tiny_copy))


@pytest.mark.parametrize("name", ["nowhere", "empty", "tiny.smartrt"])
def test_what_is_no_index_is_refused(tiny_copy, name):
    (tiny_copy.parent / "empty").mkdir()
    with pytest.raises(IndexStoreError) as caught:
        Index.open(tiny_copy.parent / name)
    message_of(caught.value, name, "is not an index")
