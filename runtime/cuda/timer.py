"""Seconds between two points of a stream, on the GPU's own clock."""

from __future__ import annotations

from ctypes import byref, c_float, c_void_p
from typing import TYPE_CHECKING

from .calls import Resource
from .prototypes import EVENT_DEFAULT

if TYPE_CHECKING:
    from typing import Self

    from .calls import Calls
    from .stream import Stream


class _Event(Resource):
    """A point in a stream."""

    noun = "event"
    destroy = "cudaEventDestroy"

    @classmethod
    def create(cls, calls: Calls) -> Self:
        address = c_void_p()
        calls("cudaEventCreateWithFlags", byref(address), EVENT_DEFAULT)
        return cls(calls, address.value or 0)


class Timer:
    """Two events on one stream, to be used again and again: `start`, work, `stop`, `seconds`."""

    def __init__(self, calls: Calls, stream: Stream, first: _Event, last: _Event) -> None:
        self._calls = calls
        self._stream = stream
        self._first = first
        self._last = last

    @classmethod
    def create(cls, calls: Calls, stream: Stream) -> Self:
        """A timer of the work on `stream`."""
        first = _Event.create(calls)
        try:
            return cls(calls, stream, first, _Event.create(calls))
        except BaseException:
            first.close()
            raise

    def start(self) -> None:
        """Mark the beginning: the GPU passes it when everything enqueued before is done."""
        self._calls("cudaEventRecord", self._first.address, self._stream.address)

    def stop(self) -> None:
        """Mark the end. Does not wait."""
        self._calls("cudaEventRecord", self._last.address, self._stream.address)

    def seconds(self) -> float:
        """Wait for the end; seconds between the marks, to about half a microsecond.

        Raises:
            DeviceError: `start` or `stop` was not called.
        """
        milliseconds = c_float()
        self._calls("cudaEventSynchronize", self._last.address)
        self._calls("cudaEventElapsedTime", byref(milliseconds), self._first.address, self._last.address)
        return milliseconds.value / 1000

    def close(self) -> None:
        """Give the events back. May be called twice."""
        self._first.close()
        self._last.close()
