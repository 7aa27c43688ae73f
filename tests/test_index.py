"""The index: what goes in is found again, in the right order, whatever happens to the process or the disk."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartrt
from smartrt import Bundle, Embeddings, Hit, Index, TokenStates
from smartrt.errors import (
    BundleMismatchError,
    CorruptIndexError,
    IndexStoreError,
    InputError,
    StorageError,
    UnsupportedFormatError,
)
from smartrt.index import segment
from smartrt.index.layout import SEGMENT_FILES
from smartrt.manifest import Dims
from support import edit_json, embeddings, flip_bit, message_of, run_python, set_key

NOTHING = Embeddings(np.zeros((0, 32), np.float32), TokenStates.from_arrays([], 32), np.zeros(0, np.int64))


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture
def index(bundle, tmp_path):
    """An empty index."""
    return Index.create(tmp_path / "docs.index", bundle)


@pytest.fixture
def filled(index):
    """Two segments of three and two documents: a b c, d e."""
    index.add(["a", "b", "c"], embeddings([2, 3, 1], seed=1), [{"n": i} for i in range(3)])
    index.add(["d", "e"], embeddings([4, 2], seed=2))
    return index


def listing(path: Path) -> dict[str, bytes]:
    """Every file below `path` with its content; the lock file says nothing."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "writer.lock")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def top_ids(index, queries, k):
    return [[hit.id for hit in hits] for hits in index.search(queries, k=k)]


# Searching.


@settings(deadline=None, max_examples=20)
@given(
    segments=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), min_size=1, max_size=4),
    weights=st.sampled_from([(1, 1), (1, 0), (0, 1), (0.3, 2.5), (-1, 1)]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_search_finds_what_sorting_every_score_finds(bundle, segments, weights, seed, data):
    pooled, late = weights
    parts = [embeddings(lengths, seed=seed + i) for i, lengths in enumerate(segments)]
    documents, queries = Embeddings.concatenate(parts), embeddings([3, 1], seed=seed + 99)
    k = data.draw(st.integers(1, len(documents)))
    with tempfile.TemporaryDirectory() as directory:
        index = Index.create(Path(directory) / "docs.index", bundle)
        for i, part in enumerate(parts):
            index.add([f"{i}.{row}" for row in range(len(part))], part)
        found = Index.open(index.path).search(queries, k=k, pooled=pooled, late=late)
        names = index.ids()
    scores = smartrt.score(queries, documents, pooled=pooled, late=late)
    for row, hits in zip(scores, found, strict=True):
        best = np.sort(row)[::-1][:k]
        assert len({hit.id for hit in hits}) == k
        # Not the ids one by one: scores that differ in the last float32 bit may stand in either order here.
        np.testing.assert_allclose([row[names.index(hit.id)] for hit in hits], best, rtol=0, atol=1e-5)
        np.testing.assert_allclose([hit.score for hit in hits], best, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights", [{}, {"pooled": 0.0}, {"late": 0.0}, {"pooled": 2.0, "late": -0.5}], ids=str)
def test_a_hit_carries_both_terms_before_weighting(filled, weights):
    queries = embeddings([3], seed=9)
    hits = {hit.id: hit for hit in filled.search(queries, k=5, **weights)[0]}
    documents = Embeddings.concatenate([embeddings([2, 3, 1], seed=1), embeddings([4, 2], seed=2)])
    terms = {"pooled": {"pooled": 1, "late": 0}, "late": {"pooled": 0, "late": 1}, "score": weights}
    for name, asked in terms.items():
        wanted = smartrt.score(queries, documents, **asked)[0]
        np.testing.assert_allclose([getattr(hits[i], name) for i in "abcde"], wanted, rtol=0, atol=5e-6)


def test_a_hit_carries_id_and_metadata(filled):
    (hit,) = filled.search(embeddings([2, 3, 1], seed=1).take([1]), k=1)[0]
    assert isinstance(hit, Hit)
    assert (hit.id, hit.meta) == ("b", {"n": 1})
    assert hit.score == pytest.approx(2.0, abs=1e-6)
    assert hit.score == hit.pooled + hit.late
    assert [hit.meta for hit in filled.search(embeddings([4, 2], seed=2), k=1)[0]] == [None]


def test_equal_documents_keep_the_order_of_insertion_across_segments(index):
    same, others = embeddings([3], seed=5), embeddings([2, 7, 1], seed=6)
    index.add(["other 1", "same 1", "same 2"], Embeddings.concatenate([others.take([0]), same, same]))
    index.add(["same 3"], same)
    index.add(["other 2", "other 3", "same 4"], Embeddings.concatenate([others.take([1, 2]), same]))
    for queries in (same, embeddings([4], seed=7)):
        for weights in ({}, {"pooled": 0}, {"late": 0}):
            hits = index.search(queries, k=7, **weights)[0]
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


@pytest.mark.parametrize("k", [0, -1, 6], ids=["zero", "negative", "one too many"])
def test_k_out_of_bounds_is_refused(filled, k):
    with pytest.raises(InputError) as caught:
        filled.search(embeddings([1]), k=k)
    message_of(caught.value, f"k={k}", "1 to 5")


def test_an_empty_index_answers_in_words(index):
    with pytest.raises(InputError) as caught:
        index.search(embeddings([1]))
    message_of(caught.value)


def test_no_queries_have_no_hits(filled):
    assert filled.search(NOTHING, k=1) == []


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


def test_encoded_texts_are_found_by_their_words(encoder, tmp_path):
    texts = ["sort a list by a key", "why is the sky blue", "bread without yeast"]
    index = Index.create(tmp_path / "docs.index", encoder)
    index.add(["sort", "sky", "bread"], encoder.encode_document(texts))
    opened = Index.open(tmp_path / "docs.index", encoder)
    assert top_ids(opened, encoder.encode_query(texts), 1) == [["sort"], ["sky"], ["bread"]]


# Adding.


def test_what_was_added_is_there_after_reopening(filled):
    opened = Index.open(filled.path)
    assert opened.ids() == filled.ids() == ["a", "b", "c", "d", "e"]
    assert len(opened) == 5
    assert opened.tokens == 12
    assert [segment.entry.name for segment in opened.segments] == ["segment-000001", "segment-000002"]
    stored, added = opened.segments[0].embeddings, embeddings([2, 3, 1], seed=1)
    np.testing.assert_array_equal(stored.tokens.values, added.tokens.values)
    np.testing.assert_array_equal(stored.tokens.offsets, added.tokens.offsets)
    np.testing.assert_allclose(stored.pooled, added.pooled, rtol=0, atol=1e-7)
    assert isinstance(stored.tokens.values, np.memmap)


def test_truncation_counts_and_float16_tokens_are_kept_as_numbers(index):
    batch = embeddings([2, 1])
    half = TokenStates(batch.tokens.values.astype(np.float16), batch.tokens.offsets)
    index.add(["a", "b"], Embeddings(batch.pooled, half, np.array([0, 7])))
    stored = Index.open(index.path).segments[0].embeddings
    assert stored.truncated.tolist() == [0, 7]
    np.testing.assert_array_equal(stored.tokens.values, half.values.astype(np.float32), strict=True)


def test_adding_nothing_writes_nothing(filled):
    before = listing(filled.path)
    filled.add([], NOTHING)
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
    with pytest.raises(InputError) as caught:
        index.add(ids, documents, meta)
    message_of(caught.value, mentions)
    assert listing(index.path) == before
    assert len(index) == 5
    index.add(["x", "y"], GOOD)
    assert Index.open(index.path).ids() == ["a", "b", "c", "d", "e", "x", "y"]


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
        index.add(["x", "y"], GOOD, meta)
        hits = {hit.id: hit.meta for hit in Index.open(index.path).search(GOOD.take([0]), k=2)[0]}
    assert hits == {"x": meta[0], "y": meta[1]}


def test_ids_of_any_unicode_come_back_as_they_were(index):
    names = [
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
    index.add(names, embeddings([1] * len(names)))
    opened = Index.open(index.path)
    assert opened.ids() == names
    assert {hit.id for hit in opened.search(embeddings([1]), k=len(names))[0]} == set(names)
    for name in names:
        with pytest.raises(InputError):
            opened.add([name], embeddings([1]))


# Creating and opening.


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


def test_files_get_the_permissions_the_umask_gives(filled):
    old = os.umask(0o027)
    try:
        filled.add(["f"], embeddings([1]))
    finally:
        os.umask(old)
    new = filled.path / "segment-000003"
    modes = [path.stat().st_mode & 0o777 for path in (new, new / "pooled.npy", filled.path / "index.json")]
    assert modes == [0o750, 0o640, 0o640]


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


# Damage. Sizes and shapes are compared when an index is opened, every byte by `check`.


def manifest(keys, value):
    return lambda path: set_key(path / "index.json", keys, value)


def in_segment(change):
    return lambda path: edit_json(path / "index.json", lambda data: change(data["segments"][1]))


def swap(path: Path, one: str, other: str) -> None:
    one, other, spare = (path / "segment-000002" / name for name in (one, other, "spare"))
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def move_segment_out(path: Path) -> None:
    (path / "segment-000002").rename(path.parent / "outside")
    in_segment(lambda entry: entry.update(name="../outside"))(path)


CORRUPT, UNSUPPORTED = CorruptIndexError, UnsupportedFormatError
DAMAGE = {
    "newer version": (manifest("format_version", 2), UNSUPPORTED, "index format 2"),
    "version 0": (manifest("format_version", 0), CORRUPT, "format_version"),
    "version as a string": (manifest("format_version", "1"), CORRUPT, "format_version"),
    "version as a bool": (manifest("format_version", True), CORRUPT, "format_version"),
    "unknown key": (manifest("surprise", 1), UNSUPPORTED, "surprise: unknown key"),
    "unknown nested key": (manifest("bundle/path", "x"), UNSUPPORTED, "bundle.path: unknown key"),
    "missing key": (lambda path: edit_json(path / "index.json", lambda data: data.pop("storage")), CORRUPT, "storage"),
    "unknown storage": (manifest("storage", "int4"), CORRUPT, "storage"),
    "other pooled dim": (manifest("pooled_dim", 16), CORRUPT, "pooled.npy"),
    "other token dim": (manifest("token_dim", 16), CORRUPT, "tokens.npy"),
    "manifest is cut off": (lambda path: shorten(path / "index.json") or shorten(path / "index.json"), CORRUPT, "JSON"),
    "manifest is a list": (lambda path: (path / "index.json").write_text("[]"), CORRUPT, "index.json"),
    "one document more": (in_segment(lambda entry: entry.update(documents=3)), CORRUPT, "segment-000002"),
    "one token more": (in_segment(lambda entry: entry.update(tokens=7)), CORRUPT, "tokens.npy"),
    "a file not listed": (in_segment(lambda entry: entry["files"].pop("lines.npy")), CORRUPT, "lines.npy"),
    "a segment outside": (move_segment_out, CORRUPT, "../outside"),
    "a segment missing": (lambda path: shutil.rmtree(path / "segment-000001"), CORRUPT, "segment-000001"),
    "offsets and lines swapped": (lambda path: swap(path, "offsets.npy", "lines.npy"), CORRUPT, "offsets.npy"),
    "pooled and tokens swapped": (lambda path: swap(path, "pooled.npy", "tokens.npy"), CORRUPT, "pooled.npy"),
    **{
        f"{name} missing": (lambda path, n=name: (path / "segment-000002" / n).unlink(), CORRUPT, name)
        for name in SEGMENT_FILES
    },
    **{
        f"{name} one byte short": (lambda path, n=name: shorten(path / "segment-000002" / n), CORRUPT, name)
        for name in SEGMENT_FILES
    },
}


@pytest.mark.parametrize(("damage", "kind", "mentions"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_refused_with_one_line_that_says_what(filled, damage, kind, mentions):
    damage(filled.path)
    with pytest.raises(kind) as caught:
        Index.open(filled.path)
    message_of(caught.value, mentions, str(filled.path))


def test_an_error_of_an_index_is_an_index_error_whatever_it_is(filled):
    set_key(filled.path / "index.json", "format_version", 2)
    with pytest.raises(IndexStoreError):
        Index.open(filled.path)


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_check_finds_a_flipped_bit(filled, name):
    filled.check()
    flip_bit(filled.path / "segment-000002" / name)
    with pytest.raises(CorruptIndexError) as caught:
        filled.check()
    message_of(caught.value, f"segment-000002/{name}")


def test_check_finds_files_of_one_size_that_were_swapped(index):
    index.add(["a", "b"], embeddings([1, 1]))
    index.add(["c", "d"], embeddings([1, 1], seed=1))
    swap(index.path, "pooled.npy", "tokens.npy")
    with pytest.raises(CorruptIndexError, match="changed since it was written"):
        Index.open(index.path).check()


@pytest.mark.parametrize("name", ["pooled.npy", "offsets.npy"])
def test_a_flipped_header_bit_is_a_corrupt_index_or_nothing(filled, name):
    path = filled.path / "segment-000002" / name
    content = path.read_bytes()
    for position, bit in itertools.product(range(128), (0, 4, 7)):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(bytes(changed))
        try:
            Index.open(filled.path)
        except CorruptIndexError as error:
            message_of(error, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("documents.jsonl", lambda content: b"\xff" * len(content)),
        ("documents.jsonl", lambda content: b"[]".ljust(len(content) - 1) + b"\n"),
        ("documents.jsonl", lambda content: content.replace(b'"id"', b'"ie"')),
        ("lines.npy", lambda content: content[:128] + struct.pack("<3q", 0, -5, 10**12)),
    ],
    ids=["not UTF-8", "not objects", "other keys", "line starts that lead nowhere"],
)
def test_documents_that_cannot_be_read_are_a_corrupt_index(filled, name, content):
    path = filled.path / "segment-000002" / name
    path.write_bytes(content(path.read_bytes()))

    def use():
        opened = Index.open(filled.path)
        opened.search(embeddings([1]), k=5)

    with pytest.raises(CorruptIndexError) as caught:
        use()
    message_of(caught.value, "segment-000002")


# Several readers and writers.


def test_a_reader_keeps_answering_as_before_while_others_add(filled):
    reader, queries = Index.open(filled.path), embeddings([3], seed=3)
    before = reader.search(queries, k=5)
    filled.add(["f"], queries)
    assert reader.search(queries, k=5) == before
    assert len(reader) == 5
    assert top_ids(Index.open(filled.path), queries, 1) == [["f"]]


def test_a_writer_that_missed_an_addition_is_told_to_open_again(filled):
    stale = Index.open(filled.path)
    filled.add(["f"], embeddings([1]))
    before = listing(filled.path)
    with pytest.raises(IndexStoreError) as caught:
        stale.add(["g"], embeddings([1]))
    message_of(caught.value, "open it again")
    assert listing(filled.path) == before
    Index.open(filled.path).add(["g"], embeddings([1]))
    assert Index.open(filled.path).ids()[-2:] == ["f", "g"]


HOLD = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_while_the_first_writes_and_not_after(filled):
    before = listing(filled.path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, filled.path / "writer.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(IndexStoreError) as caught:
            filled.add(["f"], embeddings([1]))
        message_of(caught.value, "another process")
        assert listing(filled.path) == before
        assert len(filled.search(embeddings([1]), k=5)[0]) == 5
        holder.stdin.close()
    filled.add(["f"], embeddings([1]))


# A disk that is full.

STEPS = {
    "making the segment": (tempfile, "mkdtemp"),
    "writing an array": (segment, "save_array"),
    "writing the documents": (Path, "write_bytes"),
    "flushing": (os, "fsync"),
    "renaming the segment": (Path, "rename"),
    "making the index file": (tempfile, "mkstemp"),
    "renaming the index file": (Path, "replace"),
}


@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_a_full_disk_at_any_step_leaves_the_index_as_it_was(filled, monkeypatch, module, name):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = listing(filled.path)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, refuse)
        with pytest.raises(StorageError) as caught:
            filled.add(["f"], embeddings([1]))
    message_of(caught.value, "No space left on device", str(filled.path))
    assert listing(filled.path) == before
    filled.add(["f"], embeddings([1]))
    assert Index.open(filled.path).ids() == ["a", "b", "c", "d", "e", "f"]


def test_a_disk_that_fails_after_the_commit_leaves_object_and_disk_agreeing(filled, monkeypatch):
    replaced, fsync = [], os.fsync
    replace = Path.replace

    def remember(*paths):
        replaced.append(paths)
        return replace(*paths)

    def refuse_afterwards(descriptor):
        if replaced:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", remember)
        patch.setattr(os, "fsync", refuse_afterwards)
        with pytest.raises(StorageError):
            filled.add(["f"], embeddings([1]))
    assert filled.ids() == Index.open(filled.path).ids()
    filled.add(["g"], embeddings([1]))


LIMITED = """
import resource, sys
from pathlib import Path
import smartrt
sys.path.insert(0, sys.argv[3])
from support import embeddings

index = smartrt.Index.open(sys.argv[1])
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
try:
    index.add(["big"], embeddings([int(sys.argv[4])]))
except smartrt.errors.StorageError as error:
    sys.stdout.write(str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
left = sorted(str(path.relative_to(index.path)) for path in index.path.rglob("*"))
assert left == sys.argv[5].split(), left
index.add(["small"], embeddings([1]))
"""


@pytest.mark.parametrize(
    ("limit", "tokens"),
    [(100, 1), (200, 1), (5_000, 1000), (1_000, 1)],
    ids=["not even a header fits", "half an array fits", "the tokens do not fit", "only index.json does not fit"],
)
def test_a_file_size_limit_is_a_storage_error_and_nothing_is_left(filled, limit, tokens):
    entries = " ".join(sorted(str(path.relative_to(filled.path)) for path in filled.path.rglob("*")))
    ran = run_python(LIMITED, filled.path, limit, Path(__file__).parent, tokens, entries)
    assert (ran.returncode, ran.stderr) == (0, "")
    message_of(StorageError(ran.stdout), "cannot write", "File too large")
    assert Index.open(filled.path).ids() == ["a", "b", "c", "d", "e", "small"]


# Death at any moment.

WRITER = """
import itertools, os, signal, sys
import smartrt
sys.path.insert(0, sys.argv[2])
from support import embeddings

index = smartrt.Index.open(sys.argv[1])
if sys.argv[3:]:
    import importlib, pathlib
    name, attribute, when = sys.argv[3:]
    owner = pathlib.Path if name == "Path" else importlib.import_module(name)
    original = getattr(owner, attribute)
    def die(*arguments, **options):
        if when == "after":
            original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, attribute, die)
for number in range(len(index), len(index) + 1000):
    index.add([f"{number} {letter}" for letter in "xy"], embeddings([3, 2], seed=number))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def start_writer(index: Index, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, index.path, Path(__file__).parent, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def assert_recovers(index: Index, committed: list[str]) -> Index:
    """Every committed document is there, at most one batch more, and the next add clears what was left."""
    survivor = Index.open(index.path)
    ids = survivor.ids()
    wanted = index.ids() + [f"{number} {letter}" for number in committed for letter in "xy"]
    assert ids[: len(wanted)] == wanted
    assert len(ids) - len(wanted) in (0, 2)
    survivor.check()
    survivor.add([f"after {len(ids)}"], embeddings([1]))
    entries = {path.name for path in survivor.path.iterdir()}
    assert entries == {"index.json", "writer.lock"} | {segment.entry.name for segment in survivor.segments}
    survivor.check()
    return survivor


def test_a_writer_killed_at_a_random_moment_loses_at_most_the_batch_it_was_adding(index, rng):
    for _ in range(15):
        with start_writer(index) as writer:
            committed = [writer.stdout.readline().strip()]
            time.sleep(rng.uniform(0, 0.03))
            writer.kill()
            committed += writer.stdout.read().split()
        index = assert_recovers(index, committed)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_a_writer_killed_at_any_step_leaves_the_index_as_it_was_or_as_it_would_be(filled, module, name, when):
    with start_writer(filled, module.__name__, name, when) as writer:
        assert writer.stdout.read() == ""
    assert writer.returncode == -9
    assert_recovers(filled, [])


# The format. A test that fails here means that indexes on disk can no longer be read: raise FORMAT_VERSION.


def npy(descr: str, shape: str, content: bytes) -> bytes:
    """An array file, format 1.0: magic, header length, a header padded to 128 bytes in all, the numbers."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode().ljust(117) + b"\n" + content


GOLDEN = {
    "pooled.npy": npy("<f4", "(2, 2)", struct.pack("<4f", 0.6, 0.8, 0.0, -1.0)),
    "tokens.npy": npy("<f4", "(3, 2)", struct.pack("<6f", 1.0, 0.0, 0.0, 1.0, 0.8, -0.6)),
    "offsets.npy": npy("<i8", "(3,)", struct.pack("<3q", 0, 2, 3)),
    "truncated.npy": npy("<i8", "(2,)", struct.pack("<2q", 0, 7)),
    "documents.jsonl": '{"id": "a", "meta": null}\n{"id": "ü\\n", "meta": {"page": 1.5}}\n'.encode(),
    "lines.npy": npy("<i8", "(3,)", struct.pack("<3q", 0, 26, 64)),
}
GOLDEN_INDEX = """{
  "bundle": {
    "identity": "%s",
    "name": "tiny"
  },
  "format_version": 1,
  "pooled_dim": 2,
  "segments": [
    {
      "documents": 2,
      "files": {
%s
      },
      "name": "segment-000001",
      "tokens": 3
    }
  ],
  "storage": "float32",
  "token_dim": 2
}
"""


@pytest.fixture
def golden(bundle, tmp_path):
    """An index of two documents of two dimensions."""
    small = Bundle(bundle.path, dataclasses.replace(bundle.manifest, dims=Dims(2, 2)))
    index = Index.create(tmp_path / "golden.index", small)
    pooled = np.array([[3, 4], [0, -2]], np.float32)
    tokens = TokenStates(np.array([[1, 0], [0, 1], [0.8, -0.6]], np.float32), np.array([0, 2, 3]))
    index.add(["a", "ü\n"], Embeddings(pooled, tokens, np.array([0, 7])), [None, {"page": 1.5}])
    return index


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_a_segment_is_these_bytes(golden, name):
    assert (golden.path / "segment-000001" / name).read_bytes() == GOLDEN[name]


def test_a_segment_has_no_other_files(golden):
    assert {path.name for path in (golden.path / "segment-000001").iterdir()} == set(GOLDEN)


def test_the_index_file_is_this_text(golden):
    files = ",\n".join(
        f'        "{name}": {{\n          "bytes": {len(content)},\n'
        f'          "sha256": "{hashlib.sha256(content).hexdigest()}"\n        }}'
        for name, content in sorted(GOLDEN.items())
    )
    expected = GOLDEN_INDEX % (golden.manifest.bundle.identity, files)
    assert (golden.path / "index.json").read_text(encoding="utf-8") == expected
