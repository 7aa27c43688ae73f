"""ONNX Runtime in buckets that are recorded, and images on their way from the vision graph to the decoder.

Graphs run for real: on ONNX Runtime's CPU provider, whose memory stands for the GPU's (`ort_machine`).
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import ort_machine
import smartrt
from ort_machine import feeds_of, same
from smartrt.engines import open_engine
from smartrt.engines.cuda_tensor import CudaTensor
from smartrt.engines.ort_bound import OrtTensor
from smartrt.errors import DeviceMemoryError, EngineError
from support import message_of

GPU = pytest.mark.usefixtures("machine")
KINDS = {"bound": {}, "recorded": {"cuda_graphs": True}}


@pytest.fixture(params=[False, True], ids=["own memory", "integrated"])
def machine(request, monkeypatch):
    return ort_machine.install(monkeypatch, integrated=request.param)


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return smartrt.Bundle.open(tiny_path)


@pytest.fixture(scope="module")
def plain(bundle):
    return open_engine(bundle, "encoder")


@pytest.fixture
def recorded(machine, bundle):  # noqa: ARG001  (it must be there before the engine)
    with_buckets = open_engine(bundle, "encoder", device="cuda", cuda_graphs=True, max_length=64, batch_tokens=128)
    yield with_buckets
    with_buckets.close()


def test_shapes_are_padded_to_buckets_and_each_has_a_number(machine, recorded, plain):
    shapes = [(1, 3), (1, 30), (1, 40), (2, 3), (3, 4), (4, 32), (1, 9)]
    for shape in shapes:
        same(recorded.run(feeds_of(*shape)), plain.run(feeds_of(*shape)))
    assert [number for number, _ in machine.runs] == ["1", "1", "2", "3", "4", "4", "1"]


def test_addresses_never_change(machine, recorded):
    for shape in ((1, 3), (4, 32), (2, 45), (1, 3)):
        recorded.run(feeds_of(*shape))
    assert len({tuple(places.items()) for _, places in machine.runs}) == 1
    assert set(machine.runs[0][1]) == {"input_ids", "attention_mask", "token_type_ids", "pooled", "token_states"}


def test_what_a_larger_call_left_behind_is_not_read(recorded, plain):
    recorded.run(feeds_of(4, 32))
    same(recorded.run(feeds_of(3, 5)), plain.run(feeds_of(3, 5)))


def test_without_padding_with_zeros_numbers_would_differ(recorded, plain, monkeypatch):
    monkeypatch.setattr("smartrt.engines.bucket_memory.fill", lambda target, _: target.fill(1))
    with pytest.raises(AssertionError):
        same(recorded.run(feeds_of(3, 5)), plain.run(feeds_of(3, 5)))


def test_a_call_beyond_the_last_bucket_says_what_to_do(recorded):
    with pytest.raises(EngineError) as caught:
        recorded.run(feeds_of(1, 49))
    message_of(caught.value, "'length' is 49", "max_length")


def test_a_session_that_replays_for_other_addresses_shows(machine, recorded):
    recorded.run(feeds_of(1, 3))
    (session,) = machine.sessions
    session._recordings["1"] = {}
    with pytest.raises(EngineError, match="replayed with other"):
        recorded.run(feeds_of(1, 3))


def test_buffers_that_do_not_fit_are_given_back(monkeypatch, bundle):
    machine = ort_machine.install(monkeypatch, memory=1 << 16)
    engine = open_engine(bundle, "encoder", device="cuda", cuda_graphs=True)
    for _ in range(2):
        with pytest.raises(DeviceMemoryError):
            engine.run(feeds_of(1, 3))
        assert machine.gpu.live == {"stream": 1}
    engine.close()
    assert machine.gpu.live == {}


# From the vision graph to the decoder.


@pytest.fixture(scope="module")
def pages(page_path):
    from smartrt.export.pictures import picture_items

    return page_path, [*picture_items(None)["document"], "a text alone"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_images_go_from_graph_to_graph_on_the_device(machine, pages, kind, monkeypatch):
    path, items = pages
    with smartrt.Encoder.open(path) as encoder:
        expected = encoder.encode_document(items)
    with smartrt.Encoder.open(path, device="cuda", **kind) as encoder:
        decoder, fed = encoder.backbone.decoder, set()
        run = decoder.run
        monkeypatch.setattr(decoder, "run", lambda feeds: fed.add(type(feeds["visual"])) or run(feeds))
        for _ in range(2):
            found = encoder.encode_document(items)
            np.testing.assert_allclose(found.pooled, expected.pooled, atol=1e-5)
            np.testing.assert_allclose(found.tokens.values, expected.tokens.values, atol=1e-5)
        assert (CudaTensor if kind else OrtTensor) in fed, "images went over the host"
    assert machine.gpu.live == {}


@GPU
def test_what_one_kind_left_on_the_device_the_other_kind_takes(bundle, plain):
    feeds = feeds_of(1, 4)
    first = open_engine(bundle, "encoder", device="cuda")
    second = open_engine(bundle, "encoder", device="cuda", cuda_graphs=True)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(feeds["input_ids"])
    tensor = OrtTensor(value, np.dtype(np.int64), (1, 4), "cuda")
    for engine in (first, second):
        same(engine.run(feeds | {"input_ids": tensor}), plain.run(feeds))
