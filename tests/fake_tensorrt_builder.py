"""The half of the fake TensorRT that makes plans."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fake_tensorrt_types import (
    DTYPES,
    BuilderFlag,
    ILogger,
    IProgressMonitor,
    LayerType,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    Said,
    Tensor,
    behaviour,
    nptype,
    plan,
)


class _Layer:
    """A layer as the bindings give it out: its own members show once it is told its class."""

    def __init__(self, kind: LayerType) -> None:
        self.type = kind
        self.hidden = _Attention()


class _Attention:
    decomposable = False


class IAttentionInputLayer(_Layer):
    """What TensorRT has since 10.14; 10.3, which this fake is, has not."""

    @property
    def attention(self) -> _Attention:
        return self.hidden


class _Network:
    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.layers: list[_Layer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> _Layer:
        return self.layers[index]

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:  # noqa: A002
        self.shapes[input] = [list(min), list(opt), list(max)]


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class _Config(Said):
    def __init__(self, logger: ILogger) -> None:
        super().__init__(logger)
        self.flags = {BuilderFlag.TF32}
        self.limits: dict[MemoryPoolType, int] = {}
        self.builder_optimization_level = 3
        self.profiles: list[_Profile] = []
        self.progress_monitor: IProgressMonitor | None = None
        self.timing_cache: _TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def add_optimization_profile(self, profile: _Profile) -> int:
        if "profile" in behaviour.faults:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        if serialized_timing_cache and not serialized_timing_cache.startswith(b"times"):  # as 11.4 does
            self.warn("Failed to deserialize timing cache. Returning an empty timing cache.")
            serialized_timing_cache = b""
        return _TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        if cache.content and "timing_cache" in behaviour.faults and not ignore_mismatch:
            return False
        self.timing_cache = cache
        return True


class Builder(Said):
    """Makes plans. The configuration and the network of the last build are kept, for tests to look at."""

    last: _Config
    last_network: _Network

    def __init__(self, logger: ILogger) -> None:
        super().__init__(logger)
        if "builder" in behaviour.faults:
            self.error("[checkMacros.cpp::catchCudaError] CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> _Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED, flags
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self.logger)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        Builder.last, Builder.last_network = config, network
        os.write(1, b"a library talks on standard output\n")
        if "crash" in behaviour.faults:
            os.abort()
        if "killed" in behaviour.faults:  # as by the kernel, out of memory
            os.kill(os.getpid(), signal.SIGKILL)
        for fault, message in _BUILD_FAULTS.items():
            if fault in behaviour.faults:
                self.error(message)
                return None
        for i in range(3):
            self.warn(f"Tactic Device request: {i}MB Available: 0MB. Device memory is insufficient to use tactic.")
        if not _told(config.progress_monitor):
            return None
        if config.timing_cache is not None:
            config.timing_cache.content = b"times" + config.timing_cache.content.removeprefix(b"times") + b"."
        sides = [
            {tensor.name: (np.dtype(nptype(tensor.dtype)).name, tensor.axes) for tensor in side}
            for side in (network.inputs, network.outputs)
        ]
        return plan(*sides, [profile.shapes for profile in config.profiles])


_BUILD_FAULTS = {
    "memory": "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (Requested size was 9 bytes.)",
    "library": "Unable to load library: libnvinfer_builder_resource.so.10.3.0: cannot open shared object file",
    "oversized": "Error Code 4: Internal Error (kOPT values for profile 0 violate shape constraints: Add_1: 256 != 64)",
    "build": "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Quantized constant (x) is only allowed)",
}


def _told(monitor: IProgressMonitor | None) -> bool:
    """Tell a monitor of two steps; whether it wants to go on."""
    if monitor is None:
        return True
    monitor.phase_start("Building engine", None, 2)
    going = all(monitor.step_complete("Building engine", i) for i in range(2))
    monitor.phase_finish("Building engine")
    return going


class _ParserError:
    def __init__(self, node: int, operator: str, name: str, reason: str) -> None:
        self._values = node, operator, name, reason

    def node(self) -> int:
        return self._values[0]

    def node_operator(self) -> str:
        return self._values[1]

    def node_name(self) -> str:
        return self._values[2]

    def desc(self) -> str:
        return self._values[3]


class OnnxParser:
    """Reads inputs and outputs of an ONNX file with the package `onnx`."""

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self.network, self.logger, self.errors = network, logger, list[_ParserError]()

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> _ParserError:
        return self.errors[index]

    def parse_from_file(self, model: str) -> bool:
        assert Path(model).is_absolute(), model
        import onnx
        from onnx.helper import tensor_dtype_to_np_dtype

        try:
            graph = onnx.load(model, load_external_data=False).graph
        except Exception:  # noqa: BLE001  (protobuf has several)
            self.errors.append(_ParserError(-1, "", "", "Failed to parse ONNX model from file"))
            return False
        refused = [i for i, node in enumerate(graph.node) if node.domain or "parse" in behaviour.faults]
        for i in refused:
            node = graph.node[i]
            self.errors.append(_ParserError(i, node.op_type, node.name, "Assertion failed: no importer for it"))
        by_dtype = {np.dtype(dtype): kind for kind, dtype in DTYPES.items()}
        for side, values in ((self.network.inputs, graph.input), (self.network.outputs, graph.output)):
            for value in values:
                kind = value.type.tensor_type
                axes = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
                side.append(Tensor(value.name, by_dtype[tensor_dtype_to_np_dtype(kind.elem_type)], axes))
        for node in graph.node:
            kind = LayerType.ATTENTION_INPUT if node.op_type == "Attention" else LayerType.OTHER
            self.network.layers.append(_Layer(kind))
        return not refused
