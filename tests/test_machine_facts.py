"""What is read of a machine: boards, memory, processors, GPUs, over made-up trees, whole and broken."""

from __future__ import annotations

import ctypes
import dataclasses
import os

import pytest

import machines
from machines import GIB, H100, write
from smartrt.machine.board import find_board
from smartrt.machine.gpu import find_gpus, on_bus
from smartrt.machine.jetpack import jetpack_of
from smartrt.machine.libraries import CudaDevice
from smartrt.machine.memory import read_memory
from smartrt.machine.nvml import Library, Nvml
from smartrt.machine.processor import read_processor
from smartrt.machine.reading import SensorError
from smartrt.machine.survey import survey
from smartrt.machine.versions import at_least, numbers

RELEASES = {
    "36.4.0": ("6.1", "10.3.0"), "36.4.3": ("6.2", "10.3.0"), "36.4.4": ("6.2.1", "10.3.0"),
    "36.4.7": ("6.2.1", "10.3.0"),
    "36.5.0": ("6.2.2", "10.3.0"), "38.2.0": ("7.0", "10.13"), "38.4.1": ("7.1", "10.13"), "39.2.0": ("7.2", "10.16.2"),
}  # fmt: skip


@pytest.mark.parametrize(("l4t", "known"), RELEASES.items(), ids=RELEASES)
def test_a_release_of_l4t_is_a_jetpack(l4t, known):
    jetpack = jetpack_of(l4t)
    assert (jetpack.version, jetpack.tensorrt) == known


@pytest.mark.parametrize("l4t", ["36.4.9", "40.1", "35.6.0", "36"])
def test_a_release_that_is_in_no_table_is_not_guessed(l4t):
    with pytest.raises(SensorError, match="no release that smartrt knows"):
        jetpack_of(l4t)


def test_an_orin_nano_is_described(tmp_path):
    board = find_board(machines.orin_nano(tmp_path).root)
    assert (board.chip, board.l4t, board.jetpack.version, board.jetpack.python) == ("tegra234", "36.4.3", "6.2", "3.10")
    assert (board.power_mode.name, board.power_mode.id) == ("15W", 0)
    assert (board.fastest_mode.name, board.fastest_mode.id) == ("MAXN_SUPER", 2)
    assert board.clocks_locked is False
    assert board.gpu_mhz == {"17000000.gpu": 306.0}
    assert board.unknown == {}


@pytest.mark.parametrize("name", ["server", "h100"])
def test_a_server_is_no_board(tmp_path, name):
    assert find_board(machines.ALL[name](tmp_path / "root").root) is None


@pytest.mark.parametrize("lowest", ["sys/class/devfreq/17000000.gpu/min_freq", None])
def test_clocks_are_held_only_if_those_of_gpu_and_cores_are(tmp_path, lowest):
    root = machines.orin_nano(tmp_path).root
    highest = {"sys/class/devfreq/17000000.gpu/min_freq": 1_020_000_000}
    cores = {"sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": 1_728_000}
    write(root, highest if lowest else highest | cores)
    assert find_board(root).clocks_locked is (lowest is None)


def test_a_mode_without_a_name_keeps_its_number_and_one_without_a_status_file_is_asked_for(tmp_path):
    root = machines.orin_nano(tmp_path).root
    write(root, {"var/lib/nvpmodel/status": "pmode:0007 fmode:fanNull"})
    assert dataclasses.astuple(find_board(root).power_mode) == (None, 7)
    (root / "var/lib/nvpmodel/status").unlink()
    board = find_board(root)
    assert board.power_mode is None
    assert "nvpmodel is not installed" in board.unknown["power_mode"]


def test_memory_is_in_bytes_with_its_largest_free_blocks(tmp_path):
    memory = read_memory(machines.orin_nano(tmp_path).root)
    page = os.sysconf("SC_PAGE_SIZE")
    assert memory.available == int(6.1 * GIB) >> 10 << 10
    assert (memory.cma_total, memory.swap_total) == (GIB // 4, int(3.7 * GIB) >> 10 << 10)
    assert (memory.largest_block, memory.in_largest_blocks) == (page << 10, 10 * page << 10)


def test_the_largest_block_is_the_largest_that_is_free_in_any_zone(tmp_path):
    write(tmp_path, {"proc/buddyinfo": "Node 0, zone  DMA  0  2  0\nNode 0, zone  Normal  5  0  0"})
    memory = read_memory(tmp_path)
    assert memory.in_largest_blocks == 2 * memory.largest_block
    assert memory.total is None
    assert "meminfo" in memory.unknown["total"]


@pytest.mark.parametrize(
    ("flags", "tried", "exact"),
    [
        ("flags : avx2 avx512_vnni", None, True),
        ("flags : avx2", None, False),
        ("Features : fp asimddp", None, True),
        ("flags : avx512_vnni", True, False),
        ("flags : avx2", False, True),
        ("no flags", None, None),
    ],
)
def test_eight_bit_products_are_exact_as_tried_else_as_the_instructions_promise(tmp_path, flags, tried, exact):
    write(tmp_path, {"proc/cpuinfo": f"processor : 0\n{flags}"})
    assert read_processor(tmp_path, tried).exact is exact


def test_an_h100_is_described_by_nvml_and_found_on_the_bus(tmp_path):
    machine = survey(machines.h100(tmp_path / "root"))
    (gpu,) = machine.gpus
    assert (gpu.name, gpu.sm, gpu.sm_number, gpu.integrated) == ("NVIDIA H100 80GB HBM3", "9.0", 90, False)
    assert (gpu.memory_free, gpu.sm_mhz, gpu.sm_mhz_max, gpu.power_limit_w) == (79 * GIB, 345, 1980, 700.0)
    assert (machine.driver.version, machine.driver.cuda) == ("580.95.05", "13.0")
    assert gpu.unknown == {}
    assert machine.gpus_on_bus == on_bus(tmp_path / "root") == 1


def test_what_nvml_refuses_is_none_with_its_reason():
    library = H100("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetTemperature", "nvmlSystemGetCudaDriverVersion")
    driver, (gpu,) = find_gpus(library, (), None, ask_nvml=True)
    assert (gpu.memory_total, gpu.memory_free, gpu.temperature_c, driver.cuda) == (None, None, None, None)
    assert set(gpu.unknown) == {"memory_total", "memory_free", "temperature_c"}
    assert "Not Supported" in gpu.unknown["memory_free"]


def test_an_sm_that_nvml_does_not_tell_is_the_cuda_drivers():
    device = CudaDevice("NVIDIA H100", "9.0", 80 * GIB, integrated=False)
    for library in (H100("nvmlDeviceGetCudaComputeCapability"), H100("nvmlInit"), H100(nvmlDeviceGetCount=0)):
        _, (gpu,) = find_gpus(library, (device,), None, ask_nvml=True)
        assert gpu.sm == "9.0"
        assert "sm" not in gpu.unknown


@pytest.mark.parametrize(("name", "sm"), [("orin nano", 87), ("agx orin", 87), ("thor", 110)])
def test_the_gpu_of_a_jetson_is_known_by_its_chip_where_no_driver_answers(tmp_path, name, sm):
    machine = survey(machines.ALL[name](tmp_path, probe=machines.probe({})))
    assert (machine.gpu.sm_number, machine.gpu.source) == (sm, "chip of the board")


class Shared:
    """`libnvidia-ml.so.1`: fills what it is given a pointer to, as the real one does."""

    def __init__(self, code=0):
        self.code = code

    def __getattr__(self, name):
        if name == "nvmlDeviceGetMaxClockInfo":
            raise AttributeError(name)

        def function(*arguments):
            for value, target in enumerate((each for each in arguments if hasattr(each, "_obj")), 8):
                if isinstance(target._obj, ctypes.Structure):
                    target._obj.total, target._obj.free = 100, 40
                else:
                    target._obj.value = value
            for each in arguments:
                if isinstance(each, ctypes.Array):
                    each.value = b"NVIDIA \xff"
            return 0 if name in ("nvmlInit_v2", "nvmlShutdown") else self.code

        return function


def test_the_drivers_own_library_is_read_through_ctypes():
    with Nvml.open(Library(Shared())) as nvml:
        assert nvml.count() == 8
        assert nvml.gpu(0, "nvmlDeviceGetCudaComputeCapability") == (8, 9)
        assert (nvml.gpu(0, "nvmlDeviceGetMemoryInfo").total, nvml.gpu(0, "nvmlDeviceGetMemoryInfo").free) == (100, 40)
        assert nvml.gpu(0, "nvmlDeviceGetClockInfo", "NVML_CLOCK_SM") == 8
        assert nvml.name(0) == "NVIDIA \ufffd"
        with pytest.raises(SensorError, match="nvmlDeviceGetMaxClockInfo failed: function not found"):
            nvml.gpu(0, "nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_SM")


def test_an_error_of_the_drivers_own_library_is_named():
    with pytest.raises(SensorError, match="nvmlSystemGetDriverVersion failed: GPU is lost"):
        Nvml.open(Library(Shared(15))).driver()


@pytest.mark.parametrize("content", machines.GARBAGE.values(), ids=machines.GARBAGE)
def test_a_broken_machine_is_unknown_with_reasons_and_never_an_error(tmp_path, content):
    machine = survey(machines.broken(tmp_path, content))
    board, memory = machine.board, machine.memory
    assert (board.l4t, board.jetpack, board.power_mode, board.clocks_locked) == (None,) * 4
    assert (machine.gpu.sm, memory.total, memory.largest_block, machine.processor.exact) == (None,) * 4
    for part in (board, memory, machine.gpu, machine.processor):
        nothing = {name for name, value in vars(part).items() if value is None} - {"saturates"}
        assert nothing <= part.unknown.keys()
        assert all(reason and len(reason.splitlines()) == 1 for reason in part.unknown.values())


def test_versions_compare_as_numbers():
    assert at_least("10.16.2", "10.3")
    assert not at_least("10.3.0", "10.16")
    assert not at_least(None, "1")
    assert numbers("1.31.1+cu13") == (1, 31, 1)
    assert numbers("unknown") == ()
