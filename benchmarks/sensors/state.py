"""The state a machine is in while it is measured: clocks, governors, temperatures, power mode, free memory."""

from __future__ import annotations

import functools
import re
import statistics
from typing import TYPE_CHECKING, Any

from smartrt.machine import board as jetson
from smartrt.machine.reading import read_kilobytes

from .base import (
    NOT_MEASURED,
    ROOT,
    SensorError,
    distinct,
    list_names,
    or_not_measured,
    read_integer,
    read_name_or_empty,
    read_text,
)
from .nvml import describe_gpus

if TYPE_CHECKING:
    from pathlib import Path

_CPU = re.compile(r"cpu[0-9]+")
_ZONE = re.compile(r"thermal_zone([0-9]+)")
_MHZ = re.compile(r"^cpu MHz\s*:\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*$", re.MULTILINE)
_CPUINFO_BYTES = 4 << 20
_ABSURD_BELOW_C, _ABSURD_ABOVE_C = -60.0, 200.0
"""A sensor that is switched off reads something like -256 or -273 degrees."""


def machine_state(root: Path = ROOT, library: Any = None) -> dict[str, Any]:
    """What clocks, heat and power mode were at this moment; what cannot be read is the string `not measured`.

    Takes some milliseconds; on a Jetson also the time of `nvpmodel -q`.

    Args:
        root: `/`, or a tree that looks like it; then NVML is asked only through `library`.
        library: A module with the functions of `pynvml`; None is the installed one.

    Returns:
        JSON-ready: `board` and `l4t` (names), `power_mode` (`name`, `id`), `governors` (names), `cpu_mhz` (`min`,
        `median`, `max` over the cores, and their `source`), `temperature_c` (degrees by thermal zone), `gpus`
        (see `describe_gpus`), `integrated_gpu_mhz` (by devfreq device), `memory_mib` (`total`, `available`).
    """
    return {
        "board": or_not_measured(lambda: jetson.board_model(root)),
        "l4t": or_not_measured(lambda: jetson.l4t_release(root)),
        "power_mode": or_not_measured(lambda: jetson.power_mode(root)),
        "governors": or_not_measured(lambda: _governors(root)),
        "cpu_mhz": or_not_measured(lambda: _cpu_mhz(root)),
        "temperature_c": or_not_measured(lambda: _temperatures(root)),
        "gpus": NOT_MEASURED if library is None and root != ROOT else or_not_measured(lambda: describe_gpus(library)),
        "integrated_gpu_mhz": or_not_measured(lambda: jetson.gpu_clocks(root)),
        "memory_mib": {name: or_not_measured(functools.partial(_memory, root, key)) for name, key in _MEMORY.items()},
    }


_MEMORY = {"total": "MemTotal", "available": "MemAvailable"}


def _governors(root: Path) -> list[str]:
    """The different governors of the cores."""
    found = {name for core in _cores(root) if (name := read_name_or_empty(core / "cpufreq/scaling_governor"))}
    if not found:
        raise SensorError("no core names its governor")
    return sorted(found)


def _cpu_mhz(root: Path) -> dict[str, Any]:
    """From cpufreq (kHz); on machines without it, virtual ones for instance, from /proc/cpuinfo."""
    source, clocks = "scaling_cur_freq", [_clock(core) for core in _cores(root)]
    if not any(clocks):
        source, text = "/proc/cpuinfo", read_text(root / "proc/cpuinfo", _CPUINFO_BYTES)
        clocks = [float(value) for value in _MHZ.findall(text)]
    clocks = [clock for clock in clocks if clock > 0]
    if not clocks:
        raise SensorError("no core tells its clock")
    median = round(statistics.median(clocks), 3)
    return {"min": min(clocks), "median": median, "max": max(clocks), "source": source}


def _clock(core: Path) -> float:
    try:
        return read_integer(core / "cpufreq/scaling_cur_freq") / 1000
    except SensorError:  # a core that is switched off, or a driver that says <unknown>
        return 0.0


def _cores(root: Path) -> list[Path]:
    return [path for path in (root / "sys/devices/system/cpu").glob("cpu*") if _CPU.fullmatch(path.name)]


def _temperatures(root: Path) -> dict[str, float | str]:
    """Degrees Celsius by the zone's type; zones that do not answer now stay in the list."""
    folder = root / "sys/class/thermal"
    numbers = sorted(int(match[1]) for name in list_names(folder) if (match := _ZONE.fullmatch(name)))
    zones = [folder / f"thermal_zone{number}" for number in numbers]
    if not zones:
        raise SensorError(f"{folder} has no thermal zone")
    names = distinct(read_name_or_empty(zone / "type") or zone.name for zone in zones)
    return {name: or_not_measured(functools.partial(_celsius, zone)) for name, zone in zip(names, zones, strict=True)}


def _celsius(zone: Path) -> float:
    value = read_integer(zone / "temp") / 1000
    if not _ABSURD_BELOW_C < value < _ABSURD_ABOVE_C:
        raise SensorError(f"{zone} reads {value} degrees")
    return value


def _memory(root: Path, key: str) -> float:
    """MiB of one line of /proc/meminfo."""
    return round(read_kilobytes(root / "proc/meminfo", key) / (1 << 20), 1)
