"""A libcudart without a GPU, to pass where `smartrt.cuda.Cuda.open` takes a library; it fails on demand.

Arguments must fit their declared C types, as ctypes would see to. What it keeps, and how another fake runs its kernels
on it, is in `fake_gpu`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from fake_gpu import (
    CAPTURE_INVALIDATED,
    CAPTURE_UNMATCHED,
    CAPTURE_UNSUPPORTED,
    CAPTURE_WRONG_THREAD,
    ILLEGAL_ADDRESS,
    INSUFFICIENT_DRIVER,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_VALUE,
    LAUNCH_FAILURE,
    NO_DEVICE,
    OK,
    OUT_OF_MEMORY,
    FakeGpu,
    Graph,
    Stream,
)
from smartrt.cuda.prototypes import ARGUMENTS

_STICKY = {ILLEGAL_ADDRESS, 702, 714, 715, 716, 717, 718, LAUNCH_FAILURE}
_NAMES = {
    OUT_OF_MEMORY: ("cudaErrorMemoryAllocation", "out of memory"),
    INSUFFICIENT_DRIVER: ("cudaErrorInsufficientDriver", "CUDA driver version is insufficient"),
    NO_DEVICE: ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
    ILLEGAL_ADDRESS: ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
    LAUNCH_FAILURE: ("cudaErrorLaunchFailure", "unspecified launch failure"),
}
# What answers on a machine without a driver, and on a device that is lost.
_ALWAYS = {
    "cudaGetErrorName",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaRuntimeGetVersion",
    "cudaDriverGetVersion",
}


class FakeCudart(FakeGpu):
    """libcudart's functions, by their names.

    Attributes:
        calls: Names of the functions called, in order.
        last_error: What cudaGetLastError would return.
    """

    def __init__(
        self,
        *,
        integrated: bool = False,
        memory: int = 1 << 30,
        devices: int = 1,
        version: int = 13020,
        driver: int = 13020,
        capability: tuple[int, int] = (8, 7),
        name: str = "Fake Orin",
    ) -> None:
        super().__init__(integrated=integrated, memory=memory, devices=devices)
        self.version, self.driver, self.capability, self.name = version, driver, capability, name
        self.calls: list[str] = []
        self.last_error = OK
        self._failures: list[tuple[str, int, int]] = []

    def fail(self, function: str, code: int, nth: int = 1) -> None:
        """Let the `nth` call of `function` from now return `code`; a sticky code loses the device."""
        self._failures.append((function, self.calls.count(function) + nth, code))

    def lose(self, code: int = LAUNCH_FAILURE) -> None:
        """Lose the device: every call returns `code` from now on."""
        self.lost = code

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in ARGUMENTS:
            raise AttributeError(name)
        # cudaMemGetInfo is _mem_get_info.
        return partial(self._call, name, getattr(self, re.sub("[A-Z]", lambda each: "_" + each[0].lower(), name[4:])))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        assert len(arguments) == len(ARGUMENTS[name]), f"{name} takes {len(ARGUMENTS[name])} arguments"
        for kind, argument in zip(ARGUMENTS[name], arguments, strict=True):
            kind.from_param(argument)  # raises TypeError as ctypes would
        self.calls.append(name)
        if name in _ALWAYS:
            return function(*arguments)
        code = self._refusal(name) or function(*arguments) or self.lost
        self.last_error = code or self.last_error
        return code

    def _refusal(self, name: str) -> int:
        for function, count, code in self._failures:
            if function == name and count == self.calls.count(name):
                self.lost = code if code in _STICKY else self.lost
                return code
        if self.driver // 1000 < self.version // 1000:
            return INSUFFICIENT_DRIVER
        return self.lost or (OK if self.devices else NO_DEVICE)

    # Versions, errors, devices.

    def _device_reset(self) -> int:
        return OK

    def _runtime_get_version(self, out: Any) -> int:
        return _write(out, self.version)

    def _driver_get_version(self, out: Any) -> int:
        return _write(out, self.driver)

    def _get_error_name(self, code: int) -> bytes:
        return _NAMES.get(code, (f"cudaError{code}", ""))[0].encode()

    def _get_error_string(self, code: int) -> bytes:
        return _NAMES.get(code, ("", f"text of {code}"))[1].encode()

    def _get_last_error(self) -> int:
        code, self.last_error = self.last_error, self.lost
        return code

    def _get_device_count(self, out: Any) -> int:
        return _write(out, self.devices)

    def _set_device(self, device: int) -> int:
        if not 0 <= device < self.devices:
            return INVALID_DEVICE
        self._thread.device = device
        return OK

    def _device_get_attribute(self, out: Any, attribute: int, device: int) -> int:
        values = {18: int(self.integrated), 75: self.capability[0], 76: self.capability[1]}
        return _write(out, values[attribute]) if device < self.devices else INVALID_DEVICE

    def _get_device_properties(self, out: Any, device: int) -> int:
        room = out._obj
        room[:] = self.name.encode().ljust(256, b"\0").ljust(len(room), b"\x99")
        return OK if device < self.devices else INVALID_DEVICE

    # Memory.

    def _mem_get_info(self, free: Any, total: Any) -> int:
        return _write(free, self.free) or _write(total, self.total)

    def _malloc(self, out: Any, nbytes: int) -> int:
        code, address = self.allocate(nbytes, "device")
        return code or _write(out, address)

    def _host_alloc(self, out: Any, nbytes: int, flags: int) -> int:
        code, address = self.allocate(nbytes, "mapped" if flags & 2 else "pinned")
        return code or _write(out, address)

    def _host_get_device_pointer(self, out: Any, address: int, flags: int) -> int:
        block = self.block(address, 0)
        return _write(out, address) if block and block.kind == "mapped" and not flags else INVALID_VALUE

    def _free(self, address: int) -> int:
        return self.release(address, "device")

    def _free_host(self, address: int) -> int:
        return self.release(address, "pinned", "mapped")

    def _memcpy_async(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> int:
        blocks = [self.block(each, nbytes) for each in (target, source)]
        on_host = tuple(block is not None and block.kind == "pinned" for block in blocks)
        if None in blocks or on_host != {1: (False, True), 2: (True, False), 4: on_host}.get(kind):
            return INVALID_VALUE
        return self._enqueued(stream, partial(self.copy, target, source, nbytes))

    # Streams and graphs.

    def _stream_create_with_flags(self, out: Any, flags: int) -> int:
        assert flags == 1, "a stream must not wait for the default stream"
        return _write(out, self.make(Stream(self.current)))

    def _stream_synchronize(self, stream: int) -> int:
        if not self.usable(stream, Stream):
            return INVALID_HANDLE
        found = self._live[stream]
        if found.captured is not None:
            found.broken = True
            return CAPTURE_UNSUPPORTED
        return self.run(found)

    def _stream_destroy(self, stream: int) -> int:
        return self.drop(stream, Stream)

    def _stream_begin_capture(self, stream: int, mode: int) -> int:
        if not self.usable(stream, Stream) or mode != 1 or self._live[stream].captured is not None:
            return INVALID_VALUE
        found = self._live[stream]
        found.captured, found.thread, found.broken = [], threading.get_ident(), False
        return OK

    def _stream_end_capture(self, stream: int, out: Any) -> int:
        found = self._live[stream]
        if found.captured is None:
            return CAPTURE_UNMATCHED
        if not found.mine:
            return CAPTURE_WRONG_THREAD
        works, found.captured = found.captured, None
        return CAPTURE_INVALIDATED if found.broken else _write(out, self.make(Graph(found.device, works)))

    def _graph_get_nodes(self, graph: int, nodes: Any, out: Any) -> int:
        return _write(out, len(self._live[graph].works)) if nodes is None else INVALID_VALUE

    def _graph_instantiate(self, out: Any, graph: int, flags: int) -> int:
        return INVALID_VALUE if flags else _write(out, self.make(Graph(self.current, self._live[graph].works)))

    def _graph_launch(self, graph: int, stream: int) -> int:
        if not self.usable(graph, Graph):
            return INVALID_HANDLE
        return self._enqueued(stream, *self._live[graph].works)

    def _graph_destroy(self, graph: int) -> int:
        return self.drop(graph, Graph)

    def _graph_exec_destroy(self, graph: int) -> int:
        return self.drop(graph, Graph)

    def _enqueued(self, stream: int, *works: Callable[[], object]) -> int:
        if not self.usable(stream, Stream):
            return INVALID_HANDLE
        for work in works:
            self.push(self._live[stream], work)
        return OK


def _write(out: Any, value: float) -> int:
    """Write to what `byref` points at."""
    out._obj.value = value
    return OK
