"""One NVIDIA GPU: what it is, and what is made on it."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeviceError, MissingDependencyError, OptionError
from .calls import Calls
from .codes import start_error, visible
from .library import load_cudart
from .memory import Buffer
from .prototypes import BY_ADDRESS, CAPABILITY_MAJOR, CAPABILITY_MINOR, INTEGRATED, declare, integer, versions
from .stream import Stream

if TYPE_CHECKING:
    from typing import Self

_PROPERTIES_ROOM: Final = 1 << 16
_NAME_BYTES: Final = 256


@dataclass(frozen=True)
class Properties:
    """What a GPU is.

    Attributes:
        name: As NVIDIA calls it.
        capability: Compute capability, ``(8, 7)`` for the Orin family.
        integrated: Whether it shares its memory with the CPU (Jetson).
        total_memory: Bytes; with an integrated GPU the memory of the machine.
    """

    name: str
    capability: tuple[int, int]
    integrated: bool
    total_memory: int


class Cuda:
    """One GPU, usable from any thread. A context manager; closing twice is allowed.

    Other libraries of the process (TensorRT, ONNX Runtime, PyTorch) share its primary context: addresses and streams
    may be handed to them, and it is left alone on `close`.

    Attributes:
        device: Its number, as CUDA_VISIBLE_DEVICES counts.
        version: Of libcudart, ``1000 * major + 10 * minor``: 12060, 13020.
        driver_version: The newest CUDA the driver supports, in the same form.
        properties: What the GPU is.
    """

    def __init__(self, calls: Calls, version: int, driver_version: int, properties: Properties) -> None:
        self._calls = calls
        self.device = calls.device
        self.version = version
        self.driver_version = driver_version
        self.properties = properties

    @classmethod
    def open(cls, device: int = 0, library: Any = None) -> Self:
        """Open a GPU.

        Args:
            device: Its number.
            library: libcudart, as an object with the C functions as attributes; None is `load_cudart()`.

        Raises:
            MissingDependencyError: There is no libcudart, or it lacks functions.
            DeviceError: No driver, no GPU, or none of this number.
            DeviceMemoryError: Too little memory to start CUDA.
            OptionError: `device` is not a number of 0 or more.
        """
        if not isinstance(device, int) or isinstance(device, bool) or device < 0:
            raise OptionError(f"a GPU's number is 0 or more, got {device!r}")
        if library is None:
            library = load_cudart()
        elif isinstance(library, ctypes.CDLL):
            _declare(library)
        _check_number(library, device)
        # Makes the primary context: what is wrong with this GPU shows here.
        code = library.cudaSetDevice(device)
        if code:
            raise start_error(library, "cudaSetDevice", code)
        calls = Calls(library, device)
        runtime, driver = versions(library)
        return cls(calls, runtime, driver, _properties(calls))

    @property
    def lost(self) -> bool:
        """Whether this process cannot use the GPU any more: every call but `close` raises DeviceLostError."""
        return bool(self._calls.lost)

    def activate(self) -> None:
        """Make this the calling thread's device: before calls of other libraries, such as TensorRT's enqueue.

        CUDA keeps the current device per thread. Everything here sets it by itself, and leaves it set.
        """
        self._calls("cudaSetDevice", self.device)

    def memory(self) -> tuple[int, int]:
        """Bytes (free, total). An integrated GPU counts the page cache as taken, though it is given up on demand."""
        return _memory(self._calls)

    def stream(self) -> Stream:
        """A new stream."""
        return Stream.create(self._calls)

    def buffer(self, nbytes: int, *, host: bool = True, mapped: bool | None = None) -> Buffer:
        """Allocate memory.

        Args:
            nbytes: Bytes, 0 or more. They are not cleared.
            host: Whether the host reads or writes it: through `Buffer.host`.
            mapped: Whether host and GPU share one block, without copies. None: where the GPU is integrated. False is
                right there for large tensors that the GPU reads again and again. Without a host side it says nothing.

        Raises:
            DeviceMemoryError: Too little memory, of the GPU or pinned.
            InputError: `nbytes` is negative.
        """
        shared = self.properties.integrated if mapped is None else mapped
        return Buffer.allocate(self._calls, nbytes, host=host, mapped=shared)

    def copy(self, source_address: int, target_address: int, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy between two addresses of this GPU, such as `Buffer.address`; they may not overlap.

        Args:
            source_address: Read from.
            target_address: Written to. Note the order: not that of memcpy.
            nbytes: Bytes; nobody checks that they are there.
            stream: What runs the copy.
        """
        self._calls("cudaMemcpyAsync", target_address, source_address, nbytes, BY_ADDRESS, stream.address)

    def close(self) -> None:
        """Give back everything that was made here and is still open. The device itself belongs to the process."""
        # Streams first: they wait for their work when they close, and the rest is what it uses.
        for resource in sorted(self._calls.live.values(), key=lambda each: not isinstance(each, Stream)):
            resource.close()
        self._calls.closed = True

    def reset(self) -> None:
        """Close, and give this process's context back as well: hundreds of megabytes.

        Only where nothing else in this process uses the GPU.
        """
        self.close()
        self._calls.library.cudaSetDevice(self.device)
        self._calls.library.cudaDeviceReset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _declare(library: ctypes.CDLL) -> None:
    try:
        declare(library)
    except AttributeError as error:
        raise MissingDependencyError(f"this is no libcudart of CUDA 12 or 13: {error}") from error


def _check_number(library: Any, device: int) -> None:
    code, count = integer(library, "cudaGetDeviceCount")
    if code:  # cudaErrorNoDevice where there is none
        raise start_error(library, "cudaGetDeviceCount", code)
    if device >= count:
        there = "1, number 0" if count == 1 else f"{count}, numbers 0 to {count - 1}"
        raise DeviceError(f"there is no GPU {device}: CUDA sees {there}{visible(os.environ)}")


def _properties(calls: Calls) -> Properties:
    return Properties(
        name=_name(calls),
        capability=(_attribute(calls, CAPABILITY_MAJOR), _attribute(calls, CAPABILITY_MINOR)),
        integrated=bool(_attribute(calls, INTEGRATED)),
        total_memory=_memory(calls)[1],
    )


def _name(calls: Calls) -> str:
    # struct cudaDeviceProp changes with every version, but begins with char name[256] in all of them (driver_types.h
    # of 12.9 and 13.5), and the room is 64 times its size (1032 and 1008 bytes): nothing else of it is read.
    room = ctypes.create_string_buffer(_PROPERTIES_ROOM)
    calls("cudaGetDeviceProperties", byref(room), calls.device)
    return room.raw[:_NAME_BYTES].split(b"\0")[0].decode("utf-8", "replace")


def _attribute(calls: Calls, attribute: int) -> int:
    value = c_int()
    calls("cudaDeviceGetAttribute", byref(value), attribute, calls.device)
    return value.value


def _memory(calls: Calls) -> tuple[int, int]:
    free, total = c_size_t(), c_size_t()
    calls("cudaMemGetInfo", byref(free), byref(total))
    return free.value, total.value
