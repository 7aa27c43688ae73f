"""Needs of a bundle that depend on the version of an engine and on the device, on made-up machines."""

from __future__ import annotations

import pytest

import machines
from smartrt.bundle import Bundle
from smartrt.machine.choice import FIRST_FUSED_ONNX_RUNTIME, choose
from smartrt.machine.needs import needs_of
from smartrt.machine.survey import survey
from support import set_key


def need(bundle, name, sources):
    machine = survey(sources)
    (found,) = (each for each in needs_of(bundle, machine, choose(machine)) if each.name == name)
    return found


@pytest.fixture
def fused(tiny_copy):
    set_key(tiny_copy / "manifest.json", "dialect", "fused")
    set_key(tiny_copy / "manifest.json", "opset", 23)
    return Bundle.open(tiny_copy, verify=False)


@pytest.mark.parametrize(
    ("version", "on_cpu", "on_cuda"),
    [("1.22.1", False, False), ("1.23.2", True, False), ("1.24.4", True, False), ("1.25.0", True, True)],
)
def test_a_fused_bundle_needs_another_onnx_runtime_on_a_gpu(tmp_path, fused, version, on_cpu, on_cuda):
    processor = machines.server(tmp_path / "a", onnx_runtime=machines.onnx_runtime(version))
    assert need(fused, "dialect", processor).met is on_cpu
    gpu = machines.h100(tmp_path / "b", onnx_runtime=machines.onnx_runtime(version, cuda=True))
    assert need(fused, "dialect", gpu).met is on_cuda
    assert FIRST_FUSED_ONNX_RUNTIME["cuda"] in need(fused, "dialect", gpu).detail


def test_dynamic_int8_is_refused_on_a_gpu_as_the_engine_refuses_it(tmp_path, tiny_copy):
    for key, value in (("name", "int8"), ("activations", "dynamic"), ("rounding", "nearest")):
        set_key(tiny_copy / "manifest.json", f"precision/{key}", value)
    found = need(Bundle.open(tiny_copy, verify=False), "precision", machines.h100(tmp_path))
    assert found.met is False
    assert "no CUDA kernels" in found.detail


def test_plans_are_looked_for_where_they_are_kept_beside_the_bundle_itself(tmp_path, tiny_copy):
    link = tmp_path / "elsewhere" / "name.smartrt"
    link.parent.mkdir()
    link.symlink_to(tiny_copy)
    found = need(Bundle.open(link), "plan", machines.orin_nano(tmp_path / "root"))
    assert str(tiny_copy.resolve().with_name("tiny.plans")) in found.detail
