"""NVML: energy, memory and clocks of NVIDIA GPUs, through the library that comes with the driver.

Energy is `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver was loaded, on Volta and later), and
where a GPU has no such counter the integral of `nvmlDeviceGetPowerUsage` (milliwatts; on Ampere and later the
average of a second, so that a window shorter than some seconds says little). Drivers refresh both every 20 to 100 ms.
The integrated GPU of a Jetson has neither: there the rails are read (`ina.py`).

Every function takes `library`, a module with the functions of `pynvml`; None is the installed one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any

from .base import SensorError, or_empty, or_not_measured, printable
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
    library = _started(library)
    try:
        gauges = dict(_gauge(library, number, sampling) for number in range(_count(library)))
        sampled = any(isinstance(gauge, PowerGauge) for gauge in gauges.values())
        return GaugeMeter.open(
            KIND,
            gauges,
            total=tuple(gauges),
            interval=sampling.interval if sampled else 0.0,
            release=functools.partial(_stop, library),
        )
    except SensorError:
        _stop(library)
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
        library = _started(library)
    except SensorError:
        return None
    try:
        devices = [_device(library, number) for number in range(_count(library))]
        lists = [_call(library, library.nvmlDeviceGetComputeRunningProcesses, device) for device in devices]
        used = [process.usedGpuMemory for processes in lists for process in processes if process.pid == pid]
    except SensorError:
        return None
    finally:
        _stop(library)
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
    library = _started(library)
    try:
        return [_describe(library, number) for number in range(_count(library))]
    finally:
        _stop(library)


def _describe(library: Any, number: int) -> dict[str, Any]:
    def system(function: Callable[..., Any]) -> Any:
        return _call(library, function)

    def gpu(function: Callable[..., Any], *which: Any) -> Any:
        return _call(library, function, _device(library, number), *which)

    questions: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(gpu(library.nvmlDeviceGetName)),
        "driver": lambda: _text(system(library.nvmlSystemGetDriverVersion)),
        "cuda_driver": lambda: _cuda_version(system(library.nvmlSystemGetCudaDriverVersion)),
        "sm_mhz": lambda: gpu(library.nvmlDeviceGetClockInfo, library.NVML_CLOCK_SM),
        "memory_mhz": lambda: gpu(library.nvmlDeviceGetClockInfo, library.NVML_CLOCK_MEM),
        "temperature_c": lambda: gpu(library.nvmlDeviceGetTemperature, library.NVML_TEMPERATURE_GPU),
        "power_limit_w": lambda: gpu(library.nvmlDeviceGetEnforcedPowerLimit) / _MILLI_PER_UNIT,
    }
    return {name: or_not_measured(ask) for name, ask in questions.items()}


def _gauge(library: Any, number: int, sampling: Sampling) -> tuple[str, Gauge]:
    """The domain's name and what reads it, by counter where there is one.

    A GPU that tells nothing gets the gauge of its power: it fails at the first reading, with NVML's reason.
    """

    def read(function: Callable[..., Any]) -> Any:
        return _call(library, function, _device(library, number))

    name = or_empty(lambda: _text(read(library.nvmlDeviceGetName)))
    domain = " ".join(filter(None, ("GPU", str(number), name, "(NVML)")))
    try:
        read(library.nvmlDeviceGetTotalEnergyConsumption)
    except SensorError:
        return domain, PowerGauge(lambda: read(library.nvmlDeviceGetPowerUsage) / _MILLI_PER_UNIT, sampling.clock)
    energy = functools.partial(read, library.nvmlDeviceGetTotalEnergyConsumption)
    return domain, CounterGauge(energy, 1 / _MILLI_PER_UNIT, None, sampling.clock)


def _started(library: Any) -> Any:
    if library is None:
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            raise SensorError("nvidia-ml-py is not installed: pip install 'smartrt[bench]'") from None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise SensorError(f"no NVIDIA driver answers ({printable(str(error))})") from None
    return library


def _stop(library: Any) -> None:
    with contextlib.suppress(library.NVMLError):  # a driver that is gone needs no shutdown
        library.nvmlShutdown()


def _count(library: Any) -> int:
    count: int = _call(library, library.nvmlDeviceGetCount)
    if not count:
        raise SensorError("the NVIDIA driver lists no GPU")
    return count


def _device(library: Any, number: int) -> Any:
    return _call(library, library.nvmlDeviceGetHandleByIndex, number)


def _call(library: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except library.NVMLError as error:
        name = getattr(function, "__name__", "NVML")
        raise SensorError(f"{name} failed: {printable(str(error))}") from None


def _text(value: Any) -> str:
    return printable(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _cuda_version(value: int) -> str:
    """13010 -> `13.1`."""
    return f"{value // 1000}.{value % 1000 // 10}"
