"""ONNX Runtime as an engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, EngineError, MissingDependencyError, OptionError
from .base import TensorSpec, build_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from .base import Feeds

try:
    import onnxruntime
except ModuleNotFoundError as error:
    if error.name != "onnxruntime":
        raise
    raise MissingDependencyError(
        "ONNX Runtime is not installed. On a CPU: pip install 'smartrt[cpu]'; on an x86-64 machine with an "
        "NVIDIA GPU: pip install 'smartrt[gpu]'; on a Jetson: install the onnxruntime-gpu wheel made for "
        "your JetPack"
    ) from error
except ImportError as error:
    raise MissingDependencyError(
        f"ONNX Runtime is installed and does not load: {' '.join(str(error).split())}"
    ) from error

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class OrtOptions:
    """Options of the ONNX Runtime engine.

    Attributes:
        threads: Threads inside one operator; 0 lets ONNX Runtime take every physical core.
        spin: Whether idle threads spin. They then steal the cores from whatever follows a forward pass,
            MaxSim first of all: with it, encode and search of one query took half as long again
            (docs/performance.md).
        prepack: Whether weights are copied into the layout the kernels like. Off leaves them in the mapped
            file, whose pages the kernel may drop; the peak is the same and queries are slower
            (docs/performance.md).
        lean: Whether float16 weights stay float16 in memory: nothing is computed ahead and no operators are fused, and
            a CPU without float16 arithmetic widens each weight whenever it is used. Slower, in half the memory.
        int8_products: Whether products with packed weights (w8, int4) may quantise their activations to int8 as
            well. ONNX Runtime does so unless told not to; the outputs then differ from what was verified.
        unpack: Whether packed weights become float32 when the graph is loaded: faster for w8, and as large in
            memory as float32 (docs/precision.md).
    """

    threads: int = 0
    spin: bool = False
    prepack: bool = True
    lean: bool = False
    int8_products: bool = False
    unpack: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.threads, int) or not 0 <= self.threads <= 1024:
            raise OptionError(f"threads must be 0 (all cores) to 1024, got {self.threads!r}")


class OrtEngine:
    """One graph in one ONNX Runtime session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        if self._session is None:
            raise EngineError("this engine is closed; open the encoder again")
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise EngineError(f"ONNX Runtime could not run the graph: {_one_line(error)}") from error

    def run_into(self, feeds: Feeds, outputs: Feeds) -> None:
        """Run the graph once and write its outputs into arrays that are there already, all contiguous and on the CPU.

        `run` returns new ones: where a graph is small and its output large, fresh memory takes most of the time.
        """
        if self._session is None:
            raise EngineError("this engine is closed; open the encoder again")
        if not all(array.flags.c_contiguous for array in (*feeds.values(), *outputs.values())):
            raise EngineError("run_into reads and writes memory as it lies: every array must be C-contiguous")
        binding = self._session.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            for name, array in outputs.items():
                binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise EngineError(f"ONNX Runtime could not run the graph: {_one_line(error)}") from error

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = None


def open_graph(bundle: Bundle, graph: str, device: str, options: Mapping[str, Any]) -> OrtEngine:
    """Load a graph of `bundle` on `device`. See `open_engine`."""
    return open_file(bundle.file(bundle.manifest.graphs[graph].path), device, build_options(OrtOptions, options))


def open_file(path: Path, device: str = "cpu", options: OrtOptions | None = None) -> OrtEngine:
    """Load an ONNX file on `device`.

    Raises:
        DeviceError: ONNX Runtime loaded the graph, but not on this device.
        EngineError: ONNX Runtime cannot load the graph.
    """
    chosen = options or OrtOptions()
    kind, number = _parse_device(device)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors only: what goes wrong is raised, not logged
    settings.intra_op_num_threads = chosen.threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(chosen.spin)))
    settings.add_session_config_entry("session.disable_prepacking", str(int(not chosen.prepack)))
    # 1 is float32, 4 is int8: the default of ONNX Runtime is 4.
    level = "4" if chosen.int8_products else "1"
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", level)
    settings.add_session_config_entry("session.disable_quant_qdq", str(int(chosen.unpack)))
    if chosen.lean:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # In the order of need: the default one widens all weights first and holds them together.
        settings.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        settings.enable_cpu_mem_arena = False  # it grows by doubling and gives nothing back
    provider = _PROVIDERS[kind]
    if provider not in onnxruntime.get_available_providers():
        raise _not_loaded(device, "this build of ONNX Runtime has no such provider")
    wanted: list[Any] = [(provider, {"device_id": number})] if kind == "cuda" else [provider]
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=wanted)
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot load {path}: {_one_line(error)}") from error
    # ONNX Runtime falls back to the CPU without raising: ask what it really loaded.
    if provider not in session.get_providers():
        raise _not_loaded(device, "its libraries are missing or do not fit (CUDA, cuDNN)")
    return OrtEngine(session)


def _parse_device(device: str) -> tuple[str, str]:
    match = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", str(device))
    if not match or (match[1] == "cpu" and match[2]):
        raise OptionError(f"unknown device {device!r}; there are: cpu, cuda, cuda:N")
    return match[1], match[2] or "0"


def _not_loaded(device: str, reason: str) -> DeviceError:
    return DeviceError(
        f"device {device!r} did not load: {reason}; found {', '.join(onnxruntime.get_available_providers())}. "
        "Install onnxruntime-gpu with its CUDA libraries, or ask for device='cpu'"
    )


def _spec(node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise EngineError(f"{node.name} has type {node.type}; graphs use {', '.join(_DTYPES)}")
    return TensorSpec(node.name, dtype, tuple(node.shape))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
