"""Engines that record CUDA graphs, and all who use CUDA beside them, take `captures.CAPTURES`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import ort_machine
import smartrt
from ort_machine import feeds_of, same
from smartrt.cuda import Cuda
from smartrt.engines import open_engine, ort_graphs
from smartrt.engines.captures import CAPTURES, CaptureLock
from smartrt.engines.cuda_tensor import CudaTensor
from smartrt.engines.ort_bound import OrtTensor
from smartrt.errors import DeviceError
from smartrt.scoring.device import DeviceScorer
from threads import Started


@pytest.fixture
def machine(monkeypatch):
    return ort_machine.install(monkeypatch)


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return smartrt.Bundle.open(tiny_path)


@pytest.fixture(scope="module")
def plain(bundle):
    return open_engine(bundle, "encoder")


class Watched(CaptureLock):
    """Says how each was taken."""

    def __init__(self):
        super().__init__()
        self.taken = []

    @contextmanager
    def shared(self):
        """As it is."""
        self.taken.append("shared")
        with super().shared():
            yield

    @contextmanager
    def exclusive(self):
        """As it is."""
        self.taken.append("exclusive")
        with super().exclusive():
            yield


@pytest.fixture
def watched(monkeypatch):
    lock = Watched()
    monkeypatch.setattr(ort_graphs, "CAPTURES", lock)
    return lock


def recorded(bundle):
    return open_engine(bundle, "encoder", device="cuda", cuda_graphs=True, max_length=64, batch_tokens=128)


@pytest.mark.usefixtures("machine")
def test_only_a_threads_first_call_of_a_bucket_is_alone(bundle, watched):
    engine = recorded(bundle)

    def calls():
        watched.taken.clear()
        for shape in ((1, 3), (1, 9), (1, 40), (1, 3), (1, 41)):
            engine.run(feeds_of(*shape))
        return list(watched.taken)

    wanted = ["exclusive", "shared", "exclusive", "shared", "shared"]
    assert calls() == wanted
    for _ in range(3):  # their numbers are those of the threads before them
        assert Started(calls).result() == wanted


def test_a_recording_that_failed_is_made_again_alone(machine, bundle, watched):
    engine = recorded(bundle)
    machine.fails = RuntimeError("CUDA failure 901: failed due to a previous error")
    with pytest.raises(DeviceError):
        engine.run(feeds_of(1, 3))
    engine.run(feeds_of(1, 3))
    engine.run(feeds_of(1, 3))
    assert watched.taken == ["exclusive", "exclusive", "shared"]


@pytest.mark.usefixtures("machine")
def test_nothing_runs_beside_a_recording_and_replays_run_side_by_side(bundle, monkeypatch):
    running, broken, most = [], [], []
    run = ort_machine.FakeSession.run_with_iobinding

    def slow(session, binding, options=None):
        number = options.get_run_config_entry("gpu_graph_id") if options else ""
        key = session, number, threading.get_ident()
        recording = bool(number) and key not in seen
        seen.add(key)
        running.append(recording)
        time.sleep(2e-3)
        broken.extend(["a recording was not alone"] if len(running) > 1 and any(running) else [])
        most.append(len(running))
        run(session, binding, options)
        running.remove(recording)

    seen: set[object] = set()
    monkeypatch.setattr(ort_machine.FakeSession, "run_with_iobinding", slow)
    engines = [recorded(bundle), recorded(bundle), open_engine(bundle, "encoder", device="cuda")]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: engines[n % 3].run(feeds_of(1, 3 + 31 * (n % 2))), range(90)))
    assert broken == []
    assert max(most) > 1


def bound_run(here):
    engine = open_engine(here.bundle, "encoder", device="cuda")
    return lambda: engine.run(feeds_of(1, 3))


def replay(here):
    engine = recorded(here.bundle)

    def replayed():
        engine._recorded.buckets.add((1, 32))  # by this thread, before
        return engine.run(feeds_of(1, 3))

    return replayed


def opening(here):
    return lambda: open_engine(here.bundle, "encoder", device="cuda")


def closing(here):
    return open_engine(here.bundle, "encoder", device="cuda").close


def closing_recorded(here):
    return recorded(here.bundle).close


def late_scores(_):
    scorer = DeviceScorer.open("float32", "cuda")
    return lambda: scorer.check(8)


def reading_a_tensor_of_onnx_runtime(_):
    value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 4), np.int64))
    return OrtTensor(value, np.dtype(np.int64), (1, 4), "cuda").numpy


def reading_a_tensor_of_cuda(here):
    cuda = Cuda.open(0, here.machine.gpu)
    return CudaTensor(cuda, cuda.buffer(32).address, np.dtype(np.int64), (1, 4)).numpy


USES = [
    bound_run, replay, opening, closing, closing_recorded, late_scores, reading_a_tensor_of_onnx_runtime,
    reading_a_tensor_of_cuda,
]  # fmt: skip


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.replace("_", " "))
def test_whoever_uses_cuda_waits_for_a_recording(machine, bundle, use):
    call = use(SimpleNamespace(machine=machine, bundle=bundle))
    with CAPTURES.exclusive():
        thread = Started(call)
        assert thread.waits
    thread.result()


@pytest.mark.usefixtures("machine")
def test_an_engine_on_the_cpu_waits_for_nobody(bundle, plain):
    with CAPTURES.exclusive():
        Started(lambda: plain.run(feeds_of(1, 3))).result()
        Started(lambda: open_engine(bundle, "encoder")).result()


@pytest.mark.usefixtures("machine")
def test_who_records_may_read_what_another_engine_left_on_the_gpu(bundle, plain):
    feeds, engine = feeds_of(1, 4), recorded(bundle)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(feeds["input_ids"])
    tensor = OrtTensor(value, np.dtype(np.int64), (1, 4), "cuda")
    same(Started(lambda: engine.run(feeds | {"input_ids": tensor})).result(), plain.run(feeds))
