"""ONNX Runtime's CUDA provider: whether it can load, and what it is told.

ONNX Runtime falls back to the CPU in silence: where the provider's libraries are missing, and operator by operator
where it has no kernel (`ort_placement`). So each is asked for before and after a session is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cuda import Cuda
from ..errors import DeviceError, MissingDependencyError
from ..machine.cuda_binary import gpu_code, needed_libraries
from ..machine.libraries import wheel_folders
from ..machine.onnx_runtime import CUDA, OF_NVIDIA, PACKAGES, PROVIDER_FILE
from ..machine.reading import SensorError
from .captures import CAPTURES
from .devices import parse_device
from .ort_bound import BoundEngine
from .ort_graphs import GraphEngine
from .ort_placement import check_kernels, check_placement
from .ort_session import load_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..manifest import Manifest
    from .buckets import Buckets
    from .ort import OrtOptions
    from .ort_session import OrtEngine

_DRIVER = "libcuda.so.1"
_WHEEL = "'onnxruntime-gpu[cuda,cudnn]'"


def load_for_all(name: str) -> Any:
    """Load a shared library so that those loaded later find its functions; raises OSError."""
    return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)


@dataclass(frozen=True)
class CudaProvider:
    """The CUDA provider of one ONNX Runtime.

    Attributes:
        runtime: The module onnxruntime.
        load: Loads a shared library by name or path, for all that is loaded later, or raises OSError.
        open_gpu: Opens a GPU by its number.
        processor: As `platform.machine` names it: what an error tells to install depends on it.
    """

    runtime: Any
    load: Callable[[str], Any] = load_for_all
    open_gpu: Callable[[int], Cuda] = Cuda.open
    processor: str = field(default_factory=lambda: platform.machine())

    def open(
        self,
        path: Path,
        device: str,
        settings: Any,
        options: OrtOptions,
        *,
        buckets: Buckets | None = None,
        manifest: Manifest | None = None,
    ) -> OrtEngine:
        """Load a graph on a GPU, while nobody records.

        Args:
            path: Of the ONNX file.
            device: ``cuda`` or ``cuda:N``.
            settings: SessionOptions.
            options: What else it is told.
            buckets: The shapes that are recorded; None if none are.
            manifest: What is known of the graph; None for a file alone.

        Raises:
            DeviceError: The provider cannot load, did not load, or left operators to the CPU, or is known to.
            EngineError: ONNX Runtime cannot load the graph.
        """
        with CAPTURES.shared():
            self.check_libraries(device)
            if manifest is not None and not options.mixed:
                check_kernels(manifest, device, self.runtime.__version__)
            return self._load(path, device, settings, options, buckets)

    def _load(self, path: Path, device: str, settings: Any, options: OrtOptions, buckets: Buckets | None) -> OrtEngine:
        number = parse_device(device) or 0
        cuda = self._gpu(device, number, needed=buckets is not None)
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            given = [(CUDA, provider_options(options, number))]
            session = load_session(self.runtime, path, device, settings, given, records=options.cuda_graphs)
            self._confirm(session, device)
            on_cpu = check_placement(session, device, self.runtime.__version__, mixed=options.mixed)
            if buckets is not None and cuda is not None:
                return GraphEngine(session, device, cuda, buckets, self.runtime.RunOptions, on_cpu)
        except BaseException:
            if cuda is not None:
                cuda.close()
            raise
        if cuda is not None:
            cuda.close()
        return BoundEngine(session, device, on_cpu)

    def check_libraries(self, device: str) -> None:
        """Load what the provider needs, from pip's packages too.

        Raises:
            DeviceError: This build has no CUDA provider, or libraries are missing; the message names them.
        """
        if CUDA not in self.runtime.get_available_providers():
            raise DeviceError(f"device {device!r} did not load: {self._without()}")
        # Its default logger says on every load that no plugin has the provider, which is built in.
        self.runtime.set_default_logger_severity(3)
        if hasattr(self.runtime, "preload_dlls"):
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; we look ourselves
                self.runtime.preload_dlls()
        if missing := self._missing():
            reasons = "; ".join(missing.values())
            raise DeviceError(
                f"device {device!r} did not load: ONNX Runtime's CUDA provider needs libraries that do not load: "
                f"{reasons}. {self._remedy(missing)}, or ask for device='cpu'; `smartrt doctor` tells more"
            )

    def _missing(self) -> dict[str, str]:
        """Libraries of NVIDIA that the provider is linked to and that do not load, with the reason."""
        try:
            names = needed_libraries(self._file())
        except SensorError:
            return {}  # another layout than the wheels'; whether it loads shows when it is asked for
        missing = {}
        for name in (name for name in names if name.startswith(OF_NVIDIA)):
            if reason := self._load_library(name):
                missing[name] = reason
        return missing

    def _load_library(self, name: str) -> str:
        """Load a library by its name or from a pip package; empty, or why it cannot be."""
        if not (reason := self._why_not(name)):
            return ""
        for path in (folder / name for folder in wheel_folders()):
            if path.is_file() and not (reason := self._why_not(str(path))):
                return ""
        return name if "No such file" in reason else f"{name} ({reason})"

    def _why_not(self, place: str) -> str:
        try:
            self.load(place)
        except OSError as error:
            return " ".join(str(error).split())[:200]
        return ""

    def _gpu(self, device: str, number: int, *, needed: bool) -> Cuda | None:
        """The GPU, which the build must have kernels for; None where CUDA cannot be asked and need not be."""
        try:
            cuda = self.open_gpu(number)
        except MissingDependencyError:
            if needed:
                raise
            return None
        try:
            code = gpu_code(self._file())
        except SensorError:
            return cuda
        gpu, (major, minor) = cuda.properties, cuda.properties.capability
        if not code.runs_on(10 * major + minor, integrated=gpu.integrated):
            cuda.close()
            kernels = ", ".join(f"{sm // 10}.{sm % 10}" for sm in code.machine)
            raise DeviceError(
                f"device {device!r} did not load: this build of ONNX Runtime has kernels for GPUs of SM {kernels}; "
                f"{gpu.name} has SM {major}.{minor}. {self._another_build()}"
            )
        return cuda

    def _confirm(self, session: Any, device: str) -> None:
        if CUDA not in session.get_providers():
            raise DeviceError(
                f"device {device!r} did not load: ONNX Runtime fell back to {', '.join(session.get_providers())}, "
                "though no library of its CUDA provider is missing: see `smartrt doctor`, or ask for device='cpu'"
            )

    def _file(self) -> Path:
        return Path(self.runtime.__file__ or "").parent / PROVIDER_FILE

    def _without(self) -> str:
        found = ", ".join(self.runtime.get_available_providers())
        try:
            self.load("libcuda.so.1")
        except OSError:
            return (
                "no NVIDIA driver (libcuda.so.1) is here, so no GPU can be used, and this build of ONNX Runtime has no "
                f"CUDA provider, only {found}: `smartrt doctor` lists the steps, or ask for device='cpu'"
            )
        return f"this build of ONNX Runtime has no CUDA provider, only {found}. {self._another_build()}"

    def _another_build(self) -> str:
        jetson = (
            "on a Jetson the onnxruntime-gpu wheel made for your JetPack (PyPI's has no kernels for it); elsewhere "
            if self.processor == "aarch64"
            else ""
        )
        return (
            f"Install another build: {jetson}pip uninstall {' '.join(PACKAGES)} && pip install {_WHEEL}; "
            "or ask for device='cpu'"
        )

    def _remedy(self, missing: Mapping[str, str]) -> str:
        driver = (
            f"{_DRIVER} is the NVIDIA driver's: install it; in a container, start it with --gpus all "
            "(Jetson: --runtime nvidia)"
        )
        jetson = "on a Jetson sudo apt install nvidia-jetpack; elsewhere " if self.processor == "aarch64" else ""
        rest = f"{jetson}pip install {_WHEEL}"
        steps = [driver] if _DRIVER in missing else []
        steps += [f"for the others: {rest}" if steps else f"Get them: {rest}"] if set(missing) - {_DRIVER} else []
        return "; ".join(steps)


def provider_options(options: OrtOptions, number: int) -> dict[str, str]:
    """Options of the CUDA provider, as ONNX Runtime takes them.

    Args:
        options: The engine's.
        number: Of the GPU.
    """
    given = {
        "device_id": str(number),
        "use_tf32": str(int(options.tf32)),
        # In doubling steps, its default, the last one fails where half of it would do.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if options.gpu_memory_mb is not None:
        given["gpu_mem_limit"] = str(options.gpu_memory_mb << 20)
    if options.cuda_graphs:
        given["enable_cuda_graph"] = "1"
    return given
