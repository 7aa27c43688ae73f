"""`smartrt build`, and opening with TensorRT where a plan is missing."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

import gpu_machine
import smartrt
from commandline import call, refused
from smartrt.errors import PlanError, PlanWarning
from support import message_of


@pytest.fixture
def machine(monkeypatch, tmp_path, tiny_copy):
    return gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)


@pytest.mark.usefixtures("machine")
def test_build_compiles_once_and_says_what_was_there(capsys, tiny_copy):
    first, second = (call(capsys, "build", tiny_copy) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert "TensorRT 10.3.0 for Fake Orin (SM 8.7)" in first.err
    assert "compiled in" in first.out
    assert "was there" in second.out


@pytest.mark.usefixtures("machine")
def test_a_plan_that_was_damaged_is_compiled_again_and_the_reason_is_said(capsys, tiny_copy):
    path = json.loads(call(capsys, "build", tiny_copy, "--json").out)["plans"][0]["path"]
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(b"x")
    again = call(capsys, "build", tiny_copy)
    assert "is not the file that was compiled" in again.err
    assert "compiled in" in again.out


@pytest.mark.usefixtures("machine")
def test_other_options_are_another_plan_and_prune_removes_it(capsys, tiny_copy):
    call(capsys, "build", tiny_copy)
    call(capsys, "build", tiny_copy, "--token-budget", "256")
    found = call(capsys, "build", tiny_copy, "--token-budget", "256", "--prune", "--json").json
    assert [plan["state"] for plan in found["plans"]] == ["was there"]
    assert len(found["removed"]) == 1
    assert len(list(tiny_copy.with_name("tiny.plans").glob("encoder-*"))) == 1


@pytest.mark.usefixtures("machine")
def test_prune_keeps_what_it_did_not_build(capsys, tiny_copy):
    plans = tiny_copy.with_name("tiny.plans")
    other = plans / f"decoder-{'0' * 16}"
    other.mkdir(parents=True)
    (plans / "encoder-notes").mkdir()
    call(capsys, "build", tiny_copy, "--prune")
    assert other.is_dir()
    assert (plans / "encoder-notes").is_dir()
    refused(call(capsys, "build", tiny_copy, "--prune", "--plans", plans), "--prune is for the directory beside")


@pytest.mark.usefixtures("machine")
def test_what_was_built_is_what_opens(capsys, tiny_copy):
    call(capsys, "build", tiny_copy, "--gpu-max-length", "32", "--no-tf32")
    with smartrt.Encoder.open(tiny_copy, engine="trt", max_length=32, compile=False) as encoder:
        assert len(encoder.encode_query(["x"])) == 1


@pytest.mark.usefixtures("machine")
def test_a_missing_plan_is_compiled_with_a_warning_or_refused_with_the_command(tiny_copy):
    with pytest.raises(PlanError) as caught:
        smartrt.Encoder.open(tiny_copy, engine="trt", compile=False)
    message_of(caught.value, "no plan of the graph encoder", f"smartrt build {tiny_copy}")
    with pytest.warns(PlanWarning, match="compiled now"):
        smartrt.Encoder.open(tiny_copy, engine="trt").close()


@pytest.mark.usefixtures("machine")
def test_encode_and_search_run_on_it_from_the_command_line(capsys, tiny_copy, tmp_path):
    finished = call(capsys, "encode", tiny_copy, "--engine", "trt", "-o", tmp_path / "x.npz", "hello", "you")
    assert finished.code == 0
    assert "smartrt: warning: no plan of the graph encoder" in finished.err


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("arguments", "mention"), [
    (["build", "BUNDLE", "--graph", "vision"], "no graph 'vision'"),
    (["build", "BUNDLE", "--device", "cpu"], "device='cuda'"),
    (["build", "BUNDLE", "--device", "cuda:7"], "no GPU 7"),
    (["build", "BUNDLE", "--optimization-level", "9"], "0 to 5"),
    (["encode", "BUNDLE", "--engine", "trt", "--threads", "2", "-o", "x.npz", "a"], "--threads is for --engine ort"),
    (["encode", "BUNDLE", "--plans", "x", "-o", "x.npz", "a"], "--plans is for --engine trt; here is --engine ort"),
    (["encode", "BUNDLE", "--tf32", "-o", "x.npz", "a"], "--tf32 is for --engine trt or --device cuda"),
    (["encode", "BUNDLE", "--mixed", "--engine", "trt", "-o", "x.npz", "a"], "--mixed is for --engine ort"),
    (["encode", "BUNDLE", "--no-compile", "-o", "x.npz", "a"], "--no-compile is for --engine trt"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tiny_copy, arguments, mention):
    words = [str(tiny_copy) if word == "BUNDLE" else word for word in arguments]
    finished = call(capsys, *words)
    assert finished.code == 2
    assert mention in finished.err.splitlines()[-1]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("engine", ["ort", "trt"])
def test_variables_set_for_one_engine_leave_the_other_alone(capsys, monkeypatch, tiny_copy, tmp_path, engine):
    given = {"GPU_MAX_LENGTH": "32", "WORKSPACE_MB": "64", "PLANS": str(tmp_path), "TF32": "0", "THREADS": "1"}
    for name, value in given.items():
        monkeypatch.setenv(f"SMARTRT_{name}", value)
    finished = call(capsys, "encode", tiny_copy, "--engine", engine, "-o", tmp_path / "x.npz", "hello")
    assert finished.code == 0, finished.err
    assert bool(list(tmp_path.glob("encoder-*"))) == (engine == "trt")


@pytest.mark.usefixtures("machine")
def test_the_command_in_the_message_makes_the_plan_that_is_missing(capsys, tiny_copy, tmp_path):
    flags = ("--gpu-max-length", "16", "--token-budget", "64", "--plans", tmp_path / "my plans")
    encode = ("encode", tiny_copy, "--engine", "trt", "--no-compile", *flags, "-o", tmp_path / "x.npz", "x")
    told = refused(call(capsys, *encode), "no plan of the graph encoder")
    command = shlex.split(told.rpartition("compile it: smartrt ")[2])
    assert call(capsys, *command).code == 0
    assert call(capsys, *encode).code == 0


def test_without_tensorrt_build_says_how_to_get_it(machine, capsys, tiny_copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    refused(call(capsys, "build", tiny_copy), "TensorRT")
    assert machine.gpu.live == {}


def test_without_a_gpu_build_says_so(capsys, tiny_copy, monkeypatch, tmp_path):
    gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy, devices=0)
    refused(call(capsys, "build", tiny_copy), "GPU")
