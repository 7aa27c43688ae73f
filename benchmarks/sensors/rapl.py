"""RAPL: the energy counters of x86 processors, through the kernel's power capping tree.

`/sys/class/powercap/intel-rapl:N` is a zone with `name`, `energy_uj` (microjoules, from 0 to `max_energy_range_uj`
and then from 0 again) and sub-zones `intel-rapl:N:M`. AMD processors use the same names. See the kernel's
"Power Capping Framework" (Documentation/power/powercap) and its ABI page sysfs-class-powercap.

What is read, so that nothing counts twice:
    * zones of the top level named `package-N` (or `package-N-die-M`): the whole processor;
    * their sub-zones named `dram`: memory is beside the package, not in it.
Not read: `core` and `uncore` (parts of the package), `psys` (the platform: it holds packages again, and what else
depends on the board), and the tree `intel-rapl-mmio` (the same counters by another way).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from .base import SensorError, distinct, list_names, read_integer, read_name_or_empty
from .gauges import CounterGauge, GaugeMeter

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Meter, Sampling

KIND = "RAPL"
_TREE = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl:[0-9]+")
_SUBZONE = re.compile(r"intel-rapl:[0-9]+:[0-9]+")
_MICROJOULE = 1e-6
_WRAP_WATCH = 5.0
"""Seconds. The smallest ranges, 65.5 kJ, last a server's package a few minutes: a wrap must not be slept through."""


def open_rapl(root: Path, sampling: Sampling) -> Meter:
    """A meter of the packages and their memory.

    Args:
        root: `/`, or a tree that looks like it.
        sampling: Its clock is used, and with an interval of 0 no thread is started.

    Raises:
        SensorError: There is no zone, or none can be read.
    """
    zones = _zones(root / _TREE)
    gauges = {name: _gauge(zone, sampling) for name, zone in zones.items()}
    interval = _WRAP_WATCH if sampling.interval else 0.0
    return GaugeMeter.open(KIND, gauges, total=tuple(gauges), interval=interval)


def _gauge(zone: Path, sampling: Sampling) -> CounterGauge:
    try:
        wraps_at = read_integer(zone / "max_energy_range_uj")
    except SensorError:
        wraps_at = 0
    read = functools.partial(read_integer, zone / "energy_uj")
    return CounterGauge(read, _MICROJOULE, wraps_at if wraps_at > 0 else None, sampling.clock)


def _zones(tree: Path) -> dict[str, Path]:
    """Domain -> directory of its zone."""
    names = list_names(tree)
    packages = {name: read_name_or_empty(tree / name / "name") for name in names if _ZONE.fullmatch(name)}
    if not packages:
        raise SensorError(f"{tree} has no intel-rapl zone")
    packages = {name: label for name, label in packages.items() if label.startswith("package")}
    found = [(_title(label), tree / name) for name, label in packages.items()]
    for name in filter(_SUBZONE.fullmatch, names):
        parent = name.rpartition(":")[0]
        if parent in packages and read_name_or_empty(tree / name / "name") == "dram":
            found.append((f"DRAM of {_title(packages[parent])}", tree / name))
    if not found:
        raise SensorError(f"{tree} has no zone named package-N that can be read")
    titles = distinct(f"{title} (RAPL)" for title, _ in found)
    return dict(zip(titles, (zone for _, zone in found), strict=True))


def _title(label: str) -> str:
    """`package-0-die-1` -> `CPU package 0 die 1`."""
    return f"CPU {label.replace('-', ' ')}"
