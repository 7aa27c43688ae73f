"""Streams, and work that was captured from one as a graph and is launched again in one call."""

from __future__ import annotations

from contextlib import suppress
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING, Final

from ..errors import DeviceError
from .calls import Resource
from .prototypes import CAPTURE_THREAD_LOCAL, STREAM_NON_BLOCKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from .calls import Calls

_NO_FLAGS: Final = 0


class Stream(Resource):
    """Work that runs in order on a device, asynchronously to the host."""

    noun = "stream"
    destroy = "cudaStreamDestroy"

    @classmethod
    def create(cls, calls: Calls) -> Self:
        """A new stream. It does not wait for the default stream that other libraries use."""
        address = c_void_p()
        calls("cudaStreamCreateWithFlags", byref(address), STREAM_NON_BLOCKING)
        return cls(calls, address.value or 0)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done.

        Raises:
            DeviceLostError: Some of it failed.
        """
        self._calls("cudaStreamSynchronize", self.address)

    def capture(self, work: Callable[[], object]) -> CapturedGraph:
        """Record what `work` enqueues on this stream, without running it.

        `work` must enqueue at fixed addresses and shapes, and neither allocate nor synchronise. Run it once for real
        before: libraries allocate and choose kernels the first time. Only this thread is bound by these rules.

        Args:
            work: Called once.

        Returns:
            The graph, for `CapturedGraph.launch`.

        Raises:
            DeviceError: The work cannot be captured, or enqueued nothing. The stream can be used again: enqueue the
                work without a graph.
            DeviceLostError: The device is lost: a fallback would fail, too.
            Exception: Whatever `work` raised.
        """
        graph = c_void_p()
        self._calls("cudaStreamBeginCapture", self.address, CAPTURE_THREAD_LOCAL)
        try:
            work()
        except BaseException:
            # Its error is the one to report: the end of the capture fails because of it.
            with suppress(DeviceError):
                self._calls.capturing("cudaStreamEndCapture", self.address, byref(graph))
                self._calls.release("cudaGraphDestroy", graph.value)
            raise
        self._calls.capturing("cudaStreamEndCapture", self.address, byref(graph))
        return CapturedGraph.instantiate(self._calls, graph.value or 0)

    def close(self) -> None:
        """Wait for the work on the stream, whether it fails or not, and give the stream back."""
        if self._address:
            self._calls.release("cudaStreamSynchronize", self._address)
        super().close()


class CapturedGraph(Resource):
    """Work that is launched as a whole. One launch at a time: CUDA does not guard graphs against several threads."""

    noun = "captured graph"
    destroy = "cudaGraphExecDestroy"

    @classmethod
    def instantiate(cls, calls: Calls, graph: int) -> Self:
        """Make a captured graph ready to launch, and give the template back.

        Raises:
            DeviceError: The graph is empty: to launch it would do nothing and look like a run.
            DeviceMemoryError: Too little memory.
        """
        nodes, address = c_size_t(), c_void_p()
        try:
            calls("cudaGraphGetNodes", graph, None, byref(nodes))
            if not nodes.value:
                raise DeviceError(f"nothing was enqueued on the stream of GPU {calls.device} while it was captured")
            calls("cudaGraphInstantiate", byref(address), graph, _NO_FLAGS)
        finally:
            calls.release("cudaGraphDestroy", graph)
        return cls(calls, address.value or 0)

    def launch(self, stream: Stream) -> None:
        """Enqueue the work on `stream`, which need not be the one it was captured from."""
        self._calls("cudaGraphLaunch", self.address, stream.address)
