"""The half of the fake TensorRT that reads plans and runs them."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fake_tensorrt_types import (
    DTYPES,
    VERSION,
    Arrays,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    Said,
    Tensor,
    TensorIOMode,
    behaviour,
    nptype,
)


class Runtime(Said):
    """Reads plans of its own version."""

    engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        try:
            data = json.loads(bytes(serialized_engine))
        except ValueError:
            data = {}
        if "deserialize" in behaviour.faults or data.get("fake") != "plan":
            self.error("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag does not match)")
            return None
        if data["version"] != VERSION:
            self.error("The engine plan file is not compatible with this version of TensorRT, please rebuild.")
            return None
        return ICudaEngine(self.logger, data)


class ICudaEngine(Said):
    """Tensors and profiles of a plan."""

    def __init__(self, logger: ILogger, data: dict[str, Any]) -> None:
        super().__init__(logger)
        by_name = {np.dtype(dtype).name: kind for kind, dtype in DTYPES.items()}
        self.tensors = {
            name: Tensor(name, by_name[dtype], tuple(axes))
            for side in ("inputs", "outputs")
            for name, (dtype, axes) in data[side].items()
        }
        self.inputs = list(data["inputs"])
        self.profiles: list[dict[str, Any]] = data["profiles"]
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = max(1, len(self.profiles))
        self.device_memory_size_v2 = behaviour.device_memory

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.profiles[profile_index][name]]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return behaviour.device_memory >> profile_index

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> IExecutionContext | None:
        if "context" in behaviour.faults:
            self.error("[defaultAllocator.cpp::allocateAsync] Error Code 1: Cuda Runtime (out of memory)")
            return None
        return IExecutionContext(self, strategy)


class IExecutionContext(Said):
    """Shapes and addresses, and one run over them."""

    def __init__(self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy) -> None:
        super().__init__(engine.logger)
        self.engine, self.strategy = engine, strategy
        self.active_optimization_profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = int(memory), int(size)
        behaviour.calls.append(("set_device_memory", *self.memory))

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        behaviour.calls.append(("set_optimization_profile_async", profile_index, int(stream_handle)))
        if "profile" in behaviour.faults or not 0 <= profile_index < self.engine.num_optimization_profiles:
            self.error("IExecutionContext::setOptimizationProfileAsync: Error Code 3: API Usage Error")
            raise RuntimeError("Error in set optimization profile async.")  # as the bindings do
        self.active_optimization_profile = profile_index
        self.shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        shape = tuple(int(axis) for axis in shape)
        behaviour.calls.append(("set_input_shape", name, shape))
        if "set_input_shape" in behaviour.faults or name not in self.engine.inputs or not self._allows(name, shape):
            self.error(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error ({name} {shape})")
            return False
        self.shapes[name] = shape
        return True

    def _allows(self, name: str, shape: tuple[int, ...]) -> bool:
        declared = self.engine.tensors[name].shape
        if len(shape) != len(declared) or any(a not in (-1, b) for a, b in zip(declared, shape, strict=True)):
            return False
        profiles = self.engine.profiles
        bounds = profiles[self.active_optimization_profile].get(name) if profiles else None
        return bounds is None or all(a <= b <= c for a, b, c in zip(bounds[0], shape, bounds[2], strict=True))

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self.engine.inputs if -1 in self.get_tensor_shape(name)]
        if "infer_shapes" in behaviour.faults or (not missing and self._sizes() is None):
            self.error("IExecutionContext::inferShapes: Error Code 7: Internal Error (dimensions not equal)")
            raise RuntimeError("infer_shapes error code: -1")
        return missing

    def _sizes(self) -> dict[str, int] | None:
        """The size of each named axis; None if inputs contradict each other."""
        sizes: dict[str, int] = {}
        for name, shape in self.shapes.items():
            for axis, size in zip(self.engine.tensors[name].axes, shape, strict=True):
                if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
                    return None
        return sizes

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.engine.inputs:
            return self.shapes.get(name, self.engine.tensors[name].shape)
        sizes = self._sizes() or {}
        return tuple(a if isinstance(a, int) else sizes.get(a, -1) for a in self.engine.tensors[name].axes)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        behaviour.calls.append(("set_tensor_address", name, int(memory)))
        if "set_tensor_address" in behaviour.faults or name not in self.engine.tensors:
            return False
        self.addresses[name] = int(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self.addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        behaviour.calls.append(("execute_async_v3", int(stream_handle)))
        unready = [name for name in self.engine.tensors if not self.addresses.get(name)] or [
            name for name in self.engine.tensors if -1 in self.get_tensor_shape(name)
        ]
        unfed = self.strategy is ExecutionContextAllocationStrategy.USER_MANAGED and self.memory is None
        if "execute" in behaviour.faults or unready or unfed:
            self.error(f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error (not ready: {unready})")
            return False
        arrays = {name: self._array(name) for name in self.engine.tensors}  # as they are now, like a captured graph
        behaviour.enqueue(int(stream_handle), lambda: self._run(arrays))
        return True

    def _run(self, arrays: Arrays) -> None:
        results = behaviour.compute({name: arrays[name] for name in self.engine.inputs})
        for name in arrays.keys() - set(self.engine.inputs):
            assert results[name].dtype == arrays[name].dtype, (name, results[name].dtype)
            arrays[name][...] = results[name]

    def _array(self, name: str) -> np.ndarray:
        """The tensor at its address."""
        dtype, shape = np.dtype(nptype(self.engine.tensors[name].dtype)), self.get_tensor_shape(name)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = (ctypes.c_char * count).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)
