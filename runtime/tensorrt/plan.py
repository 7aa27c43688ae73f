"""A plan on a GPU: the engine TensorRT made of it, and one execution context for each bucket.

Contexts share the weights, and one block of memory for what lies between inputs and outputs: they run one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, DeviceLostError, DeviceMemoryError, EngineError, PlanError
from .advice import is_memory_trouble
from .library import load_tensorrt
from .listeners import Events, Journal, logger_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..cuda import Buffer, CapturedGraph, Cuda, Stream

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64", "INT32": "int32", "INT8": "int8", "UINT8": "uint8"}


class _Nobody:
    """Takes events and forgets them: the journal keeps what is asked for."""

    def write(self, line: bytes, /) -> object:
        return len(line)


class Plan:
    """A plan that was loaded. Make one with `load`."""

    def __init__(self, tensorrt: Any, runtime: Any, engine: Any, journal: Journal, cuda: Cuda) -> None:
        self._tensorrt = tensorrt
        self._runtime = runtime  # it must outlive its engine
        self._engine = engine
        self._journal = journal
        self._cuda = cuda
        self._scratch: Buffer | None = None

    @classmethod
    def load(cls, path: Path, sha256: str, cuda: Cuda) -> Plan:
        """Load a plan. It is machine code: the bytes that are loaded are those that are compared with `sha256`.

        Raises:
            PlanError: It is not that file, it cannot be read, or TensorRT does not take it.
            DeviceMemoryError: The GPU has too little memory for its weights.
        """
        tensorrt = load_tensorrt()
        journal = Journal(Events(_Nobody()))
        cuda.activate()
        runtime = tensorrt.Runtime(logger_of(tensorrt, journal))
        # Mapped, not read: a Jetson's GPU has the same memory, which would hold the weights twice.
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise PlanError(f"{path} is not the file that was compiled")
                engine = runtime.deserialize_cuda_engine(content)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise PlanError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        if engine is None:
            raise _failed(journal, f"TensorRT cannot load the plan {path}", cuda)
        return cls(tensorrt, runtime, engine, journal, cuda)

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """NumPy dtype and shape of every input and output, -1 being a dynamic axis.

        Raises:
            PlanError: A type that graphs of smartrt do not have.
        """
        engine = self._engine
        found = {}
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            dtype = engine.get_tensor_dtype(name).name
            if dtype not in _DTYPES:
                raise PlanError(f"the plan's tensor {name} has the type {dtype}; graphs use {', '.join(_DTYPES)}")
            found[name] = _DTYPES[dtype], tuple(int(size) for size in engine.get_tensor_shape(name))
        return found

    def context(
        self, profile: int, shapes: Mapping[str, Sequence[int]], addresses: Mapping[str, int], stream: Stream
    ) -> Context:
        """A context with fixed shapes of inputs and fixed addresses of all tensors.

        Raises:
            DeviceMemoryError: The GPU has too little memory.
            EngineError: TensorRT does not take the shapes.
        """
        self._cuda.activate()
        heard = len(self._journal.errors)
        context = self._engine.create_execution_context(self._tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise _failed(self._journal, "TensorRT made no execution context", self._cuda, heard)
        scratch = self._shared()
        context.set_device_memory(scratch.address, scratch.nbytes)
        if not _prepared(context, profile, shapes, addresses, stream):
            raise _failed(self._journal, f"TensorRT does not take the shapes {dict(shapes)}", self._cuda, heard)
        stream.synchronize()  # the profile is set on the stream
        return Context(context, self._journal, self._cuda)

    def close(self) -> None:
        """Give the weights back. Contexts must be gone."""
        self._engine = self._runtime = None
        if self._scratch is not None:
            self._scratch.close()

    def _shared(self) -> Buffer:
        if self._scratch is None:
            self._scratch = self._cuda.buffer(int(self._engine.device_memory_size_v2), host=False)
        return self._scratch


class Context:
    """One bucket: its shapes and addresses, and the recording of its launches once there is one."""

    def __init__(self, context: Any, journal: Journal, cuda: Cuda) -> None:
        self._context = context
        self._journal = journal
        self._cuda = cuda
        self._graph: CapturedGraph | None = None
        self._runs = 0

    def enqueue(self, stream: Stream, *, record: bool) -> str | None:
        """Enqueue one run on `stream`, from the second on as a recorded CUDA graph if `record` says so.

        The first run is not recorded: TensorRT allocates and chooses during it.

        Returns:
            Why the launches could not be recorded; they were enqueued one by one then.

        Raises:
            DeviceLostError: The GPU stopped answering.
            EngineError: TensorRT could not run the plan.
        """
        self._cuda.activate()  # before the capture, inside which it may not be
        refused = None
        if record and self._runs and self._graph is None:
            try:
                self._graph = stream.capture(lambda: self._launch(stream))
            except DeviceLostError:
                raise
            except EngineError as error:
                refused = str(error)
        self._runs += 1
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._launch(stream)
        return refused

    def close(self) -> None:
        """Give back what is this bucket's own."""
        if self._graph is not None:
            self._graph.close()
        self._context = None

    def _launch(self, stream: Stream) -> None:
        heard = len(self._journal.errors)
        if not self._context.execute_async_v3(stream.address):
            raise _failed(self._journal, "TensorRT could not run the plan", self._cuda, heard)


def _prepared(
    context: Any, profile: int, shapes: Mapping[str, Sequence[int]], addresses: Mapping[str, int], stream: Stream
) -> bool:
    """Whether TensorRT takes profile, shapes and addresses, and all other shapes follow from these."""
    try:
        context.set_optimization_profile_async(profile, stream.address)
        done = all(context.set_input_shape(name, tuple(shape)) for name, shape in shapes.items())
        done = done and all(context.set_tensor_address(name, address) for name, address in addresses.items())
        return done and not context.infer_shapes()
    except RuntimeError:  # how the bindings tell that a profile or the inputs cannot be
        return False


def _failed(journal: Journal, what: str, cuda: Cuda, since: int = 0) -> EngineError:
    """The error for what TensorRT's logger said."""
    _, reason = journal.cause(since)
    with contextlib.suppress(DeviceError):
        cuda.memory()  # a GPU that is lost says so to whoever asks
    if cuda.lost:
        return DeviceLostError(f"{what}: GPU {cuda.device} stopped answering ({reason}): start the program again")
    if is_memory_trouble(reason):
        free, total = cuda.memory()
        return DeviceMemoryError(
            f"{what}: the GPU has {free >> 20:,} of {total >> 20:,} MiB free ({reason}); close other programs, or open "
            "it with a smaller max_length or batch_tokens"
        )
    return PlanError(f"{what}: {reason or 'its logger said nothing'}")
