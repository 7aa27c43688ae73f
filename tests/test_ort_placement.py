"""What ONNX Runtime leaves on the CPU though a GPU was asked for: refused where it is known, else told."""

from __future__ import annotations

import warnings

import onnxruntime
import pytest

import ort_machine
from commandline import call
from ort_machine import CPU
from smartrt import Bundle, Encoder, PlacementWarning
from smartrt.engines import open_engine, ort_placement
from smartrt.errors import DeviceError
from support import message_of, set_key


@pytest.fixture
def machine(monkeypatch):
    return ort_machine.install(monkeypatch)


@pytest.fixture
def old(machine, monkeypatch):
    """An ONNX Runtime that does not tell what runs where; nobody was warned of it yet."""
    monkeypatch.delattr(ort_machine.FakeSession, "get_provider_graph_assignment_info")
    machine.__version__ = "1.23.2"
    ort_placement._warn_of_silence.cache_clear()
    yield machine
    ort_placement._warn_of_silence.cache_clear()


@pytest.fixture
def bundle(tiny_path):
    return Bundle.open(tiny_path)


@pytest.fixture
def changed(tiny_copy):
    """The tiny bundle after changes of its manifest; the graph stays the same."""

    def change(**keys):
        for key, value in keys.items():
            set_key(tiny_copy / "manifest.json", key.replace("__", "/"), value)
        return Bundle.open(tiny_copy, verify=False)

    return change


INT8 = {"precision__name": "int8", "precision__activations": "dynamic", "precision__rounding": "nearest"}
FUSED = {"dialect": "fused", "opset": 23}


# Told by the session.


@pytest.mark.parametrize("operator", ["MatMul", "DynamicQuantizeLinear", "GroupQueryAttention"])
def test_a_models_arithmetic_on_the_cpu_is_an_error_unless_it_is_asked_for(machine, bundle, operator):
    machine.on_cpu = ["Shape", operator, operator]
    with pytest.raises(DeviceError) as caught:
        open_engine(bundle, "encoder", device="cuda")
    assert "Shape" not in message_of(caught.value, f"{operator} (2)", "mixed=True")
    engine = open_engine(bundle, "encoder", device="cuda", mixed=True)
    assert engine.on_cpu == {operator: 2, "Shape": 1}


def test_arithmetic_on_shapes_may_run_on_the_cpu_and_can_be_seen(machine, bundle):
    machine.on_cpu = ["Shape", "Gather", "Shape"]
    assert open_engine(bundle, "encoder", device="cuda").on_cpu == {"Shape": 2, "Gather": 1}


def test_the_real_onnx_runtime_says_where_operators_run(tiny_path):
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(tiny_path / "encoder.onnx"), settings, providers=[CPU])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime is older")
    parts = session.get_provider_graph_assignment_info()
    assert {part.ep_name for part in parts} == {CPU}
    assert "MatMul" in {node.op_type for part in parts for node in part.get_nodes()}


# Known before anything is loaded.


@pytest.mark.parametrize("version", ["1.23.2", "1.31.1"])
def test_int8_with_dynamic_activations_is_refused_on_a_gpu_before_it_is_loaded(machine, changed, version):
    machine.__version__ = version
    with pytest.raises(DeviceError) as caught:
        open_engine(changed(**INT8), "encoder", device="cuda:0")
    message_of(caught.value, "'cuda:0'", "int8", "no CUDA kernels", "--precision fp16", "mixed=True")
    assert machine.asked == []
    open_engine(changed(**INT8), "encoder", device="cuda", mixed=True)
    open_engine(changed(**INT8), "encoder", device="cpu")


@pytest.mark.parametrize(
    ("version", "runs"), [("1.23.2", False), ("1.24.4", False), ("1.25.0", True), ("1.31.1", True), ("", False)]
)
def test_the_fused_dialect_is_refused_where_its_attention_has_no_cuda_kernel(machine, changed, version, runs):
    machine.__version__, bundle = version, changed(**FUSED)
    if runs:
        open_engine(bundle, "encoder", device="cuda")
        return
    with pytest.raises(DeviceError) as caught:
        open_engine(bundle, "encoder", device="cuda")
    message_of(caught.value, "fused", "1.25", version, "--dialect portable", "mixed=True")
    assert machine.asked == []
    open_engine(bundle, "encoder", device="cuda", mixed=True)
    open_engine(bundle, "encoder")


def test_a_missing_provider_is_said_before_what_a_bundle_lacks(machine, changed):
    machine.offers = [CPU]
    with pytest.raises(DeviceError) as caught:
        open_engine(changed(**INT8), "encoder", device="cuda")
    assert "int8" not in message_of(caught.value, "no CUDA provider")


# Not known.


@pytest.mark.usefixtures("old")
def test_an_onnx_runtime_that_does_not_say_what_runs_where_is_a_warning(bundle):
    with pytest.warns(PlacementWarning) as caught:
        assert open_engine(bundle, "encoder", device="cuda").on_cpu is None
    message_of(caught[0].message, "ONNX Runtime 1.23.2", "1.24.1", "mixed=True")


@pytest.mark.usefixtures("old")
def test_who_allows_operators_on_the_cpu_is_not_warned_of_them(bundle):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_engine(bundle, "encoder", device="cuda", mixed=True).on_cpu is None


def test_the_warning_comes_once_in_a_process(old, tiny_path):
    with pytest.warns(PlacementWarning) as caught:
        encoders = [Encoder.open(tiny_path, device="cuda") for _ in range(3)]
    assert len(caught) == 1
    assert len(old.sessions) == len(encoders) == 3


@pytest.mark.usefixtures("old")
def test_the_command_line_shows_the_warning_and_goes_on(capsys, tiny_path, tmp_path):
    ran = call(capsys, "encode", tiny_path, "a text", "-o", tmp_path / "x.npz", "--device", "cuda")
    assert ran.code == 0, ran.err
    assert "smartrt: warning: ONNX Runtime 1.23.2 does not tell" in ran.err
