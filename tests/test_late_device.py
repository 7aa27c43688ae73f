"""Late scores on a device: the graph, run on the CPU here and on a GPU where there is one, against the definition."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt import TokenStates
from smartrt.errors import DeviceError, EngineError, OptionError
from smartrt.maxsim import maxsim_exact
from smartrt.scoring import device
from smartrt.scoring.device import DeviceScorer, check_late_device, late_on
from smartrt.scoring.storage import DTYPES, store
from smartrt.scoring.stored import late_of
from support import message_of, unit_rows

TOLERANCE = 2e-6
"""What the float32 of the CPU promises too."""

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
STORAGES = list(DTYPES)


@functools.cache
def graph(storage):
    """The graph of the GPU on the CPU."""
    return DeviceScorer.open(storage, "cpu")


def states(lengths, *, seed=0, dim=8):
    rng = np.random.default_rng(seed)
    return TokenStates.from_arrays([unit_rows(rng, length, dim) for length in lengths], dim)


def check(scorer, queries, stored, chosen=None):
    """Scores are those of `maxsim_exact` of what is stored, and those of the CPU's path."""
    scores = scorer(queries, stored, chosen, threads=1)
    documents = range(len(stored)) if chosen is None else chosen
    wanted = [[maxsim_exact(query.astype(np.float64), stored.exact(i)) for i in documents] for query in queries]
    assert scores.dtype == np.float32
    assert scores.shape == (len(queries), len(documents))
    np.testing.assert_allclose(scores, np.reshape(wanted, scores.shape), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(scores, late_of(queries, stored, chosen, threads=1), rtol=0, atol=TOLERANCE)


@settings(max_examples=60)
@given(
    queries=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    documents=st.lists(st.sampled_from([1, 2, 7, 8, 9, 40, 130]), min_size=1, max_size=9),
    dim=st.one_of(st.integers(1, 70), st.just(384)),
    storage=st.sampled_from(STORAGES),
    chosen=st.one_of(st.none(), st.lists(st.integers(0, 8), max_size=12)),
    sent=st.sampled_from([1, 3000, 1 << 24]),
    widest=st.sampled_from([1, 5, 1024]),
    seed=st.integers(0, 999),
)
def test_scores_are_those_of_the_definition(queries, documents, dim, storage, chosen, sent, widest, seed):
    stored = store(states(documents, seed=seed, dim=dim), storage)
    some = None if chosen is None else np.array([i for i in chosen if i < len(documents)], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_SENT", sent)
        patch.setattr(device, "_WIDEST", widest)
        check(graph(storage), states(queries, seed=seed + 1, dim=dim), stored, some)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("queries", "documents"),
    [
        pytest.param([3], [1] * 20, id="documents of one token"),
        pytest.param([1], [5, 9, 300], id="a query of one token"),
        pytest.param([4], [1, 4000, 1], id="lengths far apart"),
        pytest.param([2100, 30], [20, 3], id="more query tokens than go at a time"),
        pytest.param([], [3], id="no query"),
        pytest.param([3], [], id="no document"),
    ],
)
def test_every_storage_scores_sets_of_every_shape(storage, queries, documents):
    check(graph(storage), states(queries, seed=1), store(states(documents), storage))


@pytest.mark.parametrize("storage", STORAGES)
def test_equal_documents_score_the_same_wherever_they_lie(storage):
    stored = store(states([9, 30]).take([0, 1, 0, 1, 0]), storage)
    ((first, second, *others),) = graph(storage)(states([6], seed=1), stored, threads=1)
    assert others == pytest.approx([first, second, first], abs=2e-7)


@pytest.mark.parametrize("storage", STORAGES)
def test_the_largest_numbers_that_are_stored_are_widened_exactly(storage):
    largest = {"float16": 65504.0, "float32": 1e30}.get(storage, 1.0)
    rows = np.array([[largest, 0], [-largest, 0], [0, largest / 3]], np.float32)
    stored = store(TokenStates.from_arrays([rows[:1], rows[1:], rows]), storage)
    query = TokenStates.from_arrays([np.eye(2, dtype=np.float32)[:1]])
    wanted = [stored.exact(i)[:, 0].max() for i in range(3)]
    np.testing.assert_allclose(graph(storage)(query, stored, threads=1)[0], wanted, rtol=1e-6, atol=0)


# What an engine is given.


class Recorder:
    """The engine of a scorer, and what it was fed; products may come out with fewer bits than float32."""

    def __init__(self, storage, bits=23):
        self.engine, self.bits, self.fed, self.running = graph(storage)._engine, bits, [], 0
        self.inputs = self.engine.inputs

    def run(self, feeds):
        self.running += 1
        assert self.running == 1, "two calls at a time"
        self.fed.append({name: array.shape for name, array in feeds.items()})
        rounded = {name: self.rounded(array) if array.dtype == np.float32 else array for name, array in feeds.items()}
        outputs = self.engine.run(rounded)
        self.running -= 1
        return outputs

    def rounded(self, array):
        """To fewer bits of a fraction, as tensor cores do it to nearest."""
        if self.bits == 23:
            return array
        fraction, exponent = np.frexp(array)
        return np.ldexp(np.rint(np.ldexp(fraction, self.bits + 1)), exponent - self.bits - 1).astype(np.float32)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_huge_document_goes_in_pieces_of_bounded_memory(storage, monkeypatch):
    monkeypatch.setattr(device, "_HELD", 64 << 10)
    engine, dim = Recorder(storage), 16
    check(DeviceScorer(engine, "cpu"), states([20], seed=1, dim=dim), store(states([20_000, 3], dim=dim), storage))
    trial, *calls = engine.fed
    assert trial["codes"] == (64, 8, dim)
    assert len(calls) > 40
    for call in calls:
        groups, columns = call["codes"][0], call["query"][1]
        assert 4 * 8 * groups * (dim + columns) <= 64 << 10


@pytest.mark.parametrize("storage", STORAGES)
def test_the_stored_numbers_of_a_call_are_bounded_and_a_set_that_fits_goes_at_once(storage, monkeypatch):
    engine, stored = Recorder(storage), store(states([100] * 30, dim=16), storage)
    scorer = DeviceScorer(engine, "cpu")
    scorer(states([20], dim=16), stored, threads=4)
    assert len(engine.fed) == 2  # the trial, and all documents
    monkeypatch.setattr(device, "_SENT", 4096)
    scorer(states([20], dim=16), stored, threads=4)
    assert {np.prod(call["codes"]) * stored.codes.itemsize <= 4096 for call in engine.fed[2:]} == {True}


def test_threads_take_turns():
    engine, stored = Recorder("float32"), store(states([50] * 9), "float32")
    scorer = DeviceScorer(engine, "cpu")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: scorer(states([5], seed=seed), stored, threads=1), range(20)))
    for seed, scores in enumerate(found):
        np.testing.assert_array_equal(scores, scorer(states([5], seed=seed), stored, threads=1))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dim", [1, 8, 128, 2048])
def test_tf32_and_float16_products_are_refused_and_float32_ones_are_not(storage, dim):
    queries, stored = states([3], dim=dim), store(states([5], seed=1, dim=dim), storage)
    for bits in (10, 7):
        with pytest.raises(DeviceError) as caught:
            DeviceScorer(Recorder(storage, bits), "cuda:1")(queries, stored, threads=1)
        message_of(caught.value, "'cuda:1'", "TF32", "NVIDIA_TF32_OVERRIDE=0")
    check(DeviceScorer(Recorder(storage), "cuda:1"), queries, stored)


def test_the_arithmetic_is_tried_once_for_each_dim():
    engine = Recorder("int8")
    scorer = DeviceScorer(engine, "cpu")
    for dim in (8, 8, 24, 8):
        scorer(states([2], dim=dim), store(states([3], dim=dim), "int8"), threads=1)
    assert [call["codes"] for call in engine.fed].count((64, 8, 8)) == 1
    assert len(engine.fed) == 4 + 2


def test_a_closed_scorer_says_so():
    scorer = DeviceScorer.open("int8", "cpu")
    scorer.close()
    with pytest.raises(EngineError) as caught:
        scorer(states([2]), store(states([3]), "int8"), threads=1)
    message_of(caught.value, "closed")


# Names of devices.


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:12", "auto"])
def test_devices_that_late_interaction_knows(name):
    assert check_late_device(name) == name


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:0", "cuda:٣", "cuda\n", 0, None]
)
def test_other_devices_are_refused_in_one_line(name):
    with pytest.raises(OptionError) as caught:
        check_late_device(name)
    message_of(caught.value, "cpu, cuda, cuda:N or auto", repr(name))


def test_the_cpu_is_the_path_that_was_there():
    assert late_on("cpu", "int16") is late_of


# On a GPU.


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="this build of ONNX Runtime has no CUDA")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dim", [8, 128, 384, 2048])
def test_a_gpu_scores_by_the_definition(storage, dim):
    scorer = late_on("cuda", storage)
    for queries, documents in ([1], [1, 700, 3]), ([32, 5], [50] * 40), ([1100], [9, 1]):
        check(scorer, states(queries, seed=1, dim=dim), store(states(documents, dim=dim), storage))
