"""What is chosen on which machine, what stands in the way, and what to do, on made-up machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

import machines
from machines import GIB
from smartrt.machine.advice import advise
from smartrt.machine.choice import aim, choose
from smartrt.machine.cuda_binary import GpuCode
from smartrt.machine.libraries import SHARED, CudaDevice
from smartrt.machine.readiness import ways
from smartrt.machine.survey import survey

TABLE = {
    "server": ("ort", "cpu", "portable", "int8"),
    "h100": ("ort", "cuda", "fused", "fp16"),
    "orin nano": ("trt", "cuda", "portable", "int4"),
    "agx orin": ("trt", "cuda", "fused", "fp16"),
    "thor": ("trt", "cuda", "portable", "fp16"),
}


def look(tmp_path, name, **changes):
    return survey(machines.ALL[name](tmp_path / "root", **changes))


def codes(machine, engine, device):
    (way,) = (way for way in ways(machine) if (way.engine, way.device) == (engine, device))
    return [obstacle.code for obstacle in way.obstacles]


def commands(machine):
    return [command for step in advise(machine) for command in step.commands]


@pytest.mark.parametrize(("name", "wanted"), TABLE.items(), ids=TABLE)
def test_every_kind_of_machine_has_its_choice(tmp_path, name, wanted):
    choice = choose(look(tmp_path, name))
    assert (choice.engine, choice.device, choice.dialect, choice.precision) == wanted
    assert len(choice.reasons) >= 3
    assert choice.measured is (name == "server")
    assert ("not yet run on a GPU" in choice.reasons) is (choice.device == "cuda")


def test_the_dialect_follows_the_version_of_the_engine(tmp_path):
    old = machines.onnx_runtime("1.22.0", cuda=True)
    assert choose(look(tmp_path / "a", "h100", onnx_runtime=old)).dialect == "portable"
    device = CudaDevice("Orin", "8.7", 7 * GIB, integrated=True)
    new = machines.probe({"libcuda": "13.2", "libcudart": "13.2", "libnvinfer": "10.16.0"}, device)
    assert choose(look(tmp_path / "b", "orin nano", probe=new)).dialect == "fused"


@pytest.mark.parametrize(("tried", "precision"), [(True, "fp16"), (False, "int8"), (None, "int8")])
def test_a_processor_that_saturates_gets_no_int8(tmp_path, tried, precision):
    choice = choose(look(tmp_path, "server", saturates=lambda: tried))
    assert choice.precision == precision
    assert ("cuts sums" in " ".join(choice.reasons)) is bool(tried)


def test_the_wheel_for_arm_servers_is_refused_on_a_jetson(tmp_path):
    wheel = machines.onnx_runtime(
        "1.30.0", cuda=True, packages=("onnxruntime-gpu",), code=GpuCode((89, 90, 120, 121), ())
    )
    nothing = machines.probe({"libcuda": "12.6"}, CudaDevice("Orin", "8.7", 7 * GIB, integrated=True))
    for name, code in (("orin nano", wheel().code), ("thor", None)):
        runtime = replace(wheel(), code=code)
        machine = look(tmp_path / name, name, onnx_runtime=lambda runtime=runtime: runtime)
        assert codes(machine, "ort", "cuda") == ["foreign-kernels"]
        assert choose(machine).engine == "trt"
    machine = look(tmp_path / "c", "orin nano", onnx_runtime=wheel, probe=nothing, engines=("ort",))
    assert (choose(machine).engine, choose(machine).device) == ("ort", "cpu")
    assert "pip uninstall --yes onnxruntime-gpu" in commands(machine)
    assert "jp6/cu126" in " ".join(step.why for step in advise(machine))


@pytest.mark.parametrize(("version", "dialect"), [("1.23.2", "portable"), ("1.24.4", "portable"), ("1.25.0", "fused")])
def test_a_build_for_this_jetson_is_taken_with_the_dialect_that_it_has_cuda_kernels_for(tmp_path, version, dialect):
    right = machines.onnx_runtime(version, cuda=True, packages=("onnxruntime-gpu",), code=GpuCode((87,), ()))
    machine = look(tmp_path, "orin nano", onnx_runtime=right, engines=("ort",))
    assert (choose(machine).engine, choose(machine).device, choose(machine).dialect) == ("ort", "cuda", dialect)


def loaded(*names, cuda="ready", device=True):
    devices = (CudaDevice("NVIDIA H100 80GB HBM3", "9.0", 80 * GIB, integrated=False),) if device else ()
    return machines.probe(dict.fromkeys(names, "13.0"), *devices, cuda=cuda, missing=("libcublas.so.13",))


NEEDED = ("libcublas.so.13",)
H100_OBSTACLES = {
    "no driver": (
        {"probe": machines.probe({}), "nvml": machines.H100("nvmlInit")},
        "no-driver",
        "ubuntu-drivers install",
    ),
    "a driver that lists nothing": (
        {"probe": loaded("libcuda", *NEEDED, device=False, cuda="no device (100)")},
        "no-cuda",
        "nvidia-smi",
    ),
    "a driver of CUDA 12": (
        {"nvml": machines.H100(nvmlSystemGetCudaDriverVersion=12040)},
        "old-driver",
        "ubuntu-drivers install",
    ),
    "a library that is missing": (
        {"probe": loaded("libcuda"), "onnx_runtime": machines.onnx_runtime(cuda=True, needed=NEEDED)},
        "missing-library",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    "ONNX Runtime for processors": (
        {"onnx_runtime": machines.onnx_runtime()},
        "cpu-ort",
        "pip uninstall --yes onnxruntime",
    ),
    "both packages": (
        {"onnx_runtime": machines.onnx_runtime(packages=("onnxruntime", "onnxruntime-gpu"))},
        "two-orts",
        "pip uninstall --yes onnxruntime onnxruntime-gpu",
    ),
    "no ONNX Runtime": ({"onnx_runtime": machines.no_onnx_runtime}, "no-ort", "pip install 'smartrt[gpu]'"),
}


@pytest.mark.parametrize(("changes", "code", "command"), H100_OBSTACLES.values(), ids=H100_OBSTACLES)
def test_what_stands_in_the_way_of_a_server_is_named_with_its_command(tmp_path, changes, code, command):
    machine = look(tmp_path, "h100", **changes)
    assert codes(machine, "ort", "cuda") == [code]
    assert (aim(machine).engine, aim(machine).device) == ("ort", "cuda")
    assert any(command in each for each in commands(machine))
    assert choose(machine).device == ("cuda" if code == "no-ort" else "cpu")


def jetson_libraries(**versions):
    return {"probe": machines.probe(versions, CudaDevice("Orin", "8.7", 7 * GIB, integrated=True))}


WHOLE = {"libcuda": "12.6", "libcudart": "12.6", "libnvinfer": "10.3.0"}
JETSON_OBSTACLES = {
    "no TensorRT": (
        jetson_libraries(libcuda="12.6", libcudart="12.6"),
        "no-tensorrt",
        "sudo apt install nvidia-jetpack",
    ),
    "an old TensorRT": (
        jetson_libraries(**WHOLE | {"libnvinfer": "8.6.2"}),
        "old-tensorrt",
        "sudo apt install nvidia-jetpack",
    ),
    "TensorRT 11 of desktops": (
        jetson_libraries(**WHOLE | {"libnvinfer": "11.2.0"}),
        "desktop-tensorrt",
        "pip uninstall",
    ),
    "no module": ({"module": lambda _: None}, "no-tensorrt-module", "sudo apt install python3-libnvinfer"),
    "no CUDA runtime": (
        jetson_libraries(libcuda="12.6", libnvinfer="10.3.0"),
        "no-cudart",
        "sudo apt install nvidia-jetpack",
    ),
    "no driver": ({"probe": machines.probe({})}, "no-cuda", "sudo apt install nvidia-jetpack"),
}


@pytest.mark.parametrize(("changes", "code", "command"), JETSON_OBSTACLES.values(), ids=JETSON_OBSTACLES)
def test_what_stands_in_the_way_of_a_jetson_is_named_with_its_command(tmp_path, changes, code, command):
    machine = look(tmp_path, "orin nano", **changes)
    assert code in codes(machine, "trt", "cuda")
    assert any(command in each for each in commands(machine))
    choice = choose(machine)
    assert choice.engine is None
    assert "none is ready" in choice.reasons[0]
    assert choice.precision == "int4"
    titles = [step.title for step in advise(machine)]
    assert len(titles) == len(set(titles))


def test_a_virtual_environment_that_does_not_see_tensorrt_is_made_again(tmp_path):
    closed = machines.system("aarch64", "3.10.12", environment=True, sees_system=False)
    machine = look(tmp_path, "orin nano", module=lambda _: None, system=closed)
    assert "/usr/bin/python3 -m venv --system-site-packages ~/smartrt" in commands(machine)


def test_a_smartrt_without_the_engine_takes_another_way(tmp_path):
    machine = look(tmp_path, "orin nano", engines=("ort", "fake"), onnx_runtime=machines.onnx_runtime())
    assert "no-engine" in codes(machine, "trt", "cuda")
    assert (choose(machine).engine, choose(machine).device) == ("ort", "cpu")


def test_the_steps_come_in_order_libraries_then_settings_then_the_bundle(tmp_path):
    machine = look(tmp_path, "orin nano", module=lambda _: None)
    steps = advise(machine)
    first, *_, last = steps
    assert first.title == "Let Python find TensorRT"
    assert "smartrt export" in last.commands[0]
    assert "--precision int4 --compute fp16" in last.commands[0]
    assert last.commands[1] == "smartrt build NAME.smartrt"
    assert "--engine trt --device cuda" in last.commands[2]
    said = commands(machine)
    assert said.index("sudo nvpmodel -m 2") < said.index("sudo jetson_clocks")
    assert "sudoedit /boot/extlinux/extlinux.conf" in said


def test_a_board_that_is_set_gets_no_step_for_what_is_set(tmp_path):
    highest = {"sys/class/devfreq/17000000.gpu/min_freq": 1_020_000_000, "var/lib/nvpmodel/status": "pmode:0002"}
    cores = {"sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": 1_728_000}
    memory = machines.meminfo(7.4, 6.1, SwapTotal=8, SwapFree=8, CmaTotal=0.95, CmaFree=0.9)
    sources = machines.orin_nano(tmp_path, onnx_runtime=machines.onnx_runtime())
    machines.write(tmp_path, highest | cores | {"proc/meminfo": memory})
    (step,) = advise(survey(sources))
    assert step.title == "Make a bundle in this precision, and run it"


def test_the_jetpack_that_loses_memory_is_updated(tmp_path):
    sources = machines.orin_nano(tmp_path)
    assert not any("6.2.2" in step.title for step in advise(survey(sources)))
    machines.write(tmp_path, {"etc/nv_tegra_release": machines.L4T.format(36, "4.4")})
    assert any("6.2.2" in step.title for step in advise(survey(sources)))


@pytest.mark.parametrize("content", machines.GARBAGE.values(), ids=machines.GARBAGE)
def test_a_broken_machine_gets_steps_and_no_engine(tmp_path, content):
    machine = survey(machines.broken(tmp_path, content))
    assert choose(machine).engine is None
    assert advise(machine)
    assert set(SHARED) == set(machine.shared)
