"""What is installed: shared libraries that load in a process of their own, and compiled files that are only read."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.machine import libraries
from smartrt.machine.cuda_binary import GpuCode, gpu_code, needed_libraries
from smartrt.machine.libraries import SHARED, probe, understand
from smartrt.machine.onnx_runtime import read_onnx_runtime
from smartrt.machine.probe import cudnn, infer
from smartrt.machine.reading import SensorError

CC = shutil.which("cc") or shutil.which("gcc")
compiled = pytest.mark.skipif(CC is None, reason="no C compiler here")

DRIVER = """
int cuInit(unsigned flags) { return CODE; }
int cuDriverGetVersion(int *v) { *v = 13010; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int n) { *d = n; return 0; }
int cuDeviceGetName(char *name, int length, int d) { name[0] = 'G'; name[1] = 0; return 0; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int d) { *bytes = 1UL << 33; return 0; }
int cuDeviceGetAttribute(int *v, int which, int d) { *v = which == 75 ? 8 : which == 76 ? 7 : 1; return 0; }
"""
CRASH = "__attribute__((constructor)) static void boom(void) { *(volatile int *)0 = 1; }"
STUCK = "#include <unistd.h>\n__attribute__((constructor)) static void wait(void) { sleep(60); }"


def library(folder, name, source, *flags):
    (folder / "source.c").write_text(source, encoding="utf-8")
    subprocess.run([CC, "-shared", "-fPIC", "-o", folder / name, folder / "source.c", *flags], check=True)
    return str(folder / name)


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A folder whose files are found before the system's."""
    monkeypatch.setattr(libraries, "wheel_folders", lambda: [tmp_path])
    return tmp_path


@compiled
def test_a_library_that_loads_says_its_version_and_what_the_driver_lists(searched, monkeypatch):
    monkeypatch.setitem(SHARED, "libcuda", ("libmadeupcuda.so.1",))
    library(searched, "libmadeupcuda.so.1", DRIVER.replace("CODE", "0"))
    found = probe()
    assert (found.libraries["libcuda"].loads, found.libraries["libcuda"].version) == (True, "13.1")
    assert found.cuda == "ready"
    (device,) = found.devices
    assert (device.name, device.sm, device.memory, device.integrated) == ("G", "8.7", 1 << 33, True)


@compiled
def test_a_driver_that_refuses_is_not_ready(searched, monkeypatch):
    monkeypatch.setitem(SHARED, "libcuda", ("libmadeupcuda.so.1",))
    library(searched, "libmadeupcuda.so.1", DRIVER.replace("CODE", "100"))
    assert (probe().cuda, probe().devices) == ("no device (100)", ())


@compiled
def test_a_library_that_crashes_or_hangs_is_named_and_ends_only_its_own_process(tmp_path):
    crashing = library(tmp_path, "libcrash.so", CRASH)
    found = probe([crashing])
    assert "ended the process (signal 11)" in found.libraries[crashing].reason
    stuck = library(tmp_path, "libstuck.so", STUCK)
    found = probe([stuck, "libafter.so"], wait_s=1)
    assert "did not end in 1 s" in found.libraries[stuck].reason
    assert "not tried" in found.libraries["libafter.so"].reason


def test_a_library_that_is_nowhere_is_not_found():
    found = probe(["libmadeup.so.7"]).libraries["libmadeup.so.7"]
    assert (found.loads, found.reason) == (False, "libmadeup.so.7 is not found")


@given(st.binary(max_size=300))
def test_any_output_of_the_other_process_is_understood(output):
    found = understand(output, SHARED, "it ended")
    assert set(SHARED) <= set(found.libraries)
    assert not any(each.loads for each in found.libraries.values())


BROKEN = [b'{"library": 5}', b'{"cuda": "ready", "devices": [{}]}', b'{"cuda": "ready", "devices": 7}', b'{"try": []}']


@pytest.mark.parametrize("line", BROKEN, ids=repr)
def test_lines_that_lack_something_are_no_devices(line):
    assert understand(line, SHARED, "it ended").devices == ()


def test_versions_are_spelled_as_their_makers_do():
    assert [infer(each) for each in (100300, 101602, 8601)] == ["10.3.0", "10.16.2", "8.6.1"]
    assert [cudnn(each) for each in (90300, 8907)] == ["9.3.0", "8.9.7"]


def fatbin(*entries):
    """A region with entries of (kind, SM), as nvcc writes them."""
    body = b"".join(
        struct.pack("<HHIQ", kind, 257, 64, 8).ljust(28, b"\0").ljust(28)
        + struct.pack("<I", sm).ljust(36, b"\0")
        + b"payload!"
        for kind, sm in entries
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def elf(path, *regions):
    """A shared library with kernels in `.nv_fatbin`."""
    numbers = ",".join(map(str, b"".join(regions))) or "0"
    source = f'__attribute__((section(".nv_fatbin"), used)) static const unsigned char fatbin[] = {{{numbers}}};'
    library(path.parent, path.name, source, "-Wl,--no-as-needed", "-lm")
    return path


@compiled
def test_a_file_tells_what_it_is_linked_to_and_which_gpus_it_is_for(tmp_path):
    path = elf(tmp_path / "lib.so", fatbin((2, 89), (2, 90)), b"\0" * 12, fatbin((2, 120), (1, 120)))
    assert "libm.so.6" in needed_libraries(path)
    assert gpu_code(path) == GpuCode(machine=(89, 90, 120), ptx=(120,))


def refusal(read, path):
    """Why a file is refused, or nothing; any other exception goes on."""
    try:
        read(path)
    except SensorError as error:
        return str(error)
    return ""


@compiled
def test_a_file_that_is_damaged_anywhere_raises_nothing_else(tmp_path):
    whole = elf(tmp_path / "lib.so", fatbin((2, 87))).read_bytes()
    damaged = tmp_path / "damaged.so"
    reasons = set()
    for cut in range(0, len(whole), 97):
        for content in (whole[:cut], whole[:cut] + b"\xff" * 24 + whole[cut + 24 :]):
            damaged.write_bytes(content)
            reasons |= {refusal(read, damaged) for read in (needed_libraries, gpu_code)}
    assert len(reasons) > 3
    assert all(len(reason.splitlines()) <= 1 for reason in reasons)


@pytest.mark.parametrize(
    ("machine", "ptx", "sm", "integrated", "runs"),
    [
        ((89, 90, 120, 121), (), 87, True, False),
        ((89, 90, 120, 121), (), 110, True, False),
        ((89, 90, 120, 121), (), 90, False, True),
        ((87,), (), 87, True, True),
        ((86,), (), 87, True, False),
        ((80,), (), 86, False, True),
        ((86,), (), 80, False, False),
        ((75,), (80,), 87, True, True),
        ((75,), (90,), 87, True, False),
    ],
)
def test_code_runs_on_its_own_gpus_and_ptx_on_every_later_one(machine, ptx, sm, integrated, runs):
    assert GpuCode(machine, ptx).runs_on(sm, integrated=integrated) is runs


@compiled
def test_an_onnx_runtime_with_cuda_tells_what_it_needs_and_is_for(tmp_path, monkeypatch):
    (tmp_path / "capi").mkdir()
    elf(tmp_path / "capi/libonnxruntime_providers_cuda.so", fatbin((2, 90)))
    module = ModuleType("onnxruntime")
    module.__version__, module.__file__ = "1.30.0", str(tmp_path / "__init__.py")
    module.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    found = read_onnx_runtime({"onnxruntime-gpu": "1.30.0"}.get)
    assert (found.version, found.packages, found.has_cuda, found.error) == ("1.30.0", ("onnxruntime-gpu",), True, None)
    assert (found.needed, found.code) == ((), GpuCode((90,), ()))


def test_an_onnx_runtime_that_does_not_load_says_why(monkeypatch):
    module = ModuleType("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    found = read_onnx_runtime({"onnxruntime": "1.30.0"}.get)
    assert "does not load" in found.error
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert read_onnx_runtime({}.get).error == "it is not installed"
