"""What a GPU without a GPU keeps: memory with real bytes, streams that run late, graphs.

`fake_cuda.FakeCudart` puts libcudart's functions over it. It is strict where CUDA is undefined or forgiving: fresh and
freed memory holds rubbish, what a thread uses must belong to its current device, and nothing that was enqueued runs
before somebody synchronises.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OK, INVALID_VALUE, OUT_OF_MEMORY, INSUFFICIENT_DRIVER = 0, 1, 2, 35
NO_DEVICE, INVALID_DEVICE, INVALID_HANDLE = 100, 101, 400
ILLEGAL_ADDRESS, LAUNCH_FAILURE = 700, 719
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_UNMATCHED, CAPTURE_WRONG_THREAD = 900, 901, 903, 908

Work = Callable[[], object]


@dataclass
class Block:
    """An allocation: `kind` is device, pinned or mapped."""

    kind: str
    device: int
    memory: ctypes.Array[Any]


@dataclass
class Stream:
    """Work that waits, and what is captured instead of waiting."""

    device: int
    pending: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None  # a list while it is captured
    thread: int = 0  # that captures it
    broken: bool = False  # whether the capture is

    @property
    def mine(self) -> bool:
        """Whether this thread captures it."""
        return self.captured is not None and self.thread == threading.get_ident()


@dataclass
class Graph:
    """Captured work, instantiated or not."""

    device: int
    works: list[Work]


class FakeGpu:
    """The state, and what tests and other fakes do with it.

    Attributes:
        integrated: Whether it shares the host's memory.
        total: Bytes of memory; pinned memory counts only where the GPU is integrated.
        devices: How many of them there are.
        lost: The code that every call returns since the device was lost; 0 before.
    """

    def __init__(self, *, integrated: bool, memory: int, devices: int) -> None:
        self.integrated, self.total, self.devices = integrated, memory, devices
        self.lost = 0
        self._live: dict[int, Any] = {}
        self._freed: list[Block] = []  # kept: a view that outlived its buffer reads rubbish, and does not crash
        self._orphans: list[Work] = []  # work of streams that are gone
        self._thread = threading.local()
        self._next_handle = 0x7F00_0000_1000  # as long as a real pointer: cutting it to 32 bits shows

    @property
    def live(self) -> dict[str, int]:
        """How much of each kind was made and not given back: ``{}`` means no leak."""
        everything = self._live.values()
        return dict(
            Counter(each.kind if isinstance(each, Block) else type(each).__name__.lower() for each in everything)
        )

    @property
    def free(self) -> int:
        """Bytes that are free."""
        counted = ("device", "mapped", "pinned") if self.integrated else ("device",)
        return self.total - sum(len(each.memory) for each in self._all(Block) if each.kind in counted)

    @property
    def current(self) -> int:
        """The current device of this thread."""
        return getattr(self._thread, "device", 0)

    def enqueue(self, work: Work, stream: int | None = None) -> None:
        """What a library does that runs kernels: `work` runs in the order of the stream, or is captured.

        Args:
            work: Reads and writes `array(...)`s.
            stream: The address of a stream. None: the one that this thread captures, else the default stream, which
                waits for everything and runs at once.
        """
        if stream is not None:
            self.push(self._live[stream], work)
            return
        capturing = [each for each in self._all(Stream) if each.mine]
        if capturing:
            self.push(capturing[0], work)
        else:
            self.run_all()
            self._execute(work)

    def break_capture(self, stream: int) -> None:
        """What a library does that cannot be captured."""
        self._live[stream].broken = True

    def array(self, address: int, nbytes: int) -> np.ndarray:
        """uint8 ``[nbytes]`` at an address that the GPU may use: device or mapped memory, all of it allocated."""
        block = self.block(address, nbytes)
        assert block, f"{nbytes} bytes at {address:#x} are not allocated"
        assert block.kind != "pinned", f"{address:#x} is an address of the host"
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    # What the functions of libcudart do.

    def block(self, address: int, nbytes: int) -> Block | None:
        """The allocation that holds these bytes."""
        for block in self._all(Block):
            start = ctypes.addressof(block.memory)
            if start <= address and address + nbytes <= start + len(block.memory):
                return block
        return None

    def allocate(self, nbytes: int, kind: str) -> tuple[int, int]:
        """Allocate: a code and an address."""
        capturing = [each for each in self._all(Stream) if each.mine]
        if capturing:
            capturing[0].broken = True
            return CAPTURE_UNSUPPORTED, 0
        if nbytes > self.free and (kind == "device" or self.integrated):
            return OUT_OF_MEMORY, 0
        if not nbytes:
            return OK, 0  # as CUDA does
        memory = (ctypes.c_uint8 * nbytes)()
        ctypes.memset(memory, 0xCD, nbytes)
        self._live[ctypes.addressof(memory)] = Block(kind, self.current, memory)
        return OK, ctypes.addressof(memory)

    def release(self, address: int, *kinds: str) -> int:
        """Give an allocation back."""
        block = self._live.get(address)
        if not isinstance(block, Block) or block.kind not in kinds:
            return INVALID_VALUE
        if block.kind == "device":
            self.run_all()  # cudaFree waits for the device; cudaFreeHost promises nothing
        ctypes.memset(block.memory, 0xDD, len(block.memory))
        self._freed.append(self._live.pop(address))
        return OK

    def make(self, thing: Stream | Graph) -> int:
        """Keep something: its handle."""
        self._next_handle += 0x100
        self._live[self._next_handle] = thing
        return self._next_handle

    def drop(self, handle: int, kind: type) -> int:
        """Forget something."""
        if not isinstance(self._live.get(handle), kind):
            return INVALID_HANDLE
        dropped = self._live.pop(handle)
        if isinstance(dropped, Stream):
            self._orphans += dropped.pending  # cudaStreamDestroy does not wait: the work runs on
        return OK

    def usable(self, handle: int, kind: type) -> bool:
        """Whether this is alive, of this kind, and of the thread's current device."""
        found = self._live.get(handle)
        return isinstance(found, kind) and found.device == self.current

    def push(self, stream: Stream, work: Work) -> None:
        """Enqueue or capture."""
        (stream.pending if stream.captured is None else stream.captured).append(work)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy bytes, or lose the device if they are not there any more."""
        if self.block(target, nbytes) and self.block(source, nbytes):
            ctypes.memmove(target, source, nbytes)
        else:
            self.lost = ILLEGAL_ADDRESS

    def run(self, stream: Stream) -> int:
        """Run what waits on a stream: the code of the device."""
        while stream.pending:
            self._execute(stream.pending.pop(0))
        return self.lost

    def run_all(self) -> int:
        """Run what waits anywhere."""
        while self._orphans:
            self._execute(self._orphans.pop(0))
        for stream in list(self._all(Stream)):
            self.run(stream)
        return self.lost

    def _execute(self, work: Work) -> None:
        if not self.lost:
            work()

    def _all(self, kind: type) -> Iterator[Any]:
        return (each for each in list(self._live.values()) if isinstance(each, kind))
