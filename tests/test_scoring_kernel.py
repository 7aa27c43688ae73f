"""Late interaction over stored tokens against its definition: every storage, every way through the kernel."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates
from smartrt.engines import ort
from smartrt.errors import EngineError
from smartrt.scoring import graphs, kernel, products, shapes
from smartrt.scoring import tiles as tiles_module
from smartrt.scoring.blas import Blas, find_blas
from smartrt.scoring.kernel import late_scores
from smartrt.scoring.products import Way
from smartrt.scoring.ragged import grouped_rows
from smartrt.scoring.shapes import Shape, shape_for
from smartrt.scoring.storage import DTYPES, store
from smartrt.scoring.stored import late_of
from smartrt.scoring.tiles import RaggedTiles, StoredTiles
from support import unit_rows

TOLERANCE = 2e-6
"""What the docstring of `late_scores` promises."""

STORAGES = st.sampled_from(list(DTYPES))
QUERIES = st.lists(st.integers(1, 70), min_size=1, max_size=5)
DOCUMENTS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
DIMS = st.one_of(st.integers(1, 70), st.sampled_from([128, 384]))
THREADS = st.integers(1, 4)
WAYS = [Way(piece, order) for piece in (None, 1, 2, 8, 24, 128) for order in ("C", "F")] + [Way(onnx=True)]


def states(lengths, *, seed=0, dim=8, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return TokenStates.from_arrays([unit_rows(rng, length, dim).astype(dtype) for length in lengths], dim)


def definition(queries, documents):
    """``(1 / |q|) sum_i max_j <q_i, d_j>`` in float64, one pair at a time; documents are float64 arrays."""
    scores = np.zeros((len(queries), len(documents)))
    for n, query in enumerate(queries):
        for m, document in enumerate(documents):
            scores[n, m] = (query.astype(np.float64) @ document.T).max(axis=1).mean()
    return scores


def rows_of(stored):
    return [stored.exact(i) for i in range(len(stored))]


def check(scores, queries, documents):
    assert scores.dtype == np.float32
    assert scores.shape == (len(queries), len(documents))
    np.testing.assert_allclose(scores, definition(queries, documents), rtol=0, atol=TOLERANCE)


@settings(max_examples=80)
@given(query=QUERIES, document=DOCUMENTS, dim=DIMS, storage=STORAGES, threads=THREADS, seed=st.integers(0, 999))
def test_scores_of_all_stored_documents_are_the_definition(query, document, dim, storage, threads, seed):
    queries, stored = states(query, seed=seed, dim=dim), store(states(document, seed=seed + 1, dim=dim), storage)
    check(late_of(queries, stored, threads=threads), queries, rows_of(stored))


@settings(max_examples=60)
@given(
    query=QUERIES,
    document=DOCUMENTS,
    dim=DIMS,
    storage=STORAGES,
    threads=THREADS,
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_scores_of_chosen_documents_come_in_the_chosen_order(query, document, dim, storage, threads, seed, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, len(document) - 1), max_size=9)), np.int64)
    queries, stored = states(query, seed=seed, dim=dim), store(states(document, seed=seed + 1, dim=dim), storage)
    scores = late_of(queries, stored, chosen, threads=threads)
    check(scores, queries, [stored.exact(int(i)) for i in chosen])


@settings(max_examples=40)
@given(
    query=QUERIES,
    document=DOCUMENTS,
    dim=DIMS,
    threads=THREADS,
    seed=st.integers(0, 999),
    dtypes=st.tuples(*[st.sampled_from([np.float32, np.float16])] * 2),
)
def test_scores_of_a_ragged_array_are_the_definition(query, document, dim, threads, seed, dtypes):
    queries = states(query, seed=seed, dim=dim, dtype=dtypes[0])
    documents = states(document, seed=seed + 1, dim=dim, dtype=dtypes[1])
    rows, starts = grouped_rows(documents.offsets)
    scores = late_scores(queries, RaggedTiles(documents.values, rows), starts, threads=threads)
    check(scores, queries, [each.astype(np.float64) for each in documents])


@settings(max_examples=100)
@given(
    query=QUERIES,
    document=DOCUMENTS,
    storage=STORAGES,
    threads=THREADS,
    ragged=st.booleans(),
    cached=st.booleans(),
    tile=st.integers(1, 5),
    tiles=st.integers(1, 3),
    width=st.integers(1, 80),
    way=st.sampled_from(WAYS),
    limits=st.tuples(*[st.sampled_from([1, 40, 10**9])] * 3),
)
def test_no_way_through_the_kernel_changes_the_scores(
    query, document, storage, threads, ragged, cached, tile, tiles, width, way, limits
):
    """Column blocks, passes over the columns, tasks shorter than a document, products in pieces, staged reads."""
    queries, documents = states(query, dim=12), states(document, seed=1, dim=12)
    stored = store(documents, storage)
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(("_COLUMNS", "_WIDE", "_RELAY"), limits, strict=True):
            patch.setattr(kernel, name, limit)
        patch.setattr(kernel, "shape_for", lambda columns, *_: Shape(way, tile, tile * tiles, min(width, columns)))
        patch.setattr(tiles_module, "cache_size", lambda _: 2 * stored.codes.nbytes if cached else 1)
        if ragged:
            rows, starts = grouped_rows(documents.offsets)
            scores = late_scores(queries, RaggedTiles(documents.values, rows), starts, threads=threads)
            check(scores, queries, [each.astype(np.float64) for each in documents])
        else:
            check(late_of(queries, stored, threads=threads), queries, rows_of(stored))


@pytest.mark.parametrize("storage", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_items_larger_than_every_limit_as_shipped_keep_the_promise(storage, threads):
    """More query tokens than go over the documents together, more columns than a product, a document per task."""
    queries = states([kernel._COLUMNS + 100, 3, 700], dim=6)
    stored = store(states([9000, 1, 5000, 2], seed=1, dim=6), storage)
    check(late_of(queries, stored, threads=threads), queries, rows_of(stored))


@pytest.mark.parametrize("storage", DTYPES)
def test_a_read_that_does_not_fit_the_cache_is_staged_and_equal(storage, monkeypatch):
    stored = store(states([3, 20, 9]), storage)
    assert np.shares_memory(StoredTiles(stored.codes).read(1, 4), stored.codes)
    monkeypatch.setattr(tiles_module, "cache_size", lambda _: 1)
    staged = StoredTiles(stored.codes).read(1, 4)
    assert not np.shares_memory(staged, stored.codes)
    np.testing.assert_array_equal(staged, stored.codes[1:4])


def test_a_memory_map_is_read_like_an_array(tmp_path):
    stored, queries = store(states([3, 20, 9]), "int16"), states([4])
    np.save(tmp_path / "codes.npy", stored.codes)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    scores = [late_scores(queries, StoredTiles(codes), stored.starts, stored.scale) for codes in (stored.codes, mapped)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("storage", DTYPES)
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("query", "document"), [([2, 3], []), ([], [2, 3]), ([], [])], ids=["no document", "no query", "neither"]
)
def test_nothing_scores_as_an_empty_matrix(query, document, storage, threads):
    scores = late_of(states(query), store(states(document), storage), threads=threads)
    assert (scores.shape, scores.dtype) == ((len(query), len(document)), np.float32)


def test_no_chosen_document_gives_no_score():
    stored = store(states([3, 9]), "int8")
    assert late_of(states([2]), stored, np.zeros(0, np.int64), threads=2).shape == (1, 0)


def test_the_mean_of_thousands_of_nearly_equal_matches_does_not_drift():
    token, other = unit_rows(np.random.default_rng(0), 2, 8)
    queries = TokenStates.from_arrays([np.repeat(token[None], 5000, axis=0)])
    stored = store(TokenStates.from_arrays([other[None]]), "float32")
    check(late_of(queries, stored, threads=1), queries, rows_of(stored))


def test_outlier_dimensions_keep_the_promise():
    """What normalised transformer states look like: one dimension holds most of the length."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 64)) * np.where(np.arange(64) == 7, 40, 1)
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    queries = TokenStates(values[:40], np.array([0, 40]))
    for storage in DTYPES:
        stored = store(TokenStates(values[40:], np.arange(0, 261, 20)), storage)
        check(late_of(queries, stored, threads=2), queries, rows_of(stored))


@pytest.mark.parametrize("storage", DTYPES)
def test_several_threads_that_score_at_once_get_their_own_answers(storage):
    asked = [states([5, 60, 3], seed=seed, dim=16) for seed in range(12)]
    held = [store(states([30, 2, 90, 17] * 12, seed=seed + 50, dim=16), storage) for seed in range(3)]

    def ask(number):
        return late_of(asked[number], held[number % 3], threads=1 + number % 3)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(12)))
    for number, answer in enumerate(answers):
        check(answer, asked[number], rows_of(held[number % 3]))


# Shapes, and who multiplies.


@pytest.fixture
def untried():
    """No shape was tried before the test, and none of the test's is remembered."""
    shapes._fastest.cache_clear()
    yield shapes._fastest.cache_info
    shapes._fastest.cache_clear()


@settings(max_examples=100)
@given(
    columns=st.integers(1, kernel._COLUMNS),
    dim=st.integers(1, 4096),
    threads=st.integers(1, 64),
    itemsize=st.sampled_from([1, 4]),
)
def test_shapes_are_whole_and_within_their_limits(columns, dim, threads, itemsize):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_fastest", lambda *_: Way())
        shape = shape_for(columns, dim, threads, itemsize)
    assert shape.tile >= 16
    assert shape.tile * 8 % 128 == 0
    assert shape.task >= shape.tile
    assert shape.task % shape.tile == 0
    assert shape.columns == min(columns, 1024)
    assert shape.way == Way()


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("kernels", ["Haswell", "SkylakeX", None])
def test_a_shape_is_tried_once_in_the_ways_that_there_are(kernels, loaded, untried, monkeypatch):
    blas = find_blas() or Blas("none", lambda: 1, lambda _: None)
    found = kernels and Blas(kernels, blas.get_threads, blas.set_threads)
    asked = set()

    def multiply(tile, block, way, out):
        asked.add(way)
        products.multiply(tile, block, way, out)

    monkeypatch.setattr(shapes, "find_blas", lambda: found)
    monkeypatch.setattr(shapes, "is_at_hand", lambda: loaded)
    monkeypatch.setattr(shapes, "multiply", multiply)
    ways = {shape_for(30, 24).way for _ in range(3)}
    assert untried().misses == len(ways) == 1
    assert shape_for(30, 24, itemsize=1).way == Way()
    allowed = {Way(onnx=True)} if loaded else set()
    allowed |= (
        {Way(piece, order) for piece in (None, 8, 32, 128) for order in "CF"} if kernels == "SkylakeX" else {Way()}
    )
    assert ways <= allowed
    assert asked == (allowed if len(allowed) > 1 else set())


@pytest.mark.usefixtures("untried")
def test_an_onnxruntime_that_cannot_open_the_graph_is_done_without(monkeypatch):
    def fail(*_):
        raise EngineError("too old")

    monkeypatch.setattr(ort, "open_file", fail)
    graphs.open_product.cache_clear()
    try:
        queries, stored = states([3]), store(states([9]), "int16")
        check(late_of(queries, stored, threads=1), queries, rows_of(stored))
    finally:
        graphs.open_product.cache_clear()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("storage", ["int16", "float32"])
def test_each_way_to_multiply_gives_the_same_scores(way, storage, monkeypatch):
    """Tiles of 128 rows, some of them whole and the last one not; float32 lies strided, int16 is laid out anew."""
    monkeypatch.setattr(kernel, "shape_for", lambda columns, *_: Shape(way, 16, 64, columns))
    queries, stored = states([9, 20], dim=16), store(states([130, 3, 60, 8, 250], seed=1, dim=16), storage)
    check(late_of(queries, stored, threads=2), queries, rows_of(stored))


def test_documents_of_every_length_around_a_group_are_whole():
    lengths = [*range(1, 26)]
    queries, stored = states([4]), store(states(lengths, seed=1), "float16")
    check(late_of(queries, stored, threads=1), queries, rows_of(stored))
    for first, last in itertools.pairwise((0, 3, 17, 25)):
        check(late_of(queries, stored, np.arange(first, last), threads=1), queries, rows_of(stored)[first:last])
