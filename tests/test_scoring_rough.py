"""The first pass in 8 bits: its bound holds, its graph is the one that is built here, and it is used where it pays."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates
from smartrt.engines.ort import OrtOptions, open_file
from smartrt.errors import EngineError
from smartrt.scoring import kernel, rough
from smartrt.scoring.products import Way
from smartrt.scoring.rough import pays
from smartrt.scoring.shapes import Shape
from smartrt.scoring.storage import LARGEST, store
from smartrt.scoring.stored import rough_of
from support import message_of, run_python

STORAGES = st.sampled_from(list(LARGEST))
ROOT = Path(__file__).parents[1]
GRAPH = ROOT / "runtime" / "scoring" / "rough.onnx"


@pytest.fixture
def fresh():
    """No engine and no timing is remembered, before the test and after it."""
    for tried in (False, True):
        rough._engine.cache_clear()
        rough._faster.cache_clear()
        if not tried:
            yield


def vectors(rng, lengths, dim, kind, size):
    """Items of vectors about `size` long of one kind."""
    rows = rng.normal(size=(sum(lengths), dim))
    if kind == "outlier":
        rows[:, rng.integers(dim)] *= 100
    elif kind == "anisotropic":
        rows *= 10 ** rng.uniform(-3, 1, dim)
    elif kind == "sparse":
        rows *= rng.random(rows.shape) < 0.2
    elif kind == "alike":
        rows = rows[:1] + 0.01 * rows
    elif kind == "one-hot":
        rows = np.eye(dim)[rng.integers(dim, size=len(rows))]
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return TokenStates((rows * size).astype(np.float32), np.cumsum([0, *lengths]))


def definition(queries, stored):
    """Scores of the stored vectors in float64."""
    rows = [stored.exact(i) for i in range(len(stored))]
    pairs = [[(query.astype(np.float64) @ each.T).max(axis=1).mean() for each in rows] for query in queries]
    return np.array(pairs).reshape(len(queries), len(stored))


def check(found, queries, stored):
    assert (found.scores.dtype, found.bounds.dtype) == (np.float32, np.float32)
    assert found.scores.shape == found.bounds.shape == (len(queries), len(stored))
    off = np.abs(found.scores.astype(np.float64) - definition(queries, stored))
    assert (off <= found.bounds).all(), f"off by {off.max()}, bound {found.bounds.min()}"


KINDS = st.sampled_from(["isotropic", "outlier", "anisotropic", "sparse", "alike", "one-hot"])


@settings(max_examples=150)
@given(
    query=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    document=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    dim=st.one_of(st.integers(1, 70), st.just(384)),
    storage=STORAGES,
    kinds=st.tuples(KINDS, KINDS),
    sizes=st.tuples(st.sampled_from([1e-9, 0.1, 1.0, 20.0]), st.sampled_from([1e-9, 0.1, 1.0])),
    threads=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_no_score_is_further_off_than_its_bound(query, document, dim, storage, kinds, sizes, threads, seed):
    rng = np.random.default_rng(seed)
    queries = vectors(rng, query, dim, kinds[0], sizes[0])
    stored = store(vectors(rng, document, dim, kinds[1], sizes[1]), storage)
    check(rough_of(queries, stored, threads=threads), queries, stored)


@pytest.mark.parametrize("storage", LARGEST)
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_the_bound_holds_for_queries_of_any_length(storage, size):
    """One-hot queries: their integers are exact, and what is left is the rounding to float32."""
    rng = np.random.default_rng(0)
    queries = vectors(rng, [3], 32, "one-hot", size)
    codes = rng.integers(-120, 120, (40, 32)) * (1 if storage == "int8" else 256) + (storage == "int16") * 128
    scale = np.full(32, 0.007 if storage == "int8" else 0.007 / 256, np.float32)
    tokens = TokenStates((codes * scale).astype(np.float32), np.arange(41))
    stored = store(tokens, storage, scale)
    check(rough_of(queries, stored, threads=1), queries, stored)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 999),
    storage=STORAGES,
    tile=st.integers(1, 4),
    width=st.integers(1, 30),
    limit=st.sampled_from([1, 20, 2048]),
    threads=st.integers(1, 3),
)
def test_blocks_passes_and_tasks_change_no_score(seed, storage, tile, width, limit, threads):
    rng = np.random.default_rng(seed)
    queries = vectors(rng, [12, 30, 1], 24, "isotropic", 1)
    stored = store(vectors(rng, [50, 1, 9, 8, 20], 24, "isotropic", 1), storage)
    whole = rough_of(queries, stored, threads=1)

    def shape(columns, *_, **__):
        return Shape(Way(), tile, 2 * tile, min(width, columns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_COLUMNS", limit)
        patch.setattr(rough, "shape_for", shape)
        cut = rough_of(queries, stored, threads=threads)
    np.testing.assert_array_equal(cut.scores, whole.scores)
    check(cut, queries, stored)


@pytest.mark.parametrize("storage", LARGEST)
def test_the_bound_of_unit_vectors_is_small_enough_to_be_of_use(storage):
    rng = np.random.default_rng(0)
    queries, documents = (vectors(rng, [20] * 5, 128, "isotropic", 1) for _ in range(2))
    assert rough_of(queries, store(documents, storage), threads=1).bounds.max() < 0.03


@pytest.mark.parametrize("storage", LARGEST)
def test_codes_at_both_ends_are_multiplied_exactly(storage):
    """The largest codes of both signs against a query whose integers are the largest too."""
    scale = np.full(16, 1e-3, np.float32)
    rows = np.array([[1] * 16, [-1] * 16, [1, -1] * 8], np.float32) * scale * np.float32(LARGEST[storage])
    stored = store(TokenStates.from_arrays([rows[:1], rows[1:2], rows]), storage, scale)
    queries = TokenStates.from_arrays([np.full((1, 16), 0.25, np.float32), np.full((1, 16), -0.25, np.float32)])
    check(rough_of(queries, stored, threads=1), queries, stored)


@pytest.mark.parametrize(("query", "document"), [([], [3, 1]), ([2], []), ([], [])], ids=["no query", "no doc", "none"])
def test_nothing_scores_as_an_empty_matrix(query, document):
    rng = np.random.default_rng(0)
    stored = store(vectors(rng, document, 8, "isotropic", 1), "int8")
    found = rough_of(vectors(rng, query, 8, "isotropic", 1), stored, threads=2)
    assert found.scores.shape == found.bounds.shape == (len(query), len(document))


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_float_storages_have_no_first_pass(storage):
    tokens = vectors(np.random.default_rng(0), [3], 8, "isotropic", 1)
    assert rough_of(tokens, store(tokens, storage), threads=1) is None


# The graph and the processor.


def test_the_committed_graphs_are_those_that_are_built():
    spec = importlib.util.spec_from_file_location("make_products", ROOT / "tests" / "data" / "make_products.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    built = {f"{name}.onnx": make().SerializeToString(deterministic=True) for name, make in module.GRAPHS.items()}
    assert built == {path.name: path.read_bytes() for path in GRAPH.parent.glob("*.onnx")}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("storage", LARGEST)
def test_processors_that_saturate_get_smaller_query_integers(storage, monkeypatch):
    asked = []
    monkeypatch.setattr(rough, "_exact", lambda _, level: asked.append(level) or level == 64)
    assert rough._engine()[1] == 64
    assert asked == [127, 64]
    rng = np.random.default_rng(3)
    queries = vectors(rng, [9, 30], 40, "isotropic", 1)
    stored = store(vectors(rng, [50, 1, 9], 40, "outlier", 1), storage)
    check(rough_of(queries, stored, threads=2), queries, stored)


@pytest.mark.usefixtures("fresh")
def test_a_processor_that_multiplies_nothing_exactly_gets_no_first_pass(monkeypatch):
    monkeypatch.setattr(rough, "_exact", lambda *_: False)
    tokens = vectors(np.random.default_rng(0), [400, 4000], 8, "isotropic", 1)
    stored = store(tokens, "int16")
    assert rough_of(tokens, stored, threads=1) is None
    assert not pays(tokens, stored)


class Saturating:
    """Two products at a time added in 16 bits, as AVX2 does it, and the offset taken away afterwards."""

    def run(self, feeds):
        codes, query = (feeds[name].astype(np.int64) for name in ("codes", "query"))
        pairs = codes[:, 0::2, None] * query[None, 0::2] + codes[:, 1::2, None] * query[None, 1::2]
        return {"products": np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1) - 128 * query.sum(axis=0)}


def test_saturation_is_noticed_at_127_and_does_not_happen_at_64():
    assert not rough._exact(Saturating(), 127)
    assert rough._exact(Saturating(), 64)


@pytest.mark.usefixtures("fresh")
def test_this_processor_is_tried_and_scores_come_out_right_if_it_passes():
    engine, level = rough._engine()
    assert level in rough._LEVELS
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (64, 512)).astype(np.uint8)
    query = rng.integers(-level, level + 1, (512, 16)).astype(np.int8)
    wanted = (codes.astype(np.int64) - 128) @ query.astype(np.int64)
    np.testing.assert_array_equal(engine.run({"codes": codes, "query": query})["products"], wanted)


def test_without_onnxruntime_there_is_no_first_pass_and_no_error():
    result = run_python("""
import sys
sys.modules["onnxruntime"] = None
import numpy as np
from smartrt import TokenStates
from smartrt.scoring.rough import pays
from smartrt.scoring.storage import store
from smartrt.scoring.stored import rough_of
tokens = TokenStates(np.ones((9000, 8), np.float32), np.arange(0, 9001, 100))
stored = store(tokens, "int8")
print(rough_of(tokens, stored, threads=2), pays(tokens, stored))
""")
    assert (result.returncode, result.stdout.split()) == (0, ["None", "False"]), result.stderr


# Writing into arrays that are there.


def feeds(rows=5, dim=12, columns=3):
    rng = np.random.default_rng(0)
    codes, query = rng.integers(0, 256, (rows, dim)), rng.integers(-127, 128, (dim, columns))
    return {"codes": codes.astype(np.uint8), "query": query.astype(np.int8)}


@pytest.mark.parametrize("rows", [0, 1, 5, 700])
def test_run_into_writes_what_run_returns(rows):
    engine, given = open_file(GRAPH, "cpu", OrtOptions(threads=1)), feeds(rows)
    products = np.full((rows, 3), 7, np.int32)
    engine.run_into(given, {"products": products})
    np.testing.assert_array_equal(products, engine.run(given)["products"])


def test_run_into_refuses_a_closed_engine():
    engine = open_file(GRAPH)
    engine.close()
    with pytest.raises(EngineError) as caught:
        engine.run_into(feeds(), {"products": np.zeros((5, 3), np.int32)})
    message_of(caught.value, "closed")


def test_run_into_refuses_an_output_of_another_type():
    with pytest.raises(EngineError) as caught:
        open_file(GRAPH).run_into(feeds(), {"products": np.zeros((5, 3), np.float32)})
    message_of(caught.value, "float")


@pytest.mark.parametrize("side", ["feeds", "outputs"])
def test_run_into_refuses_a_name_that_the_graph_does_not_have(side):
    given, outputs = feeds(), {"products": np.zeros((5, 3), np.int32)}
    (given if side == "feeds" else outputs)["other"] = np.zeros((5, 3), np.int32)
    with pytest.raises(EngineError):
        open_file(GRAPH).run_into(given, outputs)


def test_run_into_refuses_memory_that_is_not_contiguous():
    outputs = {"products": np.zeros((3, 5), np.int32).T}
    with pytest.raises(EngineError) as caught:
        open_file(GRAPH).run_into(feeds(), outputs)
    message_of(caught.value, "contiguous")
    assert not outputs["products"].any()


# Where it pays.


@pytest.mark.parametrize(
    ("storage", "tokens", "groups"),
    [("int16", 8, 512), ("int8", 8, 512), ("float16", 8, 512), ("int16", 7, 512), ("int16", 8, 511)],
)
def test_it_pays_for_enough_integers_where_bytes_are_faster(storage, tokens, groups, monkeypatch):
    rng = np.random.default_rng(0)
    queries = vectors(rng, [tokens], 4, "isotropic", 1)
    stored = store(vectors(rng, [8] * groups, 4, "isotropic", 1), storage)
    monkeypatch.setattr(rough, "_faster", lambda *_: True)
    assert pays(queries, stored) is (storage != "float16" and (tokens, groups) == (8, 512))
    monkeypatch.setattr(rough, "_faster", lambda *_: False)
    assert pays(queries, stored) is False


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("seconds", "faster"), [(0.7, True), (0.9, False), (2.0, False)])
def test_bytes_are_faster_when_they_take_less_than_four_fifths(seconds, faster, monkeypatch):
    steps = iter([step for _ in range(5) for step in (0.0, 1.0, 0.0, seconds)])
    monkeypatch.setattr(rough, "time", SimpleNamespace(perf_counter=lambda: next(steps)))
    assert rough._faster(np.dtype(np.int8), False) is faster
    assert rough._faster(np.dtype(np.int8), False) is faster  # measured once: the clock has no more steps
