"""ONNX Runtime's errors on a GPU become ours: the device lost, its memory full, a recording refused."""

from __future__ import annotations

import numpy as np
import pytest

import ort_machine
from smartrt import Bundle, Encoder
from smartrt.engines import open_engine
from smartrt.engines.ort_session import run_error
from smartrt.errors import DeviceError, DeviceLostError, DeviceMemoryError, EngineError
from support import message_of, rehash

GPU = pytest.mark.usefixtures("machine")


@pytest.fixture
def machine(monkeypatch):
    return ort_machine.install(monkeypatch)


@pytest.fixture
def bundle(tiny_path):
    return Bundle.open(tiny_path)


_WHERE = " ; GPU=0 ; hostname=secret ; file=/onnxruntime_src/cuda_call.cc ; line=129 ; expr=cudaMemcpy(x); "
_PARTITION = (
    "This session cannot use the graph capture feature as requested by the user as all compute graph nodes have not "
    "been partitioned to the CUDAExecutionProvider"
)
_ERRORS = {
    "lost": (f"CUDA failure 700: an illegal memory access{_WHERE}", DeviceLostError, "new process"),
    "arena full": ("Available memory of 1 is smaller than requested bytes of 2", DeviceMemoryError, "token_budget"),
    "arena not grown": ("Failed to allocate memory for requested buffer of size 67", DeviceMemoryError, "size 67"),
    "memory of CUDA": (f"CUDA failure 2: out of memory{_WHERE}", DeviceMemoryError, "gpu_memory_mb"),
    "memory of cuBLAS": (f"CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED{_WHERE}", DeviceMemoryError, "CUBLAS"),
    "capture": (_PARTITION, DeviceError, "cuda_graphs=False"),
    "capture broken": (f"CUDA failure 901: failed due to a previous error{_WHERE}", DeviceError, "cuda_graphs=False"),
    "kernels": (f"CUDA failure 209: no kernel image is available{_WHERE}", DeviceError, "smartrt doctor"),
    "another one of CUDA": (f"CUDA failure 100: no CUDA-capable device{_WHERE}", DeviceError, "failure 100"),
    "none of the device's": ("Non-zero status code while running Gather node", EngineError, "could not run"),
}


@pytest.mark.parametrize(("text", "kind", "mention"), _ERRORS.values(), ids=_ERRORS)
def test_an_error_of_the_device_is_known_by_what_onnx_runtime_says(text, kind, mention):
    error = run_error(RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL :\n{text}"), "cuda:1", records=True)
    assert type(error) is kind
    assert "secret" not in message_of(error, mention, *(() if kind is EngineError else ("cuda",)))
    assert type(run_error(RuntimeError(text), "cpu")) is EngineError


LEGACY = f"CUDA failure 906: operation would make the legacy stream depend on a capturing blocking stream{_WHERE}"


def test_who_records_is_told_to_open_without_and_a_victim_of_another_recording_is_not(machine, bundle):
    feeds = {spec.name: np.ones((1, 4), np.int64) for spec in open_engine(bundle, "encoder").inputs}
    bound, recorded = (open_engine(bundle, "encoder", device="cuda", **given) for given in ({}, {"cuda_graphs": True}))
    for engine, advice in ((recorded, "cuda_graphs=False"), (bound, "another library"), (recorded, "another library")):
        machine.fails = RuntimeError(LEGACY)
        with pytest.raises(DeviceError) as caught:
            engine.run(feeds)
        assert ("cuda_graphs" in message_of(caught.value, "failure 906", advice)) is (advice == "cuda_graphs=False")
        recorded.run(feeds)  # from here on it replays
    machine.refuses = RuntimeError(LEGACY)
    with pytest.raises(DeviceError) as caught:
        open_engine(bundle, "encoder", device="cuda")
    assert "cuda_graphs" not in message_of(caught.value, "another library")


@pytest.mark.parametrize("graphs", [{}, {"cuda_graphs": True}], ids=["bound", "recorded"])
@pytest.mark.parametrize(("text", "kind"), [(_ERRORS[name][:2]) for name in ("lost", "memory of CUDA")], ids=str)
def test_errors_of_a_run_and_of_loading_are_told_apart_alike(machine, bundle, text, kind, graphs):
    engine = open_engine(bundle, "encoder", device="cuda", **graphs)
    ids = np.ones((1, 4), np.int64)
    machine.fails = RuntimeError(text)
    with pytest.raises(kind):
        engine.run({spec.name: ids for spec in engine.inputs})
    engine.close()
    machine.refuses = RuntimeError(text)
    with pytest.raises(kind):
        open_engine(bundle, "encoder", device="cuda", **graphs)
    assert machine.gpu.live == {}


def test_capture_that_is_refused_is_an_error_and_nothing_runs_without_it(machine, tiny_path):
    machine.refuses = RuntimeError(_ERRORS["capture"][0])
    with pytest.raises(DeviceError) as caught:
        Encoder.open(tiny_path, device="cuda", cuda_graphs=True)
    message_of(caught.value, "cannot record", "cuda_graphs=False")
    assert len(machine.asked) == 1


@GPU
def test_a_graph_that_does_not_load_on_a_gpu_is_an_engine_error_with_its_path(tiny_copy):
    (tiny_copy / "encoder.onnx").write_bytes(b"not a graph")
    rehash(tiny_copy)
    with pytest.raises(EngineError) as caught:
        Encoder.open(tiny_copy, device="cuda")
    message_of(caught.value, str(tiny_copy / "encoder.onnx"))
