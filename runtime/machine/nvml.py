# ruff: noqa: N802  (the library's own names)
"""NVML, the management library that comes with NVIDIA's driver: through ctypes, or through a module like `pynvml`.

`Nvml` is a started library whose every answer is a value or a SensorError. It works with anything that has the
functions of `pynvml`; `Library` is such a thing over `libnvidia-ml.so.1`, so that nothing needs to be installed.
The functions are described in NVIDIA's NVML API reference.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

from .reading import SensorError, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_SONAME = "libnvidia-ml.so.1"
_TEXT_BYTES = 96
_ERRORS = {
    1: "not initialised", 2: "invalid argument", 3: "not supported", 4: "no permission", 6: "not found",
    9: "driver not loaded", 12: "library not found", 13: "function not found", 15: "GPU is lost",
    18: "driver and library have different versions", 999: "unknown error",
}  # fmt: skip


class NvmlError(Exception):
    """A function of NVML returned an error."""


class MemoryInfo(ctypes.Structure):
    """`nvmlMemory_t`: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Library:
    """The functions of `pynvml` that are used here, over the shared library itself."""

    NVMLError = NvmlError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    @classmethod
    def load(cls) -> Library:
        """Load the driver's library. Raises SensorError where there is none."""
        try:
            return cls(ctypes.CDLL(_SONAME))
        except OSError as error:
            raise SensorError(f"no NVIDIA driver is installed ({printable(str(error))})") from None

    def nvmlInit(self) -> None:
        """Start."""
        self._call("nvmlInit_v2")

    def nvmlShutdown(self) -> None:
        """Stop."""
        self._call("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:
        """Such as ``580.95.05``."""
        return self._text("nvmlSystemGetDriverVersion")

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        """13000 is CUDA 13.0."""
        return self._number("nvmlSystemGetCudaDriverVersion_v2", ctypes.c_int)

    def nvmlDeviceGetCount(self) -> int:
        """How many GPUs the driver lists."""
        return self._number("nvmlDeviceGetCount_v2", ctypes.c_uint)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> ctypes.c_void_p:
        """A GPU."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p) -> str:
        """Its name."""
        return self._text("nvmlDeviceGetName", handle)

    def nvmlDeviceGetCudaComputeCapability(self, handle: ctypes.c_void_p) -> tuple[int, int]:
        """Major and minor number of its SM."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p) -> MemoryInfo:
        """Bytes `total` and `free`."""
        memory = MemoryInfo()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return memory

    def nvmlDeviceGetClockInfo(self, handle: ctypes.c_void_p, which: int) -> int:
        """MHz now."""
        return self._number("nvmlDeviceGetClockInfo", ctypes.c_uint, handle, ctypes.c_uint(which))

    def nvmlDeviceGetMaxClockInfo(self, handle: ctypes.c_void_p, which: int) -> int:
        """MHz at most."""
        return self._number("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, handle, ctypes.c_uint(which))

    def nvmlDeviceGetTemperature(self, handle: ctypes.c_void_p, sensor: int) -> int:
        """Degrees Celsius."""
        return self._number("nvmlDeviceGetTemperature", ctypes.c_uint, handle, ctypes.c_uint(sensor))

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: ctypes.c_void_p) -> int:
        """Milliwatts."""
        return self._number("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint, handle)

    def _number(self, name: str, kind: type[Any], *arguments: Any) -> int:
        value = kind()
        self._call(name, *arguments, ctypes.byref(value))
        return int(value.value)

    def _text(self, name: str, *arguments: Any) -> str:
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call(name, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
        return buffer.value.decode("utf-8", "replace")

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._shared, name)
        except AttributeError:
            raise NvmlError("function not found") from None
        if code := function(*arguments):
            raise NvmlError(_ERRORS.get(code, f"error {code}"))


class Nvml:
    """NVML, started. Made by `open`; a context manager."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @classmethod
    def open(cls, library: Any = None) -> Nvml:
        """Start NVML.

        Args:
            library: Something with the functions of `pynvml`; None loads the driver's library.

        Raises:
            SensorError: There is no library, or no driver answers.
        """
        library = Library.load() if library is None else library
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise SensorError(f"no NVIDIA driver answers ({printable(str(error))})") from None
        return cls(library)

    def close(self) -> None:
        """Stop NVML; a driver that is gone needs no stop."""
        with contextlib.suppress(self._library.NVMLError):
            self._library.nvmlShutdown()

    def count(self) -> int:
        """How many GPUs there are. Raises SensorError if there is none."""
        count: int = self.system("nvmlDeviceGetCount")
        if not count:
            raise SensorError("the NVIDIA driver lists no GPU")
        return count

    def system(self, name: str) -> Any:
        """The answer of a function without arguments. Raises SensorError."""
        return self._call(name)

    def gpu(self, number: int, name: str, *arguments: Any) -> Any:
        """The answer of a function about one GPU. Raises SensorError.

        Args:
            number: Of the GPU, from 0.
            name: Of the function.
            arguments: What it takes beside the GPU; a string is the name of a constant of the library.
        """
        handle = self._call("nvmlDeviceGetHandleByIndex", number)
        values = [getattr(self._library, each) if isinstance(each, str) else each for each in arguments]
        return self._call(name, handle, *values)

    def name(self, number: int) -> str:
        """A GPU's name. Raises SensorError."""
        return as_text(self.gpu(number, "nvmlDeviceGetName"))

    def driver(self) -> str:
        """The driver's version. Raises SensorError."""
        return as_text(self.system("nvmlSystemGetDriverVersion"))

    def cuda(self) -> str:
        """The newest CUDA that the driver runs, such as ``13.1``. Raises SensorError."""
        return cuda_version(self.system("nvmlSystemGetCudaDriverVersion"))

    def _call(self, name: str, *arguments: Any) -> Any:
        function: Callable[..., Any] | None = getattr(self._library, name, None)
        if function is None:
            raise SensorError(f"{name} is no function of this NVML")
        try:
            return function(*arguments)
        except self._library.NVMLError as error:
            raise SensorError(f"{name} failed: {printable(str(error))}") from None

    def __enter__(self) -> Nvml:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_text(value: Any) -> str:
    """What a library answers, which may be bytes, as one printable line."""
    return printable(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def cuda_version(value: int) -> str:
    """13010 -> `13.1`."""
    return f"{value // 1000}.{value % 1000 // 10}"
