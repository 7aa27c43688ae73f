"""The compiler, over a TensorRT that is a fake: what it asks of it, and what it tells."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest

import fake_tensorrt
from fake_tensorrt import Builder, BuilderFlag, MemoryPoolType
from fake_tensorrt_builder import IAttentionInputLayer
from smartrt.errors import MissingDependencyError, StorageError
from smartrt.tensorrt.compile import CompileError, compile_plan, run
from smartrt.tensorrt.listeners import Events
from smartrt.tensorrt.request import CompileRequest, Profile
from support import message_of

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SHORT = Profile(dict.fromkeys(INPUTS, ((1, 1), (2, 4), (4, 8))))
LONG = Profile(dict.fromkeys(INPUTS, ((1, 8), (2, 16), (4, 32))))


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return fake_tensorrt.install(monkeypatch)


@pytest.fixture
def request_(tiny_path, tmp_path):
    return CompileRequest(str(tiny_path / "encoder.onnx"), str(tmp_path / "p.plan"), None, (SHORT, LONG))


def write_graph(path, *operators):
    """A chain of operators of one input, each a name and a domain, from `x` with a dynamic axis."""
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    names = ["x", *(f"y{i}" for i in range(len(operators)))]
    nodes = [
        onnx.helper.make_node(kind, [names[i]], [names[i + 1]], name=f"layers.{i}", domain=domain)
        for i, (kind, domain) in enumerate(operators)
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in names]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[-1:])), path)
    return path


def events_of(request):
    sink = io.BytesIO()
    compile_plan(request, Events(sink))
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def refusal(request, kind, *mentions):
    with pytest.raises(CompileError) as caught:
        events_of(request)
    assert caught.value.kind == kind
    return message_of(caught.value, *mentions)


def test_a_graph_becomes_a_plan_and_every_step_is_told(request_, tmp_path):
    events = events_of(request_)
    kinds = [event["event"] for event in events]
    assert kinds == ["started", "note", "phase", "phase", "phase", "done"]
    assert events[0] == {"event": "started", "tensorrt": "10.3.0"}
    assert [(e["name"], e["step"], e["of"]) for e in events[2:5]] == [("Building engine", i, 2) for i in (0, 1, 2)]
    plan = (tmp_path / "p.plan").read_bytes()
    done = events[-1]
    assert done["plan_bytes"] == len(plan)
    assert done["layers"] > 100
    assert done["seconds"] >= 0
    assert done["peak_rss"] > 10_000_000
    profiles = json.loads(plan)["profiles"]
    assert [profile["input_ids"] for profile in profiles] == [[[1, 1], [2, 4], [4, 8]], [[1, 8], [2, 16], [4, 32]]]
    assert [path.name for path in tmp_path.iterdir()] == ["p.plan"]  # nothing temporary


def test_a_warning_that_comes_again_with_other_numbers_is_told_once(request_):
    notes = [event["message"] for event in events_of(request_) if event["event"] == "note"]
    assert notes == ["Tactic Device request: 0MB Available: 0MB. Device memory is insufficient to use tactic."]


def test_by_default_products_are_exact_and_the_rest_is_left_to_tensorrt(request_):
    events_of(request_)
    assert BuilderFlag.TF32 not in Builder.last.flags
    assert (Builder.last.limits, Builder.last.builder_optimization_level) == ({}, 3)


def test_what_is_asked_for_is_set(request_):
    events_of(replace(request_, tf32=True, workspace_bytes=1 << 20, optimization_level=1))
    assert BuilderFlag.TF32 in Builder.last.flags
    assert Builder.last.limits == {MemoryPoolType.WORKSPACE: 1 << 20}
    assert Builder.last.builder_optimization_level == 1


def test_bindings_without_progress_compile_without_it(request_, monkeypatch):
    monkeypatch.delattr(fake_tensorrt, "IProgressMonitor")
    assert [event["event"] for event in events_of(request_)] == ["started", "note", "done"]


@pytest.mark.parametrize("known", [True, False], ids=["10.14", "10.3"])
def test_attention_without_a_kernel_may_be_decomposed(known, request_, tmp_path, monkeypatch):
    if known:
        monkeypatch.setattr(fake_tensorrt, "IAttentionInputLayer", IAttentionInputLayer, raising=False)
    path = write_graph(tmp_path / "attention.onnx", ("Relu", ""), ("Attention", ""))
    events_of(replace(request_, onnx=str(path), profiles=(Profile({"x": ((1, 4), (2, 4), (4, 4))}),)))
    layers = Builder.last_network.layers
    assert [layer.hidden.decomposable for layer in layers] == [False, known]


def test_the_times_of_one_build_serve_the_next(request_, tmp_path):
    cache = tmp_path / "times"
    request = replace(request_, timing_cache=str(cache))
    events_of(request)
    assert cache.read_bytes() == b"times."
    assert not [event for event in events_of(request) if "timing cache" in event.get("message", "")]
    assert cache.read_bytes() == b"times.."


@pytest.mark.parametrize(
    ("content", "fault"), [(b"damaged", None), (b"times", "timing_cache")], ids=["damaged", "of-another-device"]
)
def test_times_that_cannot_be_used_are_measured_again_and_that_is_said(fake, request_, tmp_path, content, fault):
    cache = tmp_path / "times"
    cache.write_bytes(content)
    fake.faults |= {fault} - {None}
    events = events_of(replace(request_, timing_cache=str(cache)))
    assert any("kernels are measured again" in event.get("message", "") for event in events)
    assert cache.read_bytes() == b"times."


def test_times_that_cannot_be_kept_cost_a_note_and_not_the_plan(request_, tmp_path):
    events = events_of(replace(request_, timing_cache=str(tmp_path / "nowhere" / "times")))
    assert "without the times" in events[-2]["message"]
    assert events[-1]["event"] == "done"


@pytest.mark.parametrize(
    ("fault", "kind", "mentions"),
    [
        ("builder", "build", ["cannot start", "CUDA initialization failure"]),
        ("memory", "memory", ["OutOfMemory", "isolate multi-user.target", "cma=950M"]),
        ("library", "missing", ["libnvinfer_builder_resource.so.10.3.0"]),
        ("build", "build", ["encoder.onnx", "Quantized constant", "--compute fp16"]),
        ("oversized", "request", ["kOPT values for profile 0", "ask for smaller shapes"]),
        ("profile", "request", ["refuses profile 0"]),
    ],
    ids=str,
)
def test_a_build_that_fails_says_why_and_leaves_the_old_plan(fake, request_, tmp_path, fault, kind, mentions):
    (tmp_path / "p.plan").write_bytes(b"old")
    fake.faults.add(fault)
    refusal(request_, kind, *mentions)
    assert (tmp_path / "p.plan").read_bytes() == b"old"


def test_a_refused_operator_is_named_with_its_node_and_what_to_do(request_, tmp_path):
    path = write_graph(tmp_path / "dynamic.onnx", ("Relu", ""), ("MatMulIntegerToFloat", "com.microsoft"))
    message = refusal(replace(request_, onnx=str(path)), "parse", "TensorRT 10.3.0 refuses dynamic.onnx", "node 1")
    assert message.index("MatMulIntegerToFloat 'layers.1'") < message.index("--precision int8-static")


def test_many_refused_nodes_are_one_line(fake, request_):
    fake.faults.add("parse")
    refusal(request_, "parse", "node 0, ", "more nodes are refused")


def test_a_file_that_is_no_graph_is_refused(request_, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff" * 64)
    refusal(replace(request_, onnx=str(path)), "parse", "x.onnx, the file: Failed to parse")


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        ({"onnx": "/nowhere/encoder.onnx"}, ["no graph /nowhere/encoder.onnx"]),
        ({"profiles": ()}, ["attention_mask, input_ids, token_type_ids have dynamic axes"]),
        ({"profiles": (Profile(SHORT.shapes | {"pixels": ((1,),) * 3}),)}, ["no input 'pixels'", "input_ids"]),
        ({"profiles": (SHORT, Profile({"input_ids": LONG.shapes["input_ids"]}))}, ["profile 1", "'attention_mask'"]),
        ({"profiles": (Profile(SHORT.shapes | {"input_ids": ((1,),) * 3}),)}, ["profile 0, input_ids", "(-1, -1)"]),
    ],
    ids=["no-file", "no-profile", "unknown-input", "an-input-left-out", "another-rank"],
)
def test_a_request_that_the_graph_contradicts_is_refused(request_, change, mentions):
    refusal(replace(request_, **change), "request", *mentions)


def test_without_tensorrt_the_way_to_get_it_is_the_message(request_, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match="TensorRT is not installed"):
        events_of(request_)


def test_a_disk_that_refuses_the_plan_is_an_error(request_, tmp_path):
    (tmp_path / "p.plan").mkdir()
    with pytest.raises(StorageError, match="no file"):
        events_of(request_)


class Deaf:
    """A pipe whose reader is gone."""

    def write(self, line):
        raise BrokenPipeError(line)


def test_when_nobody_waits_any_more_the_build_is_given_up(request_, tmp_path):
    with pytest.raises(CompileError):
        compile_plan(request_, Events(Deaf()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "kind"), [("memory", "memory"), ("parse", "parse"), ("build", "build")], ids=["memory", "parse", "build"]
)
def test_the_last_event_of_a_failure_has_its_kind(fake, request_, tmp_path, fault, kind):
    request_.write(tmp_path / "request.json")
    fake.faults.add(fault)
    sink = io.BytesIO()
    assert run([str(tmp_path / "request.json")], sink) == 1
    last = json.loads(sink.getvalue().splitlines()[-1])
    assert (last["event"], last["kind"]) == ("error", kind)
    assert len(last["message"].splitlines()) == 1
