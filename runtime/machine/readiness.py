"""What stands between this machine and each way to run a bundle.

A way is an engine on a device. An `Obstacle` has a code, for which `advice.py` knows the step, and a line for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..tensorrt.library import OLDEST as OLDEST_TENSORRT
from .versions import at_least, numbers

if TYPE_CHECKING:
    from .survey import Machine

Code = Literal[
    "no-gpu", "no-driver", "old-driver", "no-cuda", "old-gpu",
    "no-engine", "no-cudart", "no-tensorrt", "no-tensorrt-module", "old-tensorrt", "desktop-tensorrt",
    "no-ort", "broken-ort", "two-orts", "cpu-ort", "foreign-kernels", "missing-library",
]  # fmt: skip

_FIRST_TENSORRT_11_OF_JETSON = "11.4.1"
_OLDEST_SM = 75
_FIRST_ARM_WHEEL = "1.29"
_ARM_WHEEL_SMS = "8.9, 9.0, 12.0 and 12.1"


@dataclass(frozen=True)
class Obstacle:
    """Something that must change before a way can be gone."""

    code: Code
    text: str


@dataclass(frozen=True)
class Way:
    """An engine on a device, and what stands in the way; nothing does if it is ready."""

    engine: str
    device: str
    obstacles: tuple[Obstacle, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is known that stands in the way."""
        return not self.obstacles


def ways(machine: Machine) -> tuple[Way, Way, Way]:
    """TensorRT on the GPU, ONNX Runtime on the GPU, ONNX Runtime on the processor."""
    processor = Way("ort", "cpu", _onnx_runtime(machine))
    if not has_gpu(machine):
        none = (Obstacle("no-gpu", "no NVIDIA GPU is here"),)
        return Way("trt", "cuda", none), Way("ort", "cuda", none), processor
    gpu = _gpu(machine)
    return (
        Way("trt", "cuda", (*gpu, *_tensorrt(machine))),
        Way("ort", "cuda", (*gpu, *_onnx_runtime_cuda(machine))),
        processor,
    )


def has_gpu(machine: Machine) -> bool:
    """Whether there is an NVIDIA GPU, with or without a driver."""
    return bool(machine.gpus or machine.gpus_on_bus)


def _gpu(machine: Machine) -> tuple[Obstacle, ...]:
    if not machine.gpus:
        return (Obstacle("no-driver", f"an NVIDIA GPU is on the bus and no driver answers ({machine.cuda})"),)
    if machine.cuda != "ready":
        return (Obstacle("no-cuda", f"CUDA lists no GPU: {machine.cuda}"),)
    return ()


def _tensorrt(machine: Machine) -> tuple[Obstacle, ...]:
    found = []
    if "trt" not in machine.engines:
        found.append(Obstacle("no-engine", "this version of smartrt has no engine for TensorRT"))
    sm = machine.gpu.sm_number if machine.gpu else None
    if sm is not None and sm < _OLDEST_SM:
        found.append(
            Obstacle("old-gpu", f"TensorRT needs SM 7.5 or newer, this GPU has {machine.gpu and machine.gpu.sm}")
        )
    runtime = machine.shared.get("libcudart")
    if runtime is not None and not runtime.loads:
        found.append(Obstacle("no-cudart", f"the CUDA runtime does not load: {runtime.reason}"))
    library = machine.shared.get("libnvinfer")
    if library is None or not library.loads:
        reason = f": {library.reason}" if library else ""
        return (*found, Obstacle("no-tensorrt", f"TensorRT's library does not load{reason}"))
    version = machine.tensorrt.version
    if version and numbers(version) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        found.append(Obstacle("old-tensorrt", f"TensorRT {version} is older than {oldest}"))
    if machine.board and numbers(version)[:1] == (11,) and not at_least(version, _FIRST_TENSORRT_11_OF_JETSON):
        text = f"TensorRT {version} does not run on a Jetson: 11.4.1 is the first one of 11 that does"
        found.append(Obstacle("desktop-tensorrt", text))
    if not machine.tensorrt.module:
        found.append(Obstacle("no-tensorrt-module", "this Python has no module tensorrt"))
    return tuple(found)


def _onnx_runtime(machine: Machine) -> tuple[Obstacle, ...]:
    runtime = machine.onnx_runtime
    if runtime.error is None:
        return ()
    code: Code = "broken-ort" if runtime.packages else "no-ort"
    return (Obstacle(code, f"ONNX Runtime: {runtime.error}"),)


def _onnx_runtime_cuda(machine: Machine) -> tuple[Obstacle, ...]:
    runtime = machine.onnx_runtime
    if missing := _onnx_runtime(machine):
        return missing
    if not runtime.has_cuda:
        if len(runtime.packages) > 1:
            return (Obstacle("two-orts", "onnxruntime has overwritten files of onnxruntime-gpu: both are installed"),)
        return (Obstacle("cpu-ort", "this build of ONNX Runtime has no CUDA provider"),)
    found = [*_driver_for(machine), *_kernels(machine)]
    lost = [name for name in runtime.needed or () if name in machine.shared and not machine.shared[name].loads]
    found += [Obstacle("missing-library", f"{name} does not load: {machine.shared[name].reason}") for name in lost]
    return tuple(found)


def _driver_for(machine: Machine) -> tuple[Obstacle, ...]:
    """Whether the driver runs the CUDA that the build is linked to: a newer driver runs an older CUDA, not reversed."""
    names = " ".join(machine.onnx_runtime.needed or ())
    majors = [int(major) for major in re.findall(r"libcu(?:dart|blas)\.so\.([0-9]{1,3})\b", names)]
    runs = numbers(machine.driver.cuda)[:1]
    if not majors or not runs or runs[0] >= max(majors):
        return ()
    text = f"this build of ONNX Runtime needs CUDA {max(majors)}, the driver runs CUDA {machine.driver.cuda} at most"
    return (Obstacle("old-driver", text),)


def _kernels(machine: Machine) -> tuple[Obstacle, ...]:
    """Whether the build has kernels for this GPU: read from its file, or known of its wheel."""
    runtime, gpu = machine.onnx_runtime, machine.gpu
    if gpu is None or gpu.sm_number is None:
        return ()
    if runtime.code is not None:
        if runtime.code.runs_on(gpu.sm_number, integrated=machine.board is not None):
            return ()
        sms = ", ".join(f"{sm // 10}.{sm % 10}" for sm in runtime.code.machine)
        return (Obstacle("foreign-kernels", f"this build of ONNX Runtime has kernels for SM {sms}, not for {gpu.sm}"),)
    if machine.board and at_least(runtime.version, _FIRST_ARM_WHEEL):
        text = f"PyPI's onnxruntime-gpu for aarch64 has kernels for SM {_ARM_WHEEL_SMS}, not for {gpu.sm}"
        return (Obstacle("foreign-kernels", text),)
    return ()
