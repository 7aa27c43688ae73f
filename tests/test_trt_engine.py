"""The TensorRT engine on a GPU and a TensorRT that are fakes: buckets, copies, recordings, and what can go wrong."""

from __future__ import annotations

import gc
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpu_machine
import smartrt
from smartrt.errors import (
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    EngineError,
    GraphCaptureWarning,
    MissingDependencyError,
    OptionError,
    PlanError,
    PlanWarning,
)
from smartrt.tensorrt.plan import Plan
from support import message_of

TEXTS = ["a", "a text of some words", "sort a list by a key", "", "one two three four five six seven eight nine ten"]
SMALL = {"max_length": 48, "token_budget": 128}


KINDS = pytest.mark.parametrize("machine", [{}, {"integrated": True}], ids=["discrete", "integrated"], indirect=True)


@pytest.fixture
def machine(request, monkeypatch, tmp_path, tiny_copy):
    return gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy, **getattr(request, "param", {}))


def opened(path: Path, **options) -> smartrt.Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        return smartrt.Encoder.open(path, engine="trt", **(SMALL | options))


def same(found: smartrt.Embeddings, expected: smartrt.Embeddings) -> None:
    np.testing.assert_allclose(found.pooled, expected.pooled, atol=1e-5)
    np.testing.assert_allclose(found.tokens.values, expected.tokens.values, atol=1e-5)
    np.testing.assert_array_equal(found.tokens.offsets, expected.tokens.offsets)


@KINDS
def test_it_encodes_what_onnx_runtime_encodes_again_and_again(machine, tiny_copy):
    expected = smartrt.Encoder.open(tiny_copy).encode_document(TEXTS, allow_empty=True)
    with opened(tiny_copy) as encoder:
        for _ in range(4):  # enqueued, recorded, replayed
            same(encoder.encode_document(TEXTS, allow_empty=True), expected)
            same(encoder.encode_document(TEXTS[2]), expected.take([2]))
    assert machine.gpu.live == {}


def test_the_first_call_of_a_bucket_is_enqueued_the_second_recorded_the_third_replayed(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        counts = []
        for _ in range(4):
            encoder.encode_query(["x"])
            counts.append((len(machine.called("execute_async_v3")), machine.gpu.calls.count("cudaGraphLaunch")))
    assert counts == [(1, 0), (2, 1), (2, 2), (2, 3)]


def test_cuda_graphs_can_be_turned_off(machine, tiny_copy):
    with opened(tiny_copy, cuda_graphs=False) as encoder:
        for _ in range(3):
            encoder.encode_query(["x"])
    assert "cudaStreamBeginCapture" not in machine.gpu.calls


def test_shapes_are_the_rungs_and_each_is_prepared_once(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        for words in (3, 5, 20, 30, 3, 35):
            encoder.encode_query(["x " * words])
    shapes = {shape for _, name, shape in machine.called("set_input_shape") if name == "input_ids"}
    assert shapes == {(1, 32), (1, 48)}
    assert len(machine.called("set_device_memory")) == 2
    assert len({memory for _, memory, _ in machine.called("set_device_memory")}) == 1  # one block for all buckets


def test_addresses_never_change(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        encoder.encode_document(TEXTS[:3])
        encoder.encode_query("x " * 40)
    places = {}
    for _, name, address in machine.called("set_tensor_address"):
        assert places.setdefault(name, address) == address


@KINDS
def test_an_integrated_gpu_copies_nothing_and_a_discrete_one_through_pinned_memory(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        encoder.encode_query(["x"])
    assert ("cudaMemcpyAsync" in machine.gpu.calls) == (not machine.gpu.integrated)


def test_a_recording_that_the_driver_refuses_is_said_once_and_enqueued_instead(machine, tiny_copy):
    expected = smartrt.Encoder.open(tiny_copy).encode_query(["x"])
    with opened(tiny_copy) as encoder:
        encoder.encode_query(["x"])
        machine.gpu.fail("cudaGraphInstantiate", 801)
        with pytest.warns(GraphCaptureWarning, match="one by one") as caught:
            same(encoder.encode_query(["x"]), expected)
        assert len(caught) == 1
        same(encoder.encode_query(["x"]), expected)
    assert machine.gpu.live == {}


@pytest.mark.usefixtures("machine")
def test_threads_take_turns(tiny_copy):
    expected = smartrt.Encoder.open(tiny_copy).encode_document(TEXTS[:3])
    with opened(tiny_copy) as encoder:
        found = []

        def work() -> None:
            found.extend(encoder.encode_document(TEXTS[:3]) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 20
    for each in found:
        same(each, expected)


# What goes wrong.


@pytest.mark.usefixtures("machine")
def test_an_item_beyond_the_last_rung_is_refused_with_what_to_do(tiny_copy):
    with opened(tiny_copy, max_length=32) as encoder, pytest.raises(EngineError) as caught:
        encoder.encode_query(["x " * 40])
    message_of(caught.value, "'length' is 42", "end at 32", "max_length", "--gpu-max-length")


@pytest.mark.parametrize("budget", [64, 256])
def test_batches_follow_the_token_budget(machine, tiny_copy, budget):
    with opened(tiny_copy, token_budget=budget) as encoder:
        encoder.encode_document([f"text {i}" for i in range(20)])
    rows = {shape[0] for _, name, shape in machine.called("set_input_shape") if name == "input_ids"}
    assert max(rows) == budget // 32


def test_too_little_memory_for_the_tensors_is_one_line_and_leaks_nothing(monkeypatch, tmp_path, tiny_copy):
    machine = gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy, memory=12_000)
    with opened(tiny_copy) as encoder, pytest.raises(DeviceMemoryError) as caught:
        encoder.encode_query(["x"])
    message_of(caught.value)
    assert machine.gpu.live == {}


@KINDS
def test_too_little_memory_for_a_context_says_how_much_is_free(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        machine.tensorrt.faults.add("context")
        with pytest.raises(DeviceMemoryError) as caught:
            encoder.encode_query(["x"])
    message_of(caught.value, "MiB free", "out of memory", "max_length")
    assert machine.gpu.live == {}


def test_a_lost_gpu_is_said_and_closing_still_works(machine, tiny_copy):
    with opened(tiny_copy) as encoder:
        encoder.encode_query(["x"])
        machine.gpu.lose()
        for _ in range(2):
            with pytest.raises(DeviceLostError) as caught:
                encoder.encode_query(["x"])
            message_of(caught.value)


@pytest.mark.parametrize("fault", ["set_input_shape", "set_tensor_address", "profile", "execute", "infer_shapes"])
def test_what_tensorrt_refuses_is_an_error_with_its_reason(machine, tiny_copy, fault):
    with opened(tiny_copy) as encoder:
        machine.tensorrt.faults.add(fault)
        with pytest.raises(EngineError) as caught:
            encoder.encode_query(["x"])
        message_of(caught.value, "TensorRT")
    assert machine.gpu.live == {}


@pytest.mark.usefixtures("machine")
def test_a_closed_engine_says_so_and_closes_twice(tiny_copy):
    encoder = opened(tiny_copy)
    encoder.close()
    encoder.close()
    with pytest.raises(EngineError, match="closed"):
        encoder.encode_query(["x"])


def test_a_plan_that_does_not_load_is_an_error_and_leaks_nothing(machine, tiny_copy):
    opened(tiny_copy).close()
    machine.tensorrt.faults.add("deserialize")
    with pytest.raises(PlanError) as caught:
        opened(tiny_copy)
    message_of(caught.value, "cannot load the plan", "magic tag")
    with pytest.raises(PlanError, match=r"remove .*encoder-\w+ and compile it"):
        opened(tiny_copy, compile=False)
    assert machine.gpu.live == {}


def test_a_plan_that_tensorrt_refuses_is_compiled_again_once(machine, tiny_copy, monkeypatch):
    opened(tiny_copy).close()
    loads = []
    load = Plan.load.__func__

    def refusing(cls, *arguments):
        loads.append(arguments)
        if len(loads) == 1:
            raise PlanError("made by another patch release")
        return load(cls, *arguments)

    monkeypatch.setattr(Plan, "load", classmethod(refusing))
    with pytest.warns(PlanWarning, match="another patch release"):
        smartrt.Encoder.open(tiny_copy, engine="trt", **SMALL).close()
    assert len(loads) == 2
    assert machine.gpu.live == {}


def test_a_plan_that_was_just_compiled_and_does_not_load_is_not_compiled_twice(machine, tiny_copy):
    machine.tensorrt.faults.add("deserialize")
    with pytest.warns(PlanWarning) as caught, pytest.raises(PlanError, match="cannot load the plan"):
        smartrt.Encoder.open(tiny_copy, engine="trt", **SMALL)
    assert len(caught) == 1
    assert machine.gpu.live == {}


def test_an_encoder_that_is_dropped_gives_its_memory_back(machine, tiny_copy):
    encoder = opened(tiny_copy)
    encoder.encode_query(["x"])
    assert machine.gpu.live
    del encoder
    gc.collect()
    assert machine.gpu.live == {}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("options", "mention"), [
    pytest.param({"device": "cpu"}, "device='cuda'", id="on the CPU"),
    pytest.param({"device": "cuda:x"}, "cuda:N", id="no number"),
    pytest.param({"threads": 2}, "unknown engine option 'threads'", id="option of another engine"),
    pytest.param({"max_length": 0}, "max_length", id="no length"),
    pytest.param({"batch_tokens": 1.5}, "batch_tokens", id="half a token"),
    pytest.param({"workspace_mb": 0}, "workspace_mb", id="no workspace"),
    pytest.param({"optimization_level": 6}, "optimization_level", id="level 6"),
])  # fmt: skip
def test_options_that_cannot_be_are_refused(tiny_copy, options, mention):
    with pytest.raises(OptionError) as caught:
        opened(tiny_copy, **options)
    message_of(caught.value, mention)


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_is_not_there_is_an_error(tiny_copy):
    with pytest.raises(DeviceError) as caught:
        opened(tiny_copy, device="cuda:3")
    message_of(caught.value, "no GPU 3")


def test_without_tensorrt_the_error_says_how_to_get_it(machine, tiny_copy, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError) as caught:
        opened(tiny_copy)
    message_of(caught.value, "TensorRT")
    assert machine.gpu.live == {}
