"""libcudart's functions on one device: the one place where return codes are looked at."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import DeviceError, DeviceLostError
from .codes import call_error

if TYPE_CHECKING:
    from typing import Self


class Calls:
    """Calls functions of libcudart on one device, from any thread.

    CUDA keeps the current device per thread, and other libraries may change it. So each call here sets it first:
    one short call more, and nobody needs to know which thread opened the device.

    Attributes:
        library: libcudart, its functions declared.
        device: The device's number.
        lost: Why the device is lost to this process; empty while it is not.
        closed: Whether `Cuda.close` was called.
        live: What was made on the device and is not closed, oldest first.
    """

    def __init__(self, library: Any, device: int) -> None:
        self.library = library
        self.device = device
        self.lost = ""
        self.closed = False
        self.live: dict[int, Resource] = {}

    def __call__(self, function: str, *arguments: Any, asked: int = 0) -> None:
        """Call `function` on this device.

        Args:
            function: A name of `prototypes.ARGUMENTS`.
            *arguments: Its arguments; `byref(...)` where it writes.
            asked: Bytes it allocates, for the message if there are too few.

        Raises:
            DeviceMemoryError: Too little memory.
            DeviceLostError: This process cannot use the device any more; so does every later call.
            DeviceError: Anything else, or the device was closed.
        """
        self._check_open()
        self._check(function, self.library.cudaSetDevice(self.device), asked)
        self._check(function, getattr(self.library, function)(*arguments), asked)

    def capturing(self, function: str, *arguments: Any) -> None:
        """Call `function` alone, as the end of a capture must be: the thread's device was set when it began."""
        self._check_open()
        self._check(function, getattr(self.library, function)(*arguments), 0)

    def release(self, function: str, *arguments: Any) -> None:
        """Call a function that gives something back: with a device that is lost, it is gone already."""
        with suppress(DeviceLostError):
            self(function, *arguments)

    def _check_open(self) -> None:
        if self.lost:
            raise DeviceLostError(self.lost)
        if self.closed:
            raise DeviceError(f"GPU {self.device} is closed; open it again")

    def _check(self, function: str, code: int, asked: int) -> None:
        if code:
            # The code also stays behind as this thread's last error, where other libraries would take it for theirs.
            self.library.cudaGetLastError()
            error = call_error(self.library, self.device, function, code, asked)
            if isinstance(error, DeviceLostError):
                self.lost = str(error)
            raise error


class Resource:
    """Something on a device that is given back by one call: memory, a stream, a graph.

    A context manager. Closing twice is allowed, and so is closing after the device was lost.
    """

    noun: ClassVar[str]
    destroy: ClassVar[str]  # the function that gives it back

    def __init__(self, calls: Calls, address: int) -> None:
        self._calls = calls
        self._address = address
        calls.live[id(self)] = self

    @property
    def address(self) -> int:
        """The C pointer, never 0: a null stream or buffer would mean something else to CUDA.

        Raises:
            DeviceError: It was closed.
        """
        if not self._address:
            raise DeviceError(f"this {self.noun} on GPU {self._calls.device} is closed")
        return self._address

    def close(self) -> None:
        """Give it back."""
        address, self._address = self._address, 0
        if address:
            self._calls.live.pop(id(self), None)
            self._calls.release(self.destroy, address)

    def __del__(self) -> None:
        # An encoder that is dropped instead of closed gives its memory back, as one on a CPU does.
        with suppress(Exception):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
