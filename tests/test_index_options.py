"""How an index keeps its vectors: options that do not fit are refused, pooling and projection do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from indexes import STORAGES, assert_true_top, by_definition, fill, listing
from smartrt import Bundle, Embeddings, Index, IndexOptions
from smartrt.compression.projection import fit_projection, project
from smartrt.compression.ward import pool_tokens
from smartrt.errors import InputError, OptionError
from support import embeddings, message_of

QUERIES = embeddings([3, 1], seed=9)
PCA = IndexOptions(projection="pca", dim=8)


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture
def make(bundle, tmp_path):
    return lambda options=None: Index.create(tmp_path / "docs.index", bundle, options)


NONSENSE = {
    "unknown storage": ({"storage": "int4"}, "int4"),
    "no storage": ({"storage": None}, "None"),
    "no pooling": ({"pooling": 0}, "0"),
    "too much pooling": ({"pooling": 65}, "65"),
    "pooling as a bool": ({"pooling": True}, "True"),
    "pooling as a float": ({"pooling": 2.0}, "2.0"),
    "pooling as a text": ({"pooling": "2"}, "'2'"),
    "unknown projection": ({"projection": "umap", "dim": 8}, "umap"),
    "projection without dim": ({"projection": "pca"}, "go together"),
    "dim without projection": ({"dim": 8}, "go together"),
    "dim 0": ({"projection": "pca", "dim": 0}, "0"),
    "dim negative": ({"projection": "pca", "dim": -3}, "-3"),
    "dim as a bool": ({"projection": "pca", "dim": True}, "True"),
    "dim as a float": ({"projection": "pca", "dim": 8.0}, "8.0"),
}


@pytest.mark.parametrize(("options", "mentions"), NONSENSE.values(), ids=NONSENSE)
def test_options_that_cannot_be_are_refused(options, mentions):
    with pytest.raises(OptionError) as caught:
        IndexOptions(**options)
    message_of(caught.value, mentions)


def test_a_storage_that_cannot_be_a_key_is_refused():
    with pytest.raises(OptionError):
        IndexOptions(storage=["int16"])


def test_options_of_another_kind_are_refused(make):
    with pytest.raises((OptionError, InputError)):
        make({"storage": "int8"})


def test_more_dimensions_than_the_bundle_has_are_refused_and_nothing_is_made(make, tmp_path):
    with pytest.raises(InputError) as caught:
        make(IndexOptions(projection="pca", dim=33))
    message_of(caught.value, "33", "32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", STORAGES)
def test_options_are_remembered(make, storage):
    options = IndexOptions(storage, 2, "orthogonal", 8)
    index = fill(make(options))
    assert Index.open(index.path).manifest.options == options
    assert index.segments[0].documents.tokens.storage == storage
    assert index.segments[0].documents.tokens.dim == 8
    assert_true_top(index, QUERIES, 3)


def test_the_storage_is_int16_unless_said_otherwise(make):
    assert make().manifest.options == IndexOptions("int16", 1, None, None)


@pytest.mark.parametrize(("storage", "width"), [("int16", 2), ("int8", 1), ("float16", 2), ("float32", 4)])
def test_a_number_takes_as_many_bytes_as_its_storage_says(make, storage, width):
    index = make(IndexOptions(storage))
    index.add(["a"], embeddings([800]))
    assert (index.path / "segment-000001" / "codes.npy").stat().st_size == 128 + 800 * 32 * width


# Pooling.


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_pooling_leaves_fewer_tokens(make, factor):
    index, documents = make(IndexOptions("float32", pooling=factor)), embeddings([10, 1, 3, 16])
    index.add(list("abcd"), documents)
    assert index.segments[0].lengths.tolist() == [-(-n // factor) for n in (10, 1, 3, 16)]
    assert Index.open(index.path).tokens == index.segments[0].lengths.sum()
    wanted = documents.tokens if factor == 1 else pool_tokens(documents.tokens, factor)
    for row, rows in enumerate(wanted):
        stored = index.segments[0].documents.tokens.exact(row)
        np.testing.assert_array_equal(stored[: len(rows)], rows.astype(np.float64))
        np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, rtol=0, atol=1e-6)
    assert_true_top(index, QUERIES, 4)


# Projection.


@pytest.mark.parametrize("method", ["pca", "orthogonal"])
def test_queries_of_the_encoders_dims_are_projected_as_the_documents_were(make, method):
    index, documents = make(IndexOptions("float32", projection=method, dim=8)), embeddings([10, 4])
    assert index.in_store(QUERIES) is QUERIES  # there is no matrix yet
    index.add(["a", "b"], documents)
    matrix = fit_projection(documents.tokens, method, 8)
    np.testing.assert_array_equal(np.load(index.path / "projection.npy"), matrix)
    asked = index.in_store(QUERIES)
    np.testing.assert_array_equal(asked.tokens.values, project(QUERIES.tokens, matrix).values)
    np.testing.assert_array_equal(asked.pooled, QUERIES.pooled)
    assert index.search(QUERIES, k=2) == index.search(asked, k=2) == Index.open(index.path).search(QUERIES, k=2)
    assert_true_top(index, QUERIES, 2)
    stored = project(documents.tokens, matrix)
    late = [max(float(q @ d) for d in stored[0].astype(np.float64)) for q in asked.tokens[0].astype(np.float64)]
    assert by_definition(index, QUERIES)[0][0][2] == pytest.approx(np.mean(late), abs=1e-6)
    with pytest.raises(InputError) as caught:
        index.search(embeddings([1], dim=16))
    message_of(caught.value, "16")


def test_queries_are_projected_once(make):
    index = fill(make(IndexOptions(projection="orthogonal", dim=31)))
    assert index.search(index.in_store(QUERIES), k=2) == index.search(QUERIES, k=2)


def test_a_pca_is_fitted_to_the_first_batch_and_kept(make):
    index = make(PCA)
    index.add(["a", "b"], embeddings([10, 4], seed=1))
    content = (index.path / "projection.npy").read_bytes()
    first = index.search(QUERIES, k=2)
    index.add(["c"], embeddings([30], seed=2))
    reopened = Index.open(index.path)
    reopened.add(["d"], embeddings([30], seed=3))
    reopened.delete(["a", "b", "c"])
    reopened.compact()
    reopened.add(["a", "b"], embeddings([10, 4], seed=1))
    assert (index.path / "projection.npy").read_bytes() == content
    reopened.delete(["d"])
    for row, wanted in zip(reopened.search(QUERIES, k=2), first, strict=True):
        assert [hit.id for hit in row] == [hit.id for hit in wanted]
        assert [hit.score for hit in row] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
    reopened.check()


def test_a_pca_keeps_what_lies_in_few_dimensions(make, rng):
    plane, _ = np.linalg.qr(rng.normal(size=(32, 8)))
    inside = embeddings([20, 7, 5], dim=8)
    flat = np.ascontiguousarray(inside.tokens.values @ plane.T, np.float32)
    documents = embeddings([20, 7, 5])
    documents.tokens.values[:] = flat
    index = make(IndexOptions("float32", projection="pca", dim=8))
    index.add(["a", "b", "c"], documents)
    asked = Embeddings(QUERIES.pooled[:1], documents.tokens.take([1]), QUERIES.truncated[:1])
    for hit in index.search(asked, k=3)[0]:
        rows = documents.tokens["abc".index(hit.id)].astype(np.float64)
        assert hit.late == pytest.approx((documents.tokens[1] @ rows.T).max(axis=1).mean(), abs=1e-5)


def test_too_few_tokens_for_a_pca_are_refused_and_leave_nothing(make):
    index = make(PCA)
    before = listing(index.path)
    for batch in (embeddings([7]), embeddings([3, 4])):
        with pytest.raises(OptionError) as caught:
            index.add([f"{i}" for i in range(len(batch))], batch)
        message_of(caught.value, "7 token vectors", "at least 8", "orthogonal")
        assert listing(index.path) == before
    index.add(["a"], embeddings([8]))
    index.add(["b"], embeddings([1]))  # the matrix is there
    assert Index.open(index.path).ids() == ["a", "b"]


def test_documents_of_the_stored_dims_are_refused(make):
    index = make(PCA)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            index.add(["x"], Embeddings(QUERIES.pooled[:1], embeddings([9], dim=8).tokens, QUERIES.truncated[:1]))
        message_of(caught.value, "8", "32")
        index.add([f"{len(index)}"], embeddings([9]))
