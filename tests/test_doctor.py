"""`smartrt doctor`: the report for programs and for people, of this machine and of made-up ones."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

import machines
import smartrt
from commandline import call, finish, refused, start
from smartrt.bundle import Bundle
from smartrt.cli import doctor
from smartrt.machine.choice import choose
from smartrt.machine.cuda_binary import GpuCode
from smartrt.machine.needs import needs_of, weight_bytes
from smartrt.machine.page import page
from smartrt.machine.survey import survey
from support import set_key

KEYS = {
    "smartrt", "system", "processor", "memory", "board", "driver", "gpus", "gpus_on_bus", "cuda", "packages",
    "shared_libraries", "onnx_runtime", "tensorrt", "engines", "choice", "scorer", "bundle", "steps",
}  # fmt: skip
MACHINES = machines.ALL | {
    "broken": lambda root: machines.broken(root, machines.GARBAGE["bytes"]),
    "a foreign wheel": lambda root: machines.orin_nano(
        root,
        onnx_runtime=machines.onnx_runtime(cuda=True, packages=("onnxruntime-gpu",), code=GpuCode((89, 90), ())),
        module=lambda _: None,
    ),
}


def test_doctor_reports_this_machine(capsys):
    data = call(capsys, "doctor", "--json").json
    assert set(data) == KEYS
    assert all(f"\n    {key} " in doctor.__doc__ for key in KEYS)
    assert data["packages"]["numpy"] == {"version": np.__version__, "install": None}
    assert data["engines"][-1] == {"engine": "ort", "device": "cpu", "ready": True, "obstacles": []}
    assert "Python thread" in data["scorer"] or "kernels" in data["scorer"]
    assert data["memory"]["available"] > 0
    text = call(capsys, "doctor")
    assert (text.code, text.err) == (0, "")
    assert f"smartrt {smartrt.__version__}" in text.out


def test_doctor_says_how_to_install_what_is_missing(tmp_path):
    data = doctor.report(machines.server(tmp_path, version=lambda _: None, onnx_runtime=machines.no_onnx_runtime))
    assert data["packages"]["onnxruntime"] == {"version": None, "install": "pip install 'smartrt[cpu]'"}
    assert data["packages"]["numpy"]["install"] == "pip install smartrt"
    assert data["choice"]["engine"] is None
    assert data["steps"][0]["commands"] == ("pip install 'smartrt[cpu]'",)


@pytest.mark.parametrize("name", MACHINES)
def test_the_report_of_every_machine_is_json_with_the_same_keys(tmp_path, name):
    report = json.loads(json.dumps(doctor.report(MACHINES[name](tmp_path / "root")), allow_nan=False))
    assert set(report) == KEYS
    assert {"engine", "device", "dialect", "precision", "reasons", "measured"} <= set(report["choice"])
    assert all(set(step) == {"title", "why", "commands", "optional"} for step in report["steps"])


@pytest.mark.parametrize("width", [80, 120, 20, 400])
@pytest.mark.parametrize("name", MACHINES)
def test_a_page_fits_the_terminal_and_ends_with_the_steps(tmp_path, name, width):
    report = doctor.report(MACHINES[name](tmp_path / "root"))
    lines = list(page(report, width))
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= min(max(width, 60), 120) for line in lines if not line.lstrip().startswith("$"))
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles[1:] == ["machine", "installed", "engines", "choice", "next"]
    assert f"$ {report['steps'][-1]['commands'][-1]}" in lines[-1]


def test_a_page_says_what_is_unknown_rather_than_nothing(tmp_path):
    text = "\n".join(page(doctor.report(MACHINES["broken"](tmp_path)), 120))
    assert "L4T unknown, JetPack unknown" in text
    assert "SM unknown" in text
    assert "None" not in text
    assert "run on   nothing yet" in text


def test_doctor_is_quick_and_starts_nothing_heavy():
    started = time.perf_counter()
    finished = finish(start("doctor"))
    assert (finished.code, finished.err) == (0, "")
    assert time.perf_counter() - started < 10  # 0.4 s on a machine that does nothing else


def test_a_directory_that_is_no_bundle_is_refused(capsys, tmp_path):
    refused(call(capsys, "doctor", tmp_path), "is not a bundle")
    refused(call(capsys, "doctor", tmp_path, "more"), "more")


def met(bundle_path, sources):
    machine = survey(sources)
    return {need.name: need.met for need in needs_of(Bundle.open(bundle_path, verify=False), machine, choose(machine))}


def test_the_needs_of_a_bundle_are_met_here(capsys, tiny_path):
    data = call(capsys, "doctor", tiny_path, "--json").json["bundle"]
    assert (data["name"], data["precision"]) == ("tiny", "fp32")
    assert {need["name"]: need["met"] for need in data["needs"]} == {
        "engine": True, "memory": True, "precision": True, "dialect": True,
    }  # fmt: skip
    assert "\nbundle\n" in call(capsys, "doctor", tiny_path).out


def test_a_bundle_larger_than_the_free_memory_does_not_fit(tmp_path, tiny_copy):
    manifest = tiny_copy / "manifest.json"
    set_key(manifest, "precision/graphs/encoder/bytes", {"fp16": 4 << 30})
    bundle = Bundle.open(tiny_copy, verify=False)
    assert weight_bytes(bundle, on_processor=True) == 2 * weight_bytes(bundle, on_processor=False) == 8 << 30
    assert met(tiny_copy, machines.orin_nano(tmp_path / "a"))["memory"] is True
    assert (
        met(tiny_copy, machines.orin_nano(tmp_path / "b", probe=machines.probe({}), engines=("ort",)))["memory"] is True
    )
    small = machines.orin_nano(
        tmp_path / "c", probe=machines.probe({}), engines=("ort",), onnx_runtime=machines.onnx_runtime()
    )
    assert met(tiny_copy, small)["memory"] is False
    gpu = machines.H100(nvmlDeviceGetMemoryInfo=machines.Memory(free=3 << 30))
    assert met(tiny_copy, machines.h100(tmp_path / "d", nvml=gpu))["memory"] is False
    silent = machines.H100("nvmlDeviceGetMemoryInfo")
    assert met(tiny_copy, machines.h100(tmp_path / "e", nvml=silent))["memory"] is None


def test_dynamic_int8_is_for_processors_that_add_it_exactly(tmp_path, tiny_copy):
    manifest = tiny_copy / "manifest.json"
    set_key(manifest, "precision/name", "int8")
    set_key(manifest, "precision/activations", "dynamic")
    set_key(manifest, "precision/rounding", "nearest")
    assert met(tiny_copy, machines.server(tmp_path / "a"))["precision"] is True
    assert met(tiny_copy, machines.server(tmp_path / "b", saturates=lambda: True))["precision"] is False
    assert met(tiny_copy, machines.orin_nano(tmp_path / "c"))["precision"] is False
    assert met(tiny_copy, machines.h100(tmp_path / "d"))["precision"] is False


def test_the_last_step_is_to_run_a_bundle_that_fits_and_to_make_one_for_one_that_does_not(tmp_path, tiny_copy):
    bundle = Bundle.open(tiny_copy)
    last = doctor.report(machines.orin_nano(tmp_path / "a"), bundle)["steps"][-1]
    assert last["commands"][0] == f"smartrt build {tiny_copy}"
    set_key(tiny_copy / "manifest.json", "dialect", "fused")
    found = doctor.report(machines.orin_nano(tmp_path / "b"), Bundle.open(tiny_copy, verify=False))
    assert found["steps"][-1]["commands"][0].startswith("smartrt export SOURCE")
    plan = next(need for need in found["bundle"]["needs"] if need["name"] == "plan")
    assert "there can be none: dialect" in plan["detail"]


def test_steps_that_lead_to_another_choice_say_so(tmp_path):
    found = doctor.report(machines.h100(tmp_path, onnx_runtime=machines.onnx_runtime()))
    assert (found["choice"]["device"], found["steps"][-1]["title"].split(",")[0]) == (
        "cpu", "Then make a bundle for ort on cuda",
    )  # fmt: skip
    assert "the choice above is for what is ready now" in found["steps"][-1]["why"]


def test_a_fused_bundle_needs_a_new_engine(tmp_path, tiny_copy):
    set_key(tiny_copy / "manifest.json", "dialect", "fused")
    set_key(tiny_copy / "manifest.json", "opset", 23)
    assert met(tiny_copy, machines.orin_nano(tmp_path / "a"))["dialect"] is False
    assert met(tiny_copy, machines.agx_orin(tmp_path / "b"))["dialect"] is True
    old = machines.onnx_runtime("1.22.1")
    assert met(tiny_copy, machines.server(tmp_path / "c", onnx_runtime=old))["dialect"] is False


def test_a_plan_is_found_if_it_was_compiled_for_this_kind_of_gpu(tmp_path, tiny_copy):
    from smartrt import strict_json
    from smartrt.tensorrt.plans import FORMAT_VERSION, Machine, PlanKey, PlanManifest

    sources = machines.orin_nano(tmp_path / "root")
    assert met(tiny_copy, sources)["plan"] is False
    folder = tiny_copy.with_name("tiny.plans") / "encoder-1"
    folder.mkdir(parents=True)
    for sm, there in (("8.9", False), ("8.7", True)):
        key = PlanKey("encoder", {}, Machine("10.3.0", "Orin", sm, "Linux aarch64"), (), None, None, tf32=False)
        note = PlanManifest(FORMAT_VERSION, key, 1, "0" * 64, 1.0)
        (folder / "manifest.json").write_text(strict_json.dumps(note), encoding="utf-8")
        assert met(tiny_copy, sources)["plan"] is there
    (folder / "manifest.json").write_text("garbage", encoding="utf-8")
    assert met(tiny_copy, sources)["plan"] is False
    shutil.rmtree(folder)


def test_without_an_engine_only_the_memory_is_compared(tmp_path, tiny_path):
    nothing = machines.server(tmp_path, onnx_runtime=machines.no_onnx_runtime)
    assert met(tiny_path, nothing) == {"engine": False, "memory": True}
