"""ONNX Runtime with bound memory, without and with recordings: the numbers of the plain engine, from any thread.

Graphs run for real: on ONNX Runtime's CPU provider, whose memory stands for the GPU's (`ort_machine`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

import ort_machine
import smartrt
from ort_machine import feeds_of, same
from smartrt.engines import open_engine, run_checked
from smartrt.engines.base import ResidentEngine, run_resident
from smartrt.engines.ort import open_file
from smartrt.engines.ort_bound import BoundEngine, OrtTensor
from smartrt.errors import EngineError
from support import message_of

TEXTS = ["a", "a text of some words", "sort a list by a key", "", "one two three four five six seven eight nine ten"]
KINDS = {"bound": {}, "recorded": {"cuda_graphs": True}}
GPU = pytest.mark.usefixtures("machine")


@pytest.fixture(params=[False, True], ids=["own memory", "integrated"])
def machine(request, monkeypatch):
    return ort_machine.install(monkeypatch, integrated=request.param)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return smartrt.Bundle.open(tiny_path)


@pytest.fixture(scope="module")
def plain(bundle):
    return open_engine(bundle, "encoder")


# Both kinds.


@GPU
def test_it_is_a_resident_engine(bundle, kind):
    assert isinstance(open_engine(bundle, "encoder", device="cuda", **kind), ResidentEngine)
    assert not isinstance(open_engine(bundle, "encoder"), ResidentEngine)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_an_encoder_on_a_gpu_encodes_what_one_on_the_cpu_does(monkeypatch, tiny_path, kind, device):
    machine = ort_machine.install(monkeypatch, devices=2)
    expected = smartrt.Encoder.open(tiny_path).encode_document(TEXTS, allow_empty=True)
    with smartrt.Encoder.open(tiny_path, device=device, **kind) as encoder:
        for _ in range(3):
            found = encoder.encode_document(TEXTS, allow_empty=True)
            np.testing.assert_allclose(found.pooled, expected.pooled, atol=2e-6)
            np.testing.assert_allclose(found.tokens.values, expected.tokens.values, atol=2e-6)
    assert machine.gpu.live == {}


@GPU
def test_outputs_belong_to_the_caller_and_feeds_are_left_alone(bundle, plain, kind):
    engine, feeds = open_engine(bundle, "encoder", device="cuda", **kind), feeds_of(2, 5)
    expected = plain.run(feeds)
    first = run_checked(engine, feeds)
    same(first, expected)
    engine.run(feeds_of(2, 5, seed=1))
    same(first, expected)
    for array in first.values():
        array[:] = 0
    same(run_checked(engine, feeds), expected)
    for name, array in feeds_of(2, 5).items():
        np.testing.assert_array_equal(feeds[name], array)


@GPU
def test_feeds_need_not_be_contiguous(bundle, plain, kind):
    feeds = {name: np.asfortranarray(array) for name, array in feeds_of(3, 4).items()}
    same(open_engine(bundle, "encoder", device="cuda", **kind).run(feeds), plain.run(feeds_of(3, 4)))


@GPU
def test_memory_of_the_cpu_is_not_written_into_by_a_gpu(bundle, plain, kind):
    engine, feeds = open_engine(bundle, "encoder", device="cuda", **kind), feeds_of(2, 5)
    outputs = plain.run(feeds)
    with pytest.raises(EngineError) as caught:
        engine.run_into(feeds, outputs)
    message_of(caught.value, "for the CPU", "'cuda'")


@GPU
def test_resident_outputs_have_the_numbers_and_the_shape(bundle, plain, kind):
    engine, feeds = open_engine(bundle, "encoder", device="cuda", **kind), feeds_of(2, 5)
    expected = plain.run(feeds)
    tensors = run_resident(engine, feeds)
    for name, array in expected.items():
        found = tensors[name]
        assert found.dtype == array.dtype
        corner = found.numpy()[tuple(map(slice, array.shape))]
        np.testing.assert_allclose(corner, array, rtol=0, atol=2e-6)
        flat = found.reshape((-1, 32))
        assert flat.shape == (found.numpy().size // 32, 32)
        np.testing.assert_array_equal(flat.numpy().ravel(), found.numpy().ravel())
        found.numpy()[:] = 0
        assert found.numpy().any(), "it is a copy"
        with pytest.raises(EngineError) as caught:
            found.reshape((7, 31))
        message_of(caught.value, "(7, 31)")


@GPU
def test_threads_get_their_own_numbers(bundle, plain, kind):
    engine = open_engine(bundle, "encoder", device="cuda", **kind)
    many = [feeds_of(1 + seed % 3, 3 + seed, seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for found, feeds in zip(pool.map(engine.run, many), many, strict=True):
            same(found, plain.run(feeds))


def test_a_closed_engine_says_so_and_closing_twice_is_allowed(machine, bundle, kind):
    engine = open_engine(bundle, "encoder", device="cuda", **kind)
    engine.run(feeds_of(1, 3))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(feeds_of(1, 3))
    assert machine.gpu.live == {}


# Bound alone: on the real ONNX Runtime, nothing between.


def test_the_bound_engine_runs_on_the_real_cpu_provider(tiny_path, plain):
    session = onnxruntime.InferenceSession(str(tiny_path / "encoder.onnx"), providers=["CPUExecutionProvider"])
    engine = BoundEngine(session, "cpu")
    for shape in ((1, 1), (3, 7), (2, 40)):
        same(engine.run(feeds_of(*shape)), plain.run(feeds_of(*shape)))


@GPU
def test_a_resident_tensor_outlives_the_next_run_and_the_engine(tiny_path, plain):
    engine = open_file(tiny_path / "encoder.onnx", "cuda")
    tensors = engine.run_resident(feeds_of(2, 5))
    engine.run(feeds_of(2, 5, seed=1))
    engine.close()
    del engine
    same({name: tensor.numpy() for name, tensor in tensors.items()}, plain.run(feeds_of(2, 5)))


def test_a_tensor_of_its_own_device_is_bound_by_address_and_another_one_is_copied(monkeypatch, bundle):
    machine = ort_machine.install(monkeypatch, devices=2)
    engine = open_engine(bundle, "encoder", device="cuda")
    feeds = feeds_of(1, 4)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(feeds["input_ids"])
    for device, bound in (("cuda", True), ("cuda:1", False)):
        tensor = OrtTensor(value, np.dtype(np.int64), (1, 4), device)
        same(engine.run(feeds | {"input_ids": tensor}), engine.run(feeds))
        assert machine.runs[-2][1] == ({"input_ids": value.data_ptr()} if bound else {})
