"""Looking at the whole machine once: `survey() -> Machine`, from which everything else is decided.

Where a fact comes from is in `Sources`, so that a test, or a host's tree inside a container, can be looked at instead
of this machine.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import ENGINES
from ..scoring.blas import better_kernels
from . import libraries
from .board import Board, find_board
from .gpu import Driver, Gpu, find_gpus, on_bus
from .memory import Memory, read_memory
from .onnx_runtime import OnnxRuntime, read_onnx_runtime
from .processor import Processor, read_processor
from .reading import ROOT, SensorError, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .libraries import Probe

_TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")


@dataclass(frozen=True)
class System:
    """The operating system and this Python.

    Attributes:
        name: Such as ``Linux``.
        release: Of the kernel.
        architecture: ``x86_64``, ``aarch64``, …
        python: Version.
        environment: Whether this Python is a virtual environment's.
        sees_system: Whether it sees the packages that the system's Python has.
    """

    name: str
    release: str
    architecture: str
    python: str
    environment: bool
    sees_system: bool

    @classmethod
    def here(cls) -> System:
        """The one this process runs on."""
        environment = sys.prefix != sys.base_prefix
        return cls(
            platform.system(),
            platform.release(),
            platform.machine(),
            platform.python_version(),
            environment,
            not environment or _sees_system(Path(sys.prefix)),
        )


@dataclass(frozen=True)
class TensorRt:
    """TensorRT: what its library says of itself, and whether this Python finds the module."""

    version: str | None
    module: bool


def saturates() -> bool | None:
    """Whether 8-bit products come out wrong here, tried on ONNX Runtime; None where it is not installed or fails."""
    from ..scoring import rough
    from ..scoring.graphs import open_product

    try:
        return None if open_product("rough") is None else rough.saturates()
    except Exception:  # noqa: BLE001  (a report must not end because a trial does)
        return None


@dataclass(frozen=True)
class Sources:
    """Where the facts come from; the defaults look at this machine.

    Attributes:
        root: `/`, or a tree that looks like it. NVML, the loading of libraries and the trial of 8-bit products look at
            this machine and nothing else: with another root they are asked only if they are given here.
        nvml: Something with the functions of `pynvml`; None is the driver's library.
        probe: Loads shared libraries.
        saturates: Tries 8-bit products.
        version: Name of a Python package -> its version.
        module: Name of a Python module -> its folder.
        onnx_runtime: Reads the ONNX Runtime.
        blas: Value of OPENBLAS_CORETYPE that would make NumPy faster here; None where nothing would.
        system: The operating system and Python.
        engines: What this version of smartrt can run.
    """

    root: Path = ROOT
    nvml: Any = None
    probe: Callable[[Sequence[str]], Probe] | None = None
    saturates: Callable[[], bool | None] | None = None
    version: Callable[[str], str | None] = libraries.installed_version
    module: Callable[[str], Path | None] = libraries.find_module
    onnx_runtime: Callable[[], OnnxRuntime] = read_onnx_runtime
    blas: Callable[[], str | None] = better_kernels
    system: System = field(default_factory=System.here)
    engines: tuple[str, ...] = ENGINES

    @property
    def here(self) -> bool:
        """Whether this machine is meant."""
        return self.root == ROOT


@dataclass(frozen=True)
class Machine:
    """Everything that decides what smartrt can run here. See the classes of the parts.

    Attributes:
        system: The operating system and Python.
        processor: Its cores and instructions.
        memory: In bytes.
        board: The Jetson; None on another machine.
        driver: NVIDIA's.
        gpus: In NVML's or the driver's order.
        gpus_on_bus: GPUs of NVIDIA on the PCI bus, with or without a driver; None where there is no such bus.
        cuda: ``ready``, or why the CUDA driver lists no GPU.
        shared: Shared libraries, by name.
        onnx_runtime: ONNX Runtime.
        tensorrt: TensorRT.
        blas_kernels: Value of OPENBLAS_CORETYPE that would make NumPy faster here; None where nothing would.
        engines: What this version of smartrt can run.
    """

    system: System
    processor: Processor
    memory: Memory
    board: Board | None
    driver: Driver
    gpus: tuple[Gpu, ...]
    gpus_on_bus: int | None
    cuda: str
    shared: dict[str, libraries.SharedLibrary]
    onnx_runtime: OnnxRuntime
    tensorrt: TensorRt
    blas_kernels: str | None
    engines: tuple[str, ...]

    @property
    def gpu(self) -> Gpu | None:
        """The first GPU."""
        return self.gpus[0] if self.gpus else None


def survey(sources: Sources | None = None) -> Machine:
    """Look at the machine. Nothing that is missing or broken raises: what is not known is None, its reason beside it.

    Args:
        sources: Where to look; None is this machine.
    """
    sources = sources or Sources()
    board = find_board(sources.root)
    onnx_runtime = sources.onnx_runtime()
    probed = _probe(sources, onnx_runtime.needed or ())
    ask_nvml = sources.here or sources.nvml is not None
    driver, gpus = find_gpus(sources.nvml, probed.devices, board, ask_nvml=ask_nvml)
    tried = sources.saturates or (saturates if sources.here else lambda: None)
    return Machine(
        system=sources.system,
        processor=read_processor(sources.root, tried()),
        memory=read_memory(sources.root),
        board=board,
        driver=driver,
        gpus=gpus,
        gpus_on_bus=on_bus(sources.root),
        cuda=probed.cuda,
        shared=probed.libraries,
        onnx_runtime=onnx_runtime,
        tensorrt=_tensorrt(sources, probed),
        blas_kernels=sources.blas(),
        engines=sources.engines,
    )


def _probe(sources: Sources, files: Sequence[str]) -> Probe:
    if sources.probe is not None:
        return sources.probe(files)
    if sources.here:
        return libraries.probe(files)
    reason = f"not tried: {sources.root} is not this machine's root"
    return libraries.understand(b"", dict.fromkeys(libraries.SHARED, ()), reason)


def _tensorrt(sources: Sources, probed: Probe) -> TensorRt:
    library = probed.libraries.get("libnvinfer")
    installed = next(filter(None, map(sources.version, _TENSORRT_PACKAGES)), None)
    return TensorRt((library and library.version) or installed, sources.module("tensorrt") is not None)


def _sees_system(prefix: Path) -> bool:
    try:
        settings = read_text(prefix / "pyvenv.cfg")
    except SensorError:  # no virtual environment of venv: nothing is known against it
        return True
    return "include-system-site-packages = true" in settings.lower()
