"""What libcudart's return codes mean for a caller, and the errors they become.

The codes are `enum cudaError` of driver_types.h, read in CUDA 12.9 and 13.5.
"""

from __future__ import annotations

import os
from ctypes import byref, c_size_t
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeviceError, DeviceLostError, DeviceMemoryError
from .prototypes import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

_OUT_OF_MEMORY: Final = 2  # cudaErrorMemoryAllocation
_NO_DEVICE: Final = 100  # cudaErrorNoDevice
_INSUFFICIENT_DRIVER: Final = 35  # cudaErrorInsufficientDriver
_INITIALIZATION: Final = 3  # cudaErrorInitializationError
_CAPTURE: Final = range(900, 909)  # cudaErrorStreamCaptureUnsupported ... StreamCaptureWrongThread

# After these no call of this process works on this device.
LOST: Final = frozenset(
    {
        # "This leaves the process in an inconsistent state and any further CUDA work will return the same error"
        226,  # Contained
        700,  # IllegalAddress
        702,  # LaunchTimeout
        710,  # Assert
        714,  # HardwareStackError
        715,  # IllegalInstruction
        716,  # MisalignedAddress
        717,  # InvalidAddressSpace
        718,  # InvalidPc
        719,  # LaunchFailure
        721,  # TensorMemoryLeak
        810,  # MpsClientTerminated
        911,  # ExternalDevice
        # The context is gone, or the hardware is.
        _INITIALIZATION,  # after a successful start: a child of fork, which cannot use its parent's GPU
        4,  # CudartUnloading: the process is ending
        46,  # DevicesUnavailable
        201,  # DeviceUninitialized
        214,  # ECCUncorrectable
        220,  # NvlinkUncorrectable
        709,  # ContextIsDestroyed
        999,  # Unknown
    }
)

_AT_START: Final[dict[int, str]] = {
    _INITIALIZATION: "the driver does not start; after a fork, start the process with 'spawn' instead; "
    "else see whether nvidia-smi works, and restart the machine",
    34: "libcuda.so.1 is the toolkit's stub: take the folder 'stubs' out of LD_LIBRARY_PATH",
    46: "other processes hold the GPU, or its compute mode is exclusive: nvidia-smi shows which",
    101: "the device is not a valid GPU: nvidia-smi -L lists them",
    802: "the GPUs are not ready: on machines with NVSwitch start the service nvidia-fabricmanager",
    803: "the kernel module and libcuda are of different versions: restart the machine after a driver update",
    804: "a cuda-compat package is in LD_LIBRARY_PATH and does not support this GPU: take it out",
    999: "often the module nvidia_uvm is not loaded or in a bad state: sudo nvidia-modprobe -u, or restart the machine",
}


def in_words(nbytes: int) -> str:
    """Bytes as a person reads them: ``1.50 GiB``, ``20.0 MiB``, ``12 bytes``."""
    if nbytes >= 1 << 30:
        return f"{nbytes / (1 << 30):.2f} GiB"
    return f"{nbytes / (1 << 20):.1f} MiB" if nbytes >= 1 << 20 else f"{nbytes} bytes"


def version_in_words(version: int) -> str:
    """A version of CUDA, ``13020``, as ``13.2``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def call_error(library: Any, device: int, function: str, code: int, asked: int = 0) -> DeviceError:
    """The error for a call that failed on a device that was open.

    Args:
        library: libcudart.
        device: The device's number.
        function: The function that returned `code`.
        code: Not 0.
        asked: Bytes that were to be allocated, 0 if none.
    """
    said = _in_words(library, code)
    if code == _OUT_OF_MEMORY:
        return DeviceMemoryError(_memory_message(library, device, function, asked))
    if code in LOST:
        return DeviceLostError(
            f"GPU {device} is lost to this process: {function} returned {said}; "
            "start a new process, as CUDA cannot be used in this one any more"
        )
    if code in _CAPTURE:
        return DeviceError(f"this work cannot be captured as a CUDA graph: {function} returned {said}; run it without")
    return DeviceError(
        f"CUDA failed on GPU {device}: {function} returned {said}; "
        "with CUDA_LAUNCH_BLOCKING=1 the call that caused it is the one that fails"
    )


def start_error(library: Any, function: str, code: int, environment: Mapping[str, str] = os.environ) -> DeviceError:
    """The error for a GPU that cannot be opened.

    Args:
        library: libcudart.
        function: The function that returned `code`.
        code: Not 0.
        environment: Where CUDA_VISIBLE_DEVICES is read for the message.
    """
    if code == _INSUFFICIENT_DRIVER:
        hint = _driver_hint(library)
    elif code == _NO_DEVICE:
        hint = (
            f"the driver sees no GPU{visible(environment)}; in a container, start it with --gpus all "
            "(Jetson: --runtime nvidia)"
        )
    elif code == _OUT_OF_MEMORY:
        return DeviceMemoryError(
            f"no GPU can be opened: {function} returned {_in_words(library, code)}; there is too little memory even "
            "to start CUDA: end other programs that use the GPU"
        )
    else:
        hint = _AT_START.get(code, "see whether nvidia-smi works")
    return DeviceError(f"no GPU can be opened: {hint} ({function} returned {_in_words(library, code)})")


def visible(environment: Mapping[str, str]) -> str:
    """`` (CUDA_VISIBLE_DEVICES=...)``, or nothing where it is not set."""
    value = environment.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES={value!r})"


def _in_words(library: Any, code: int) -> str:
    """``cudaErrorIllegalAddress (700, an illegal memory access was encountered)``."""
    name, text = (_decoded(function(code)) for function in (library.cudaGetErrorName, library.cudaGetErrorString))
    return f"{name or 'an unknown error'} ({code}{', ' + text if text else ''})"


def _decoded(text: bytes | None) -> str:
    return " ".join((text or b"").decode("utf-8", "replace").split())


def _driver_hint(library: Any) -> str:
    runtime, driver = versions(library)
    if not driver:
        return (
            "no NVIDIA driver (libcuda.so.1) was found: install it (on a Jetson it comes with JetPack); "
            "in a container, start it with --gpus all (Jetson: --runtime nvidia)"
        )
    return (
        f"the driver is made for CUDA {version_in_words(driver)} and libcudart is {version_in_words(runtime)}: "
        f"update the driver, or install a libcudart for CUDA {driver // 1000}"
    )


def _memory_message(library: Any, device: int, function: str, asked: int) -> str:
    free, total = c_size_t(), c_size_t()
    failed = library.cudaMemGetInfo(byref(free), byref(total))
    kind = "pinned host memory for GPU" if function == "cudaHostAlloc" else "memory on GPU"
    wanted = f": {in_words(asked)} asked" if asked else f" for {function}"
    left = "" if failed else f", {in_words(free.value)} of {in_words(total.value)} free"
    return (
        f"too little {kind} {device}{wanted}{left}; end other programs that use it, "
        "or take smaller batches or shorter inputs"
    )
