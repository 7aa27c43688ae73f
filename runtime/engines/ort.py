"""ONNX Runtime as an engine: its options, and how a graph is opened.

    ort_session.py    the engine: a session and NumPy arrays; ONNX Runtime's errors as ours
    ort_cuda.py       whether the CUDA provider can load, and its options
    ort_placement.py  what it leaves on the CPU
    ort_bound.py      the engine on a GPU: outputs stay there for the next graph
    ort_graphs.py     the same in buckets, each recorded as a CUDA graph
    captures.py       whose turn it is: what records is alone

What concerns CUDA has not been run on a GPU yet; the tests run it on ONNX Runtime's CPU provider.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError, OptionError
from .base import build_options
from .buckets import BucketOptions, buckets_of
from .devices import parse_device
from .ort_session import OrtEngine, load_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..bundle import Bundle
    from ..manifest import Manifest
    from .buckets import Buckets

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

__all__ = ["OrtEngine", "OrtOptions", "open_file", "open_graph"]

_ON_CUDA = ("tf32", "gpu_memory_mb", "cuda_graphs", "mixed")
_IN_BUCKETS = tuple(field.name for field in dataclasses.fields(BucketOptions))


@dataclass(frozen=True)
class OrtOptions(BucketOptions):
    """Options of the ONNX Runtime engine. Those of `BucketOptions` are for `cuda_graphs` alone.

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
        tf32: On a GPU: whether float32 products may be rounded to TF32's ten bits of mantissa.
        gpu_memory_mb: On a GPU: megabytes that the weights and activations of each graph may take; None: all there
            is. The CUDA context, which takes some hundred megabytes, does not count.
        cuda_graphs: On a GPU: whether feeds are padded to buckets, and the launches of each are recorded and replayed
            as one. An operator that stays on the CPU forbids it, which is an error.
        mixed: On a GPU: whether operators that do a model's arithmetic may run on the CPU where ONNX Runtime has no
            CUDA kernel for them, as it has none for int8 with dynamic activations. Otherwise that is an error, or a
            PlacementWarning where ONNX Runtime is too old to tell. Arithmetic on shapes runs on the CPU in any case.
    """

    threads: int = 0
    spin: bool = False
    prepack: bool = True
    lean: bool = False
    int8_products: bool = False
    unpack: bool = False
    tf32: bool = False
    gpu_memory_mb: int | None = None
    cuda_graphs: bool = False
    mixed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.threads, int) or not 0 <= self.threads <= 1024:
            raise OptionError(f"threads must be 0 (all cores) to 1024, got {self.threads!r}")
        limit = self.gpu_memory_mb
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit < 1 << 24):
            raise OptionError(f"gpu_memory_mb must be a whole number of megabytes from 1 up, got {limit!r}")
        changed = [name for name in _IN_BUCKETS if getattr(self, name) != getattr(BucketOptions, name)]
        if changed and not self.cuda_graphs:
            raise OptionError(f"{changed[0]} is for cuda_graphs=True: without it, ONNX Runtime takes every shape")

    def check(self, device: str) -> None:
        """Refuse what says nothing on `device`.

        Raises:
            OptionError: An option for GPUs is given for the CPU.
        """
        given = [name for name in _ON_CUDA if getattr(self, name) != getattr(OrtOptions, name)]
        if device == "cpu" and given:
            raise OptionError(f"{given[0]} is an option for GPUs and the device is 'cpu': give device='cuda'")


def open_graph(bundle: Bundle, graph: str, device: str, options: Mapping[str, Any]) -> OrtEngine:
    """Load a graph of `bundle` on `device`. See `open_engine`."""
    chosen = build_options(OrtOptions, options)
    buckets = buckets_of(bundle.manifest, graph, chosen) if chosen.cuda_graphs else None
    return _open(bundle.file(bundle.manifest.graphs[graph].path), device, chosen, buckets, bundle.manifest)


def open_file(path: Path, device: str = "cpu", options: OrtOptions | None = None) -> OrtEngine:
    """Load an ONNX file on `device`.

    Raises:
        DeviceError: ONNX Runtime loaded the graph, but not on this device.
        EngineError: ONNX Runtime cannot load the graph.
        OptionError: There is no such device, or an option is not for it.
    """
    chosen = options or OrtOptions()
    if chosen.cuda_graphs:
        raise OptionError("cuda_graphs needs shapes that only a bundle's manifest tells: this is an ONNX file alone")
    return _open(path, device, chosen)


def _open(
    path: Path, device: str, chosen: OrtOptions, buckets: Buckets | None = None, manifest: Manifest | None = None
) -> OrtEngine:
    number = parse_device(device)
    chosen.check(device)
    settings = _settings(chosen)
    if number is None:
        return OrtEngine(load_session(onnxruntime, path, device, settings, ["CPUExecutionProvider"]))
    from .ort_cuda import CudaProvider  # what runs on a CPU need not load it

    return CudaProvider(onnxruntime).open(path, device, settings, chosen, buckets=buckets, manifest=manifest)


def _settings(chosen: OrtOptions) -> Any:
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
    return settings
