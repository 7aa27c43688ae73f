"""NVML: energy, memory and clocks of NVIDIA GPUs, through the library that comes with the driver.

Energy is `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver was loaded, on Volta and later), and
where a GPU has no such counter the integral of `nvmlDeviceGetPowerUsage` (milliwatts; on Ampere and later the
average of a second, so that a window shorter than some seconds says little). Drivers refresh both every 20 to 100 ms.
The integrated GPU of a Jetson has neither: there the rails are read (`ina.py`).

Every function takes `library`, a module with the functions of `pynvml`; None is the installed one.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from smartrt.machine.nvml import Nvml

from .base import SensorError, or_empty, or_not_measured
from .gauges import CounterGauge, GaugeMeter, PowerGauge

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Meter, Sampling
    from .gauges import Gauge

KIND = "NVML"
_MILLI_PER_UNIT = 1000


def open_nvml(sampling: Sampling, library: Any = None) -> Meter:
    """A meter of every GPU that tells its energy or its power.

    Args:
        sampling: For the GPUs that have no counter.
        library: See the top of the file.

    Raises:
        SensorError: No library, no driver, no GPU, or none that tells anything.
    """
    nvml = _started(library)
    try:
        gauges = dict(_gauge(nvml, number, sampling) for number in range(nvml.count()))
        sampled = any(isinstance(gauge, PowerGauge) for gauge in gauges.values())
        return GaugeMeter.open(
            KIND, gauges, total=tuple(gauges), interval=sampling.interval if sampled else 0.0, release=nvml.close
        )
    except SensorError:
        nvml.close()
        raise


def device_memory(pid: int, library: Any = None) -> int | None:
    """Bytes that a process holds on all GPUs together.

    Args:
        pid: Its number, as the driver sees it.
        library: See the top of the file.

    Returns:
        None where it cannot be told: no library, driver or GPU, a GPU that does not say (Jetson), or a process
        that the driver does not list, as in a container, where the numbers are others than the driver's.
    """
    try:
        with _started(library) as nvml:
            lists = [nvml.gpu(number, "nvmlDeviceGetComputeRunningProcesses") for number in range(nvml.count())]
    except SensorError:
        return None
    used = [process.usedGpuMemory for processes in lists for process in processes if process.pid == pid]
    return sum(used) if used and None not in used else None


def describe_gpus(library: Any = None) -> list[dict[str, Any]]:
    """Name, versions, clocks (MHz), temperature (Celsius) and power limit (watts) of every GPU, JSON-ready.

    Args:
        library: See the top of the file.

    Returns:
        One entry per GPU; a value that it does not tell is the string `not measured`.

    Raises:
        SensorError: No library, no driver or no GPU.
    """
    with _started(library) as nvml:
        return [_describe(nvml, number) for number in range(nvml.count())]


def _describe(nvml: Nvml, number: int) -> dict[str, Any]:
    questions: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.name(number),
        "driver": nvml.driver,
        "cuda_driver": nvml.cuda,
        "sm_mhz": lambda: nvml.gpu(number, "nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
        "memory_mhz": lambda: nvml.gpu(number, "nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM"),
        "temperature_c": lambda: nvml.gpu(number, "nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
        "power_limit_w": lambda: nvml.gpu(number, "nvmlDeviceGetEnforcedPowerLimit") / _MILLI_PER_UNIT,
    }
    return {name: or_not_measured(ask) for name, ask in questions.items()}


def _gauge(nvml: Nvml, number: int, sampling: Sampling) -> tuple[str, Gauge]:
    """The domain's name and what reads it, by counter where there is one.

    A GPU that tells nothing gets the gauge of its power: it fails at the first reading, with NVML's reason.
    """

    def energy() -> Any:
        return nvml.gpu(number, "nvmlDeviceGetTotalEnergyConsumption")

    name = or_empty(lambda: nvml.name(number))
    domain = " ".join(filter(None, ("GPU", str(number), name, "(NVML)")))
    try:
        energy()
    except SensorError:
        power = functools.partial(nvml.gpu, number, "nvmlDeviceGetPowerUsage")
        return domain, PowerGauge(lambda: power() / _MILLI_PER_UNIT, sampling.clock)
    return domain, CounterGauge(energy, 1 / _MILLI_PER_UNIT, None, sampling.clock)


def _started(library: Any) -> Nvml:
    if library is None:
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            raise SensorError("nvidia-ml-py is not installed: pip install 'smartrt[bench]'") from None
    return Nvml.open(library)
