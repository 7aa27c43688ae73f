"""Engines: what every one of them promises, and what ONNX Runtime must not do silently.

Those for a GPU run here on fakes of CUDA, TensorRT and ONNX Runtime's CUDA provider, which compute on the CPU.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import onnxruntime
import pytest

import gpu_machine
import ort_machine
from smartrt import Bundle, Encoder
from smartrt.engines import ENGINES, TensorSpec, open_engine, run_checked
from smartrt.errors import DeviceError, EngineError, MissingDependencyError, OptionError, PlanWarning
from support import message_of, rehash, run_python

IDS = np.array([[2, 31, 40, 3], [2, 31, 3, 0]])


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


WAYS = {
    "ort": {"engine": "ort"},
    "fake": {"engine": "fake"},
    "trt": {"engine": "trt", "device": "cuda"},
    "ort on a GPU": {"engine": "ort", "device": "cuda"},
    "ort on a GPU, recorded": {"engine": "ort", "device": "cuda", "cuda_graphs": True},
}
"""What the contract is tested on; every engine is among them."""


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """Where plans are kept: one is compiled for all tests."""
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def engine(request, bundle, plans, monkeypatch, tmp_path):
    """The tiny graph on every engine."""
    given = request.param
    if given["engine"] == "trt":
        gpu_machine.install(monkeypatch, tmp_path / "shim", bundle.path)
        given = given | {"plans": str(plans)}
    elif "device" in given:
        ort_machine.install(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        opened = open_engine(bundle, "encoder", **given)
    yield opened
    opened.close()


@pytest.fixture
def feeds():
    return {"input_ids": IDS, "attention_mask": np.minimum(IDS, 1), "token_type_ids": np.zeros_like(IDS)}


# Every engine.


@pytest.mark.parametrize("name", ENGINES)
def test_every_name_is_a_module_that_opens_graphs(name):
    assert callable(importlib.import_module(f"smartrt.engines.{name}").open_graph)


def test_every_engine_keeps_the_contract():
    assert {way["engine"] for way in WAYS.values()} == set(ENGINES)


def test_inputs_and_outputs_are_declared(engine):
    assert {spec.name: (spec.dtype, len(spec.axes)) for spec in engine.inputs} == {
        "input_ids": ("int64", 2),
        "attention_mask": ("int64", 2),
        "token_type_ids": ("int64", 2),
    }
    assert {spec.name: (spec.dtype, spec.axes[-1]) for spec in engine.outputs} == {
        "pooled": ("float32", 32),
        "token_states": ("float32", 32),
    }


def test_a_run_returns_the_declared_outputs(engine, feeds):
    outputs = run_checked(engine, feeds)
    assert {name: array.shape for name, array in outputs.items()} == {"pooled": (2, 32), "token_states": (2, 4, 32)}


def test_outputs_belong_to_the_caller(engine, feeds):
    first = run_checked(engine, feeds)
    kept = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array[:] = 0
    for name, array in run_checked(engine, feeds).items():
        np.testing.assert_array_equal(array, kept[name])


def test_feeds_are_left_alone(engine, feeds):
    before = {name: array.copy() for name, array in feeds.items()}
    run_checked(engine, feeds)
    for name, array in feeds.items():
        np.testing.assert_array_equal(array, before[name])


BAD_FEEDS = {
    "missing input": (lambda feeds: feeds.pop("attention_mask"), ("missing ['attention_mask']",)),
    "unknown input": (lambda feeds: feeds.update(image=IDS), ("unknown ['image']",)),
    "wrong dtype": (lambda feeds: feeds.update(input_ids=IDS.astype(np.int32)), ("input_ids", "int32")),
    "one axis": (lambda feeds: feeds.update(input_ids=IDS[0]), ("input_ids", "[4]")),
    "three axes": (lambda feeds: feeds.update(input_ids=IDS[None]), ("input_ids", "[1, 2, 4]")),
    "another batch": (lambda feeds: feeds.update(attention_mask=IDS[:1]), ("attention_mask", "is 1, expected 2")),
    "another length": (lambda feeds: feeds.update(token_type_ids=IDS[:, :3]), ("token_type_ids", "is 3, expected 4")),
}


@pytest.mark.parametrize(("change", "mentions"), BAD_FEEDS.values(), ids=BAD_FEEDS)
def test_feeds_that_do_not_fit_are_refused_before_the_engine_runs(engine, feeds, change, mentions, monkeypatch):
    monkeypatch.setattr(engine, "run", lambda _: pytest.fail("the engine ran"))
    change(feeds)
    with pytest.raises(EngineError) as caught:
        run_checked(engine, feeds)
    message_of(caught.value, *mentions)


class Returns:
    """An engine that returns what it is told, whatever it declares."""

    inputs = (TensorSpec("x", "int64", ("batch",)),)
    outputs = (TensorSpec("y", "float32", ("batch", 2)),)

    def __init__(self, **outputs):
        self._outputs = outputs

    def run(self, _):
        return self._outputs


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": np.zeros((3, 2))},
        {"y": np.zeros(3, np.float32)},
        {"y": np.zeros((4, 2), np.float32)},
        {"y": np.zeros((3, 5), np.float32)},
        {"z": np.zeros((3, 2), np.float32)},
    ],
    ids=["dtype", "rank", "dynamic axis", "fixed axis", "name"],
)
def test_outputs_that_are_not_as_declared_are_refused(outputs):
    feeds = {"x": np.zeros(3, np.int64)}
    good = {"y": np.zeros((3, 2), np.float32)}
    assert run_checked(Returns(**good), feeds) == good
    with pytest.raises(EngineError) as caught:
        run_checked(Returns(**outputs), feeds)
    message_of(caught.value, "y")


def test_closing_twice_is_allowed(engine):
    engine.close()
    engine.close()


@pytest.mark.parametrize("name", ["tensorrt", "", "ort.py", "../ort", "base"])
def test_an_unknown_engine_is_refused_with_the_known_ones(bundle, name):
    with pytest.raises(OptionError) as caught:
        open_engine(bundle, "encoder", engine=name)
    message_of(caught.value, repr(name), ", ".join(ENGINES))


@pytest.mark.parametrize("name", ENGINES)
def test_an_unknown_option_is_refused_by_name(bundle, name):
    with pytest.raises(OptionError) as caught:
        open_engine(bundle, "encoder", engine=name, treads=2)
    known = {"ort": "threads", "trt": "workspace_mb", "fake": "FakeOptions"}
    message_of(caught.value, "'treads'", known[name])


@pytest.mark.parametrize("threads", [-1, 1025, 2.5, "2", None], ids=repr)
def test_a_thread_count_that_cannot_be_is_refused(bundle, threads):
    with pytest.raises(OptionError) as caught:
        open_engine(bundle, "encoder", threads=threads)
    message_of(caught.value, "threads", str(threads))


@pytest.mark.parametrize("options", [{"threads": 1}, {"spin": False}, {"prepack": False}], ids=str)
def test_options_change_no_number(bundle, feeds, options):
    plain, tuned = (open_engine(bundle, "encoder", **given) for given in ({}, options))
    wanted = run_checked(plain, feeds)
    for name, array in run_checked(tuned, feeds).items():
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=1e-6)


# Devices: what was asked for, or an error.


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "tensorrt"])
def test_an_unknown_device_is_refused_with_the_known_ones(bundle, device):
    with pytest.raises(OptionError) as caught:
        open_engine(bundle, "encoder", device=device)
    message_of(caught.value, repr(device), "cpu, cuda, cuda:N")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="proves what happens where ONNX Runtime was built without CUDA",
)
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_where_there_is_none_is_a_device_error(tiny_path, device):
    with pytest.raises(DeviceError) as caught:
        Encoder.open(tiny_path, device=device)
    message_of(caught.value, repr(device), "CPUExecutionProvider", "device='cpu'")


def test_the_fake_engine_has_no_other_device(tiny_path):
    with pytest.raises(OptionError, match="cpu only"):
        Encoder.open(tiny_path, engine="fake", device="cuda")


# ONNX Runtime's own errors become ours.


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("encoder.onnx", lambda _: b"not a graph"),
        ("encoder.onnx", lambda _: b""),
        ("encoder.onnx", lambda content: content[: len(content) // 2]),
        ("encoder.onnx.data", lambda content: content[: len(content) // 2]),
    ],
    ids=["garbage", "empty", "cut graph", "cut weights"],
)
def test_a_graph_that_does_not_load_is_an_engine_error(tiny_copy, name, damage):
    path = tiny_copy / name
    path.write_bytes(damage(path.read_bytes()))
    rehash(tiny_copy)
    with pytest.raises(EngineError) as caught:
        Encoder.open(tiny_copy)
    message_of(caught.value, str(tiny_copy / "encoder.onnx"))


def test_a_run_that_fails_is_an_engine_error(bundle, feeds):
    feeds["input_ids"] = IDS + 10**6  # outside the graph's table
    with pytest.raises(EngineError) as caught:
        run_checked(open_engine(bundle, "encoder", engine="ort"), feeds)
    message_of(caught.value, "could not run the graph")


NO_ENGINE = """
import sys
sys.modules["onnxruntime"] = None  # makes the import fail
import smartrt
assert len(smartrt.Encoder.open(sys.argv[1], engine="fake").encode_query("a list")) == 1
try:
    smartrt.Encoder.open(sys.argv[1])
except smartrt.errors.MissingDependencyError as error:
    sys.stdout.write(str(error))
"""


def test_without_onnxruntime_the_error_names_three_ways_to_get_it(tiny_path):
    ran = run_python(NO_ENGINE, tiny_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    message_of(MissingDependencyError(ran.stdout), "smartrt[cpu]", "smartrt[gpu]", "Jetson")


BROKEN_ENGINE = """
import sys
sys.path.insert(0, sys.argv[2])
import smartrt
try:
    smartrt.Encoder.open(sys.argv[1])
except smartrt.errors.MissingDependencyError as error:
    sys.stdout.write(str(error))
"""


def test_an_onnxruntime_that_is_installed_and_broken_says_why(tiny_path, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libcublas.so.12: cannot open shared object file')")
    ran = run_python(BROKEN_ENGINE, tiny_path, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    message_of(MissingDependencyError(ran.stdout), "libcublas.so.12")
