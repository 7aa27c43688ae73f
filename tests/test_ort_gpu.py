"""ONNX Runtime on a real GPU: what `ort_machine` only claims."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import smartrt
from ort_machine import CUDA, feeds_of
from smartrt.engines import open_engine
from smartrt.engines.cuda_tensor import CudaTensor
from smartrt.engines.ort_bound import OrtTensor
from smartrt.errors import DeviceError, DeviceMemoryError
from support import message_of

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA"),
]

TEXTS = ["a", "a text of some words", "sort a list by a key", "", "one two three four five six seven eight nine ten"]
KINDS = {"bound": {}, "recorded": {"cuda_graphs": True}}
FAR = 1e-5
"""1 - cosine: float32 on both sides, in another order."""


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return smartrt.Bundle.open(tiny_path)


def near(found: smartrt.Embeddings, expected: smartrt.Embeddings) -> None:
    for ours, theirs in ((found.pooled, expected.pooled), (found.tokens.values, expected.tokens.values)):
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        assert (1 - (ours * theirs).sum(axis=1) / lengths).max() < FAR


def test_texts_encode_as_on_the_cpu_again_and_again(tiny_path, kind):
    expected = smartrt.Encoder.open(tiny_path).encode_document(TEXTS, allow_empty=True)
    with smartrt.Encoder.open(tiny_path, device="cuda", **kind) as encoder:
        for _ in range(4):  # allocated, recorded, replayed
            near(encoder.encode_document(TEXTS, allow_empty=True), expected)


def test_images_encode_as_on_the_cpu_and_stay_on_the_gpu(page_path, kind, monkeypatch):
    from smartrt.export.pictures import picture_items

    items = [*picture_items(None)["document"], "a text alone"]
    expected = smartrt.Encoder.open(page_path).encode_document(items)
    with smartrt.Encoder.open(page_path, device="cuda", **kind) as encoder:
        decoder, fed = encoder.backbone.decoder, set()
        run = decoder.run
        monkeypatch.setattr(decoder, "run", lambda feeds: fed.add(type(feeds["visual"])) or run(feeds))
        for _ in range(3):
            near(encoder.encode_document(items), expected)
        assert fed & {OrtTensor, CudaTensor}, "images went over the host"


def test_recordings_change_no_number(bundle):
    bound = open_engine(bundle, "encoder", device="cuda")
    recorded = open_engine(bundle, "encoder", device="cuda", cuda_graphs=True)
    for seed, shape in enumerate([(1, 3), (1, 32), (3, 20), (1, 3), (4, 45), (3, 20)]):
        feeds = feeds_of(*shape, seed)
        expected = bound.run(feeds)
        for name, array in recorded.run(feeds).items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5)


def test_threads_get_their_own_numbers(bundle, kind):
    plain, engine = open_engine(bundle, "encoder"), open_engine(bundle, "encoder", device="cuda", **kind)
    many = [feeds_of(1 + seed % 3, 3 + seed, seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        for found, feeds in zip(pool.map(engine.run, many), many, strict=True):
            for name, array in plain.run(feeds).items():
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-4)


def test_only_arithmetic_on_shapes_is_on_the_cpu(bundle, kind):
    on_cpu = open_engine(bundle, "encoder", device="cuda", **kind).on_cpu
    assert on_cpu is None or "MatMul" not in on_cpu


def test_a_call_beyond_the_memory_limit_is_a_memory_error_and_the_next_one_runs(bundle):
    engine = open_engine(bundle, "encoder", device="cuda", gpu_memory_mb=8)
    with pytest.raises(DeviceMemoryError) as caught:
        engine.run(feeds_of(4096, 48))
    message_of(caught.value, "gpu_memory_mb")
    assert engine.run(feeds_of(1, 3))["pooled"].shape == (1, 32)


def test_a_gpu_that_is_not_there_is_a_device_error(bundle):
    with pytest.raises(DeviceError):
        open_engine(bundle, "encoder", device="cuda:99")
