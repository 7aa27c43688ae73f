"""Names of devices: ``cpu``, ``cuda`` and ``cuda:N``."""

from __future__ import annotations

import re

from ..errors import OptionError

_DEVICE = re.compile(r"cpu|cuda(?::([0-9]{1,4}))?")


def parse_device(device: object) -> int | None:
    """The number of a GPU, as CUDA_VISIBLE_DEVICES counts; None for the CPU. ``cuda`` is ``cuda:0``.

    Raises:
        OptionError: It is no name of a device.
    """
    match = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if not match:
        raise OptionError(f"unknown device {device!r}; there are: cpu, cuda, cuda:N")
    return None if device == "cpu" else int(match[1] or 0)
