"""NVIDIA GPUs through NVML: energy, memory of a process, clocks, against a library that is made up."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from smartrt.benchmarks.sensors import NOT_MEASURED, Energy, Sampling, device_memory
from smartrt.benchmarks.sensors.base import SensorError
from smartrt.benchmarks.sensors.nvml import describe_gpus, open_nvml
from support import message_of


class NVMLError(Exception):
    """The base class of the library's errors."""


@dataclass
class Gpu:
    """What one GPU answers; None is an error."""

    name: str | bytes | None = "NVIDIA H100"
    energy: int | None = 1_000_000
    power: int | None = 300_000
    clocks: tuple[int, int] | None = (1980, 2619)
    limit: int | None = 700_000
    processes: list | None = field(default_factory=list)


class Library:
    """A module with the functions of `pynvml`."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *gpus, driver="580.95.05", cuda=13010):
        self.gpus, self.driver, self.cuda = gpus, driver, cuda
        self.users = 0

    def _answer(self, value):
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def nvmlInit(self):  # noqa: N802
        self._answer(self.driver)
        self.users += 1

    def nvmlShutdown(self):  # noqa: N802
        self.users -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):  # noqa: N802
        return self._answer(self.gpus[number])

    def nvmlDeviceGetName(self, gpu):  # noqa: N802
        return self._answer(gpu.name)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):  # noqa: N802
        return self._answer(gpu.energy)

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        return self._answer(gpu.power)

    def nvmlDeviceGetClockInfo(self, gpu, which):  # noqa: N802
        return self._answer(gpu.clocks)[which - 1]

    def nvmlDeviceGetTemperature(self, gpu, sensor):  # noqa: N802
        assert sensor == 0
        return self._answer(gpu.clocks) and 41

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):  # noqa: N802
        return self._answer(gpu.limit)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):  # noqa: N802
        return self._answer(gpu.processes)

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self):  # noqa: N802
        return self._answer(self.cuda)


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sampling(clock):
    return Sampling(interval=0, clock=clock)


def process(pid, used):
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def test_the_counter_of_a_gpu_is_read_in_millijoules_from_open(sampling):
    library = Library(Gpu(), Gpu(name=b"NVIDIA L4", energy=0))
    meter = open_nvml(sampling, library)
    assert meter.domains == meter.total == ("GPU 0 NVIDIA H100 (NVML)", "GPU 1 NVIDIA L4 (NVML)")
    library.gpus[0].energy += 2_500
    assert meter.joules() == pytest.approx({"GPU 0 NVIDIA H100 (NVML)": 2.5, "GPU 1 NVIDIA L4 (NVML)": 0})
    assert library.users == 1
    meter.close()
    meter.close()
    assert library.users == 0


def test_a_gpu_without_a_counter_is_sampled(sampling, clock):
    gpu = Gpu(energy=None, power=100_000)
    meter = open_nvml(sampling, Library(gpu))
    clock.now, gpu.power = 2, 200_000
    assert meter.joules() == pytest.approx({"GPU 0 NVIDIA H100 (NVML)": 300})


def test_only_a_gpu_without_a_counter_needs_a_thread():
    for gpu, threads in ((Gpu(), 0), (Gpu(energy=None), 1)):
        meter = open_nvml(Sampling(interval=0.001), Library(gpu))
        assert (meter._ticker is not None) == bool(threads)
        meter.close()


def test_a_gpu_that_is_lost_or_whose_driver_was_loaded_anew_leaves_the_others(sampling):
    gone, reset, good = gpus = (Gpu(), Gpu(), Gpu())
    meter = open_nvml(sampling, Library(*gpus))
    gone.energy, reset.energy, good.energy = None, 5, 1_001_000
    assert meter.joules() == pytest.approx({"GPU 2 NVIDIA H100 (NVML)": 1})
    assert meter.total == ()
    assert "Not Supported" in meter.lost["GPU 0 NVIDIA H100 (NVML)"]
    assert "from 1000000 to 5" in meter.lost["GPU 1 NVIDIA H100 (NVML)"]


def test_a_gpu_that_says_nothing_is_lost_from_the_start_and_the_others_are_read(sampling):
    meter = open_nvml(sampling, Library(None, Gpu()))
    assert meter.domains == ("GPU 1 NVIDIA H100 (NVML)",)
    assert "Not Supported" in meter.lost["GPU 0 (NVML)"]


NOTHING = {
    "no driver": (Library(driver=None), "no NVIDIA driver answers (Not Supported)"),
    "no GPU": (Library(), "lists no GPU"),
    "a GPU that tells nothing, as on a Jetson": (Library(Gpu(energy=None, power=None)), "PowerUsage failed"),
}


@pytest.mark.parametrize(("library", "mention"), NOTHING.values(), ids=NOTHING)
def test_what_tells_no_energy_is_absent_with_one_line_and_released(tmp_path, sampling, library, mention):
    energy = Energy.open(tmp_path, sampling, library)
    assert energy.domains == ()
    message_of(Exception(energy.absent["NVML"]), mention)
    assert library.users == 0


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch, sampling):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SensorError) as caught:
        open_nvml(sampling)
    message_of(caught.value, "nvidia-ml-py", "pip install 'smartrt[bench]'")
    assert device_memory(1) is None


def test_a_server_adds_its_gpus_to_its_processors(tmp_path, sampling):
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, value in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "1000")):
        (zone / name).write_text(value, encoding="utf-8")
    energy = Energy.open(tmp_path, sampling, Library(Gpu()))
    assert energy.total == ("CPU package 0 (RAPL)", "GPU 0 NVIDIA H100 (NVML)")


MEMORY = {
    "on one GPU": ([process(7, 100), process(8, 1)], [], 100),
    "on two GPUs": ([process(7, 100)], [process(7, 11)], 111),
    "not listed": ([process(8, 1)], [], None),
    "listed without its memory": ([process(7, None)], [process(7, 11)], None),
    "on a GPU that does not say": ([process(7, 100)], None, None),
}


@pytest.mark.parametrize(("first", "second", "used"), MEMORY.values(), ids=MEMORY)
def test_the_memory_of_a_process_is_summed_or_not_told(first, second, used):
    library = Library(Gpu(processes=first), Gpu(processes=second))
    assert device_memory(7, library) == used
    assert library.users == 0


def test_a_machine_without_a_driver_tells_no_memory():
    assert device_memory(7, Library(driver=None)) is None
    assert device_memory(7, Library()) is None


def test_a_gpu_is_described_with_versions_clocks_and_limit():
    library = Library(Gpu())
    assert describe_gpus(library) == [
        {
            "name": "NVIDIA H100",
            "driver": "580.95.05",
            "cuda_driver": "13.1",
            "sm_mhz": 1980,
            "memory_mhz": 2619,
            "temperature_c": 41,
            "power_limit_w": 700.0,
        }
    ]
    assert library.users == 0


def test_what_a_gpu_does_not_tell_is_not_measured_rather_than_null():
    lost, silent = describe_gpus(Library(None, Gpu(name=None, clocks=None, limit=None), cuda=None))
    assert lost["driver"] == silent["driver"] == "580.95.05"
    assert {value for key, value in (lost | silent).items() if key != "driver"} == {NOT_MEASURED}
    assert "null" not in json.dumps([lost, silent])
