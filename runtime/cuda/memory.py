"""Memory that a GPU computes on, with the host's view of it.

A GPU with memory of its own gets a pinned block on the host, a block of its own, and copies between them. A GPU that
shares its memory with the CPU (Jetson) gets one block that both address: nothing is copied.
"""

from __future__ import annotations

from ctypes import byref, c_uint8, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .calls import Resource
from .prototypes import DEVICE_TO_HOST, HOST_DEFAULT, HOST_MAPPED, HOST_TO_DEVICE

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from .calls import Calls
    from .stream import Stream


class _DeviceMemory(Resource):
    noun = "buffer"
    destroy = "cudaFree"

    @classmethod
    def allocate(cls, calls: Calls, nbytes: int) -> Self:
        address = c_void_p()
        calls("cudaMalloc", byref(address), nbytes, asked=nbytes)
        return cls(calls, address.value or 0)


class _HostMemory(Resource):
    noun = "buffer"
    destroy = "cudaFreeHost"

    @classmethod
    def allocate(cls, calls: Calls, nbytes: int, flags: int) -> Self:
        address = c_void_p()
        calls("cudaHostAlloc", byref(address), nbytes, flags, asked=nbytes)
        return cls(calls, address.value or 0)

    def on_the_device(self) -> int:
        """The address under which the GPU sees this memory."""
        address = c_void_p()
        self._calls("cudaHostGetDevicePointer", byref(address), self.address, 0)
        return address.value or 0


class Buffer:
    """A block of memory for the GPU. A context manager; closing twice is allowed.

    Attributes:
        nbytes: Its size in bytes.
        host: uint8 ``[nbytes]``, the host's view: pinned memory, or with `mapped` the very memory of the GPU. None
            without a host side and after `close`. No view of it may be used after `close`: the memory is gone then.
        mapped: Whether host and GPU address the same memory.
    """

    def __init__(
        self, calls: Calls, nbytes: int, host: _HostMemory | None, device: _DeviceMemory | None, mapped_at: int = 0
    ) -> None:
        self._calls = calls
        self._host = host
        self._device = device
        self._mapped_at = mapped_at  # the GPU's address of `host`, where there is no `device`
        self.nbytes = nbytes
        self.mapped = device is None
        self.host: NDArray[np.uint8] | None = _bytes_at(host.address, nbytes) if host else None

    @classmethod
    def allocate(cls, calls: Calls, nbytes: int, *, host: bool, mapped: bool) -> Self:
        """See `Cuda.buffer`."""
        if nbytes < 0:
            raise InputError(f"a buffer of {nbytes} bytes: give 0 or more")
        size = max(nbytes, 1)  # CUDA answers 0 bytes with a null pointer, which TensorRT refuses
        if not host:
            return cls(calls, nbytes, None, _DeviceMemory.allocate(calls, size))
        pinned = _HostMemory.allocate(calls, size, HOST_MAPPED if mapped else HOST_DEFAULT)
        try:
            if mapped:
                return cls(calls, nbytes, pinned, None, pinned.on_the_device())
            return cls(calls, nbytes, pinned, _DeviceMemory.allocate(calls, size))
        except BaseException:
            pinned.close()
            raise

    @property
    def address(self) -> int:
        """The address on the GPU.

        Raises:
            DeviceError: The buffer is closed.
        """
        if self._device:
            return self._device.address
        return self._mapped_at if self._side().address else 0

    def upload(self, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy of the first `nbytes` of `host` to the GPU. Nothing to do with mapped memory.

        `host` must keep its content until the stream has passed the copy.
        """
        host = self._checked(nbytes)
        if not self.mapped:
            self._calls("cudaMemcpyAsync", self.address, host, nbytes, HOST_TO_DEVICE, stream.address)

    def download(self, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy of the first `nbytes` on the GPU to `host`. Nothing to do with mapped memory.

        Either way the content is there after `Stream.synchronize`, not before.
        """
        host = self._checked(nbytes)
        if not self.mapped:
            self._calls("cudaMemcpyAsync", host, self.address, nbytes, DEVICE_TO_HOST, stream.address)

    def close(self) -> None:
        """Give the memory back. Synchronise first the streams whose work uses it."""
        self.host = None
        for side in (self._device, self._host):
            if side:
                side.close()

    def _checked(self, nbytes: int) -> int:
        """The host's address, if `nbytes` fit."""
        if not 0 <= nbytes <= self.nbytes:
            raise InputError(f"a copy of {nbytes} bytes in a buffer of {self.nbytes}")
        return self._side().address

    def _side(self) -> _HostMemory:
        if self._host is None:
            raise InputError(f"this buffer of {self.nbytes} bytes has no host side: make it with host=True")
        return self._host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    memory: Any = (c_uint8 * nbytes).from_address(address)
    return np.ctypeslib.as_array(memory)
