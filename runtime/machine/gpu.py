"""The GPUs: as NVML lists them, else as the CUDA driver does, else the one that a Jetson's chip has.

NVML tells most and is not everywhere: the GPU of a Jetson answers little of it or nothing. The bus tells that there is
a GPU even where no driver is installed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from .board import SM_OF_CHIP
from .nvml import Nvml
from .reading import Answers, list_names, read_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .board import Board
    from .libraries import CudaDevice

_NVIDIA = "0x10de"
_DISPLAY = "0x03"


@dataclass(frozen=True)
class Gpu:
    """One GPU. None is what could not be read; `unknown` says why.

    Attributes:
        name: As the source names it.
        sm: Compute capability, such as ``8.7``.
        integrated: Whether it shares the processor's memory.
        memory_total: Bytes.
        memory_free: Bytes.
        sm_mhz: Clock of the SMs now.
        sm_mhz_max: Their highest clock.
        memory_mhz: Clock of the memory now.
        temperature_c: Degrees Celsius.
        power_limit_w: Watts.
        source: What listed it.
        unknown: Attribute -> why it is None.
    """

    name: str | None
    sm: str | None
    integrated: bool
    memory_total: int | None
    memory_free: int | None
    sm_mhz: int | None
    sm_mhz_max: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_limit_w: float | None
    source: Literal["NVML", "CUDA driver", "chip of the board"]
    unknown: dict[str, str]

    @property
    def sm_number(self) -> int | None:
        """87 for ``8.7``; None where it is not known."""
        major, _, minor = (self.sm or "").partition(".")
        return int(major) * 10 + int(minor) if major.isdecimal() and minor.isdecimal() else None


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver: its version, and the newest CUDA that it runs."""

    version: str | None
    cuda: str | None
    unknown: dict[str, str]


def find_gpus(
    library: Any, devices: Sequence[CudaDevice], board: Board | None, *, ask_nvml: bool
) -> tuple[Driver, tuple[Gpu, ...]]:
    """The driver and its GPUs.

    Args:
        library: Something with the functions of `pynvml`; None is the driver's own library.
        devices: What the CUDA driver lists.
        board: The Jetson, if it is one.
        ask_nvml: Whether NVML may be asked at all.
    """
    answers = Answers()
    driver = Driver(None, None, {})
    gpus: tuple[Gpu, ...] | None = None
    if ask_nvml:
        asked = answers.ask("nvml", lambda: _by_nvml(library, integrated=board is not None))
        driver, gpus = asked or (driver, None)
    reason = answers.unknown.get("nvml", "NVML was not asked")
    if driver.version is None and not driver.unknown:
        driver = replace(driver, unknown={"version": reason, "cuda": reason})
    if not gpus:
        gpus = tuple(_by_driver(device, reason) for device in devices)
    if not gpus and board is not None:
        gpus = _by_chip(board, reason)
    return driver, tuple(_completed(gpu, gpus, devices, board) for gpu in gpus)


def on_bus(root: Path) -> int | None:
    """How many GPUs of NVIDIA are on the PCI bus; None where there is no bus to look at.

    Args:
        root: `/`, or a tree that looks like it.
    """
    folder = root / "sys/bus/pci/devices"
    asked = Answers()
    names = asked.ask("bus", lambda: list_names(folder))
    if names is None:
        return None
    wanted = {"vendor": _NVIDIA, "class": _DISPLAY}

    def is_gpu(name: str) -> bool:
        read = {key: asked.ask(key, functools.partial(read_name, folder / name / key)) for key in wanted}
        return all((read[key] or "").startswith(prefix) for key, prefix in wanted.items())

    return sum(map(is_gpu, names))


def _by_nvml(library: Any, *, integrated: bool) -> tuple[Driver, tuple[Gpu, ...]]:
    with Nvml.open(library) as nvml:
        answers = Answers()
        driver = Driver(answers.ask("version", nvml.driver), answers.ask("cuda", nvml.cuda), answers.unknown)
        count = Answers().ask("count", nvml.count) or 0
        return driver, tuple(_gpu(nvml, number, integrated=integrated) for number in range(count))


def _gpu(nvml: Nvml, number: int, *, integrated: bool) -> Gpu:
    answers = Answers()

    def ask(name: str, function: str, *constants: str) -> Any:
        return answers.ask(name, lambda: nvml.gpu(number, function, *constants))

    memory = ask("memory_total", "nvmlDeviceGetMemoryInfo")
    if memory is None:
        answers.unknown["memory_free"] = answers.unknown["memory_total"]
    power = ask("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit")
    return Gpu(
        name=answers.ask("name", lambda: nvml.name(number)),
        sm=answers.ask("sm", lambda: "{}.{}".format(*nvml.gpu(number, "nvmlDeviceGetCudaComputeCapability"))),
        integrated=integrated,
        memory_total=None if memory is None else int(memory.total),
        memory_free=None if memory is None else int(memory.free),
        sm_mhz=ask("sm_mhz", "nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
        sm_mhz_max=ask("sm_mhz_max", "nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_SM"),
        memory_mhz=ask("memory_mhz", "nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM"),
        temperature_c=ask("temperature_c", "nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
        power_limit_w=None if power is None else power / 1000,
        source="NVML",
        unknown=answers.unknown,
    )


_ASKED_OF_NVML = ("memory_free", "sm_mhz", "sm_mhz_max", "memory_mhz", "temperature_c", "power_limit_w")


def _by_driver(device: CudaDevice, reason: str) -> Gpu:
    return replace(
        _silent(device.name, device.sm, "CUDA driver", dict.fromkeys(_ASKED_OF_NVML, reason)),
        integrated=device.integrated,
        memory_total=device.memory,
    )


def _by_chip(board: Board, reason: str) -> tuple[Gpu, ...]:
    unknown = dict.fromkeys(("memory_total", *_ASKED_OF_NVML), reason)
    sm = SM_OF_CHIP.get(board.chip or "")
    if sm is None:
        unknown["sm"] = f"the chip {board.chip or 'of this board'} is none that smartrt knows ({', '.join(SM_OF_CHIP)})"
    if board.chip is None:
        unknown["name"] = board.unknown.get("chip", reason)
    return (_silent(board.chip, sm, "chip of the board", unknown),)


def _silent(
    name: str | None, sm: str | None, source: Literal["CUDA driver", "chip of the board"], unknown: dict[str, str]
) -> Gpu:
    return Gpu(
        name, sm, integrated=True, memory_total=None, memory_free=None, sm_mhz=None, sm_mhz_max=None, memory_mhz=None,
        temperature_c=None, power_limit_w=None, source=source, unknown=unknown,
    )  # fmt: skip


def _completed(gpu: Gpu, gpus: Sequence[Gpu], devices: Sequence[CudaDevice], board: Board | None) -> Gpu:
    """The same GPU with an SM that NVML did not tell: the CUDA driver's where there is one GPU, or the chip's."""
    if gpu.sm is not None:
        return gpu
    sm = devices[0].sm if len(devices) == len(gpus) == 1 else SM_OF_CHIP.get((board and board.chip) or "")
    if sm is None:
        return gpu
    return replace(gpu, sm=sm, unknown={name: reason for name, reason in gpu.unknown.items() if name != "sm"})
