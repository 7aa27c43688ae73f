"""INA3221: the power monitors of Jetson boards, through sysfs. They tell power, so a thread integrates it.

Three drivers are known:
    * `ina3221` (hwmon; L4T 34 and later): `inN_label`, `inN_input` in mV, `currN_input` in mA, N from 1 to 3
      (kernel, Documentation/hwmon/ina3221; `in7` and `curr4` are sums over the chip and are not read);
    * `ina3221x` (iio; L4T up to 32): `rail_name_N`, `in_powerN_input` in mW, N from 0 to 2;
    * `ina238` (hwmon; the input of a Jetson Thor): `power1_input` in uW, one channel, called VIN.
A value takes the I2C bus about half a millisecond, and the chips average over some milliseconds themselves.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .base import SensorError, distinct, read_integer, read_name_or_empty
from .gauges import GaugeMeter, PowerGauge
from .rails import is_connected, total_rails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .base import Meter, Sampling

KIND = "INA3221"
_DRIVERS = "sys/bus/i2c/drivers"


def open_ina(root: Path, sampling: Sampling) -> Meter:
    """A meter of every rail that has a name.

    Args:
        root: `/`, or a tree that looks like it.
        sampling: How often the thread reads all rails.

    Raises:
        SensorError: The board has no such monitor, or no rail can be read.
    """
    drivers = root / _DRIVERS
    channels = [*_hwmon(drivers), *_iio(drivers), *_input(drivers)]
    if not channels:
        raise SensorError(f"{drivers} has no ina3221 with a named rail")
    titles = list(distinct(f"{rail} ({chip})" for rail, chip, _ in channels))
    gauges = {title: PowerGauge(watts, sampling.clock) for title, (_, _, watts) in zip(titles, channels, strict=True)}
    total = total_rails([rail for rail, _, _ in channels])
    domains = [title for title, (rail, _, _) in zip(titles, channels, strict=True) if rail in total]
    return GaugeMeter.open(KIND, gauges, total=domains, interval=sampling.interval)


def _hwmon(drivers: Path) -> Iterator[tuple[str, str, Callable[[], float]]]:
    for label in sorted(drivers.glob("ina3221/*/hwmon/hwmon*/in[1-3]_label")):
        number = label.name[2]
        volts, amperes = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
        if is_connected(rail := read_name_or_empty(label)):
            yield rail, KIND, functools.partial(_volts_times_amperes, volts, amperes)


def _iio(drivers: Path) -> Iterator[tuple[str, str, Callable[[], float]]]:
    for label in sorted(drivers.glob("ina3221x/*/iio:device*/rail_name_[0-2]")):
        power = label.with_name(f"in_power{label.name[-1]}_input")
        if is_connected(rail := read_name_or_empty(label)):
            yield rail, KIND, functools.partial(_scaled, power, 1e-3)


def _input(drivers: Path) -> Iterator[tuple[str, str, Callable[[], float]]]:
    for power in sorted(drivers.glob("ina238/*/hwmon/hwmon*/power1_input")):
        yield "VIN", "INA238", functools.partial(_scaled, power, 1e-6)


def _volts_times_amperes(volts: Path, amperes: Path) -> float:
    return read_integer(volts) * read_integer(amperes) * 1e-6


def _scaled(power: Path, unit: float) -> float:
    return read_integer(power) * unit
