"""What the fake builder and the fake runtime share: behaviour, enumerations, loggers, tensors and plans."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VERSION = "10.3.0"

Arrays = dict[str, np.ndarray]


@dataclass
class Behaviour:
    """What the fake does, and a list of what was asked of it. Faults also come from the environment's FAKE_TENSORRT.

    Attributes:
        compute: Arrays of all inputs -> arrays of all outputs.
        enqueue: Called with a stream and the work of one execution; the default does it at once. A fake CUDA that
            captures graphs keeps it instead.
        faults: Names of what shall fail. In the compiler: builder, parse, memory, oversized, build, library,
            timing_cache, profile; killed and crash end the process. In the runtime: deserialize, context, profile,
            set_input_shape, infer_shapes, set_tensor_address, execute.
        calls: (name, arguments) of what happened to engines' contexts.
        device_memory: Bytes that an engine says its activations take.
    """

    compute: Callable[[Arrays], Mapping[str, np.ndarray]] = lambda feeds: {}  # noqa: ARG005
    enqueue: Callable[[int, Callable[[], None]], None] = lambda stream, work: work()  # noqa: ARG005
    faults: set[str] = field(default_factory=lambda: set(os.environ.get("FAKE_TENSORRT", "").split()))
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    device_memory: int = 4096

    def reset(self) -> None:
        """Do what is done unless told otherwise."""
        self.__init__()  # type: ignore[misc]


behaviour = Behaviour()


def plan(
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Mapping[str, tuple[str, Sequence[int | str]]],
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] = ({},),
) -> bytes:
    """A plan with these tensors, each a NumPy dtype's name and axes, a name being a dynamic axis."""
    parts = {"version": VERSION, "inputs": inputs, "outputs": outputs, "profiles": list(profiles)}
    return json.dumps({"fake": "plan", **parts}).encode()


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


DTYPES = {
    DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT8: np.int8, DataType.INT32: np.int32,
    DataType.BOOL: np.bool_, DataType.UINT8: np.uint8, DataType.INT64: np.int64,
}  # fmt: skip


def nptype(dtype: DataType) -> type:
    return DTYPES[dtype]


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.Enum):
    TF32 = enum.auto()


class MemoryPoolType(enum.Enum):
    WORKSPACE = enum.auto()


class LayerType(enum.Enum):
    ATTENTION_INPUT = enum.auto()
    OTHER = enum.auto()


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class _Overridden:
    """The bindings refuse a subclass whose `__init__` does not call theirs."""

    def __init__(self) -> None:
        self.made = True


class ILogger(_Overridden):
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    def log(self, severity: ILogger.Severity, msg: str) -> None:
        """Print nothing."""


class IProgressMonitor(_Overridden):
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class Said:
    """Whatever has a logger."""

    def __init__(self, logger: ILogger) -> None:
        if not getattr(logger, "made", False):
            raise TypeError("tensorrt.ILogger.__init__() must be called when overriding __init__")
        self.logger = logger

    def error(self, message: str) -> None:
        self.logger.log(ILogger.Severity.ERROR, message)

    def warn(self, message: str) -> None:
        self.logger.log(ILogger.Severity.WARNING, message)


@dataclass
class Tensor:
    """One input or output of a network; `axes` keeps the names that the bindings forget."""

    name: str
    dtype: DataType
    axes: tuple[int | str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis if isinstance(axis, int) else -1 for axis in self.axes)
