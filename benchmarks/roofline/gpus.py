"""Memory bandwidth and peak arithmetic of GPUs as NVIDIA publishes them. A GPU that is not here is not guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.cuda import Cuda
from smartrt.errors import OptionError, SmartrtError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Roof:
    """What a GPU can do at most.

    Attributes:
        name: Of the GPU or board.
        bandwidth_gb: Of its memory, 10^9 bytes a second.
        peak_tflops: 10^12 operations a second by arithmetic (``fp32``, ``tf32``, ``fp16``, ``int8``), dense, a
            multiplication and an addition being two. Arithmetic that is not there is not known.
        source: Of the figures.
    """

    name: str
    bandwidth_gb: float
    peak_tflops: Mapping[str, float]
    source: str

    def to_json(self) -> dict[str, Any]:
        """For the result."""
        return {
            "name": self.name,
            "bandwidth_gb": self.bandwidth_gb,
            "peak_tflops": dict(self.peak_tflops),
            "source": self.source,
        }


@dataclass(frozen=True)
class Override:
    """Figures that replace the table's.

    Attributes:
        bandwidth_gb: See `Roof`.
        peak_tflops: Of whichever arithmetic a bundle computes in.
    """

    bandwidth_gb: float | None = None
    peak_tflops: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--bandwidth-gb", self.bandwidth_gb), ("--peak-tflops", self.peak_tflops)):
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"{name} must be a number above 0, got {value!r}")


_ARITHMETIC = ("fp32", "tf32", "fp16", "bf16", "int8")
_SXM = {"fp32": 67.0, "tf32": 494.7, "fp16": 989.4, "bf16": 989.4, "int8": 1978.9}
"""H100 and H200 SXM; the datasheets print tensor figures with sparsity, twice these."""

_GPUS: tuple[tuple[str, Roof], ...] = (
    ("NVIDIA H100 80GB HBM3", Roof("H100 SXM", 3350, _SXM, "NVIDIA H100 datasheet, dense")),
    (
        "NVIDIA H100 PCIe",
        Roof(
            "H100 PCIe",
            2000,
            {"fp32": 51.0, "tf32": 378.0, "fp16": 756.0, "bf16": 756.0, "int8": 1513.0},
            "NVIDIA H100 PCIe datasheet, dense",
        ),
    ),
    ("NVIDIA H200", Roof("H200 SXM", 4800, _SXM, "NVIDIA H200 datasheet, dense")),
    *(
        (
            name,
            Roof(
                short,
                bandwidth,
                {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0, "int8": 624.0},
                "NVIDIA A100 datasheet, dense",
            ),
        )
        for name, short, bandwidth in (
            ("NVIDIA A100-SXM4-80GB", "A100 SXM 80 GB", 2039),
            ("NVIDIA A100-SXM4-40GB", "A100 SXM 40 GB", 1555),
            ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB", 1935),
        )
    ),
    (
        "NVIDIA L4",
        Roof(
            "L4",
            300,
            {"fp32": 30.3, "tf32": 60.0, "fp16": 121.0, "bf16": 121.0, "int8": 242.5},
            "NVIDIA L4 datasheet, dense (half of what it prints with sparsity)",
        ),
    ),
    ("Tesla T4", Roof("T4", 320, {"fp32": 8.1, "fp16": 65.0, "int8": 130.0}, "NVIDIA T4 datasheet")),
)
"""By the name that CUDA tells, whole."""

_JETSON = r"(NVIDIA )?(Jetson )?"
_BOARDS: tuple[tuple[str, Roof], ...] = (
    (
        _JETSON + r"Orin Nano (8GB|(Engineering Reference )?Developer Kit) Super",
        Roof(
            "Jetson Orin Nano 8 GB, Super",
            102,
            {"fp16": 16.75, "int8": 33.5},
            "NVIDIA Jetson Orin Nano Super datasheet: 102 GB/s, 67 INT8 TOPS with sparsity; dense is half, "
            "float16 half of that",
        ),
    ),
    (
        _JETSON + r"Orin NX\b.*",
        Roof("Jetson Orin NX", 102.4, {}, "NVIDIA Jetson Orin NX datasheet; it prints no peak of the GPU alone"),
    ),
    (
        _JETSON + r"AGX Orin (64GB|Developer Kit)",
        Roof(
            "Jetson AGX Orin 64 GB",
            204.8,
            {"fp32": 5.3, "fp16": 42.5, "int8": 85.0},
            "NVIDIA Jetson AGX Orin technical brief: 204.8 GB/s, GPU 5.3 TFLOPS and 170 INT8 TOPS with "
            "sparsity; dense is half, float16 half of that",
        ),
    ),
    (
        _JETSON + r"AGX Thor Developer Kit",
        Roof(
            "Jetson AGX Thor",
            273,
            {"fp16": 258.75},
            "NVIDIA Jetson Thor datasheet: 273 GB/s, 2,070 FP4 TFLOPS with sparsity; dense is half, "
            "float16 a quarter of that",
        ),
    ),
)
"""By the board's model, whole: CUDA calls the GPU of every Orin the same, and modules of one family differ (AGX Orin
32GB, Orin Nano 4GB). Figures are of the highest power mode."""


def gpu_name(device: str) -> str:
    """What CUDA calls the GPU that a device is here: it counts as CUDA_VISIBLE_DEVICES says, which NVML does not.

    Args:
        device: ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: There is no such GPU.
        MissingDependencyError: There is no libcudart.
    """
    with Cuda.open(int(device.partition(":")[2] or 0)) as cuda:
        return cuda.properties.name


def find_roof(
    device: str, board: str = "", override: Override | None = None, name_of: Callable[[str], str] = gpu_name
) -> Roof | str:
    """The roof of a device; the reason why it is not known if it is not.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        board: Model of the board, if it is a Jetson.
        override: What was given on the command line; it counts for a CPU, too.
        name_of: The name of a CUDA device.
    """
    found, given = _listed(device, board, name_of), override or Override()
    if given == Override():
        return found
    known = found if isinstance(found, Roof) else Roof(device, 0.0, {}, "")
    bandwidth = given.bandwidth_gb or known.bandwidth_gb
    peaks = known.peak_tflops if given.peak_tflops is None else dict.fromkeys(_ARITHMETIC, given.peak_tflops)
    if not bandwidth or not peaks:
        missing = "--peak-tflops" if bandwidth else "--bandwidth-gb"
        return f"{found if isinstance(found, str) else found.source}; give {missing} as well"
    return Roof(known.name, bandwidth, peaks, ", ".join(filter(None, ("command line", known.source))))


def _listed(device: str, board: str, name_of: Callable[[str], str]) -> Roof | str:
    if not device.startswith("cuda"):
        return "bandwidth and peak of a CPU are in no table"
    for pattern, roof in _BOARDS:
        if re.fullmatch(pattern, board):
            return roof
    try:
        name = name_of(device)
    except SmartrtError as error:
        return str(error)
    if "MIG" in name.split():
        return f"{name!r} is a slice of a GPU (MIG): what share of the bandwidth it has is in no table"
    return next((roof for known, roof in _GPUS if known == name), f"the GPU {name!r} is in no table")
