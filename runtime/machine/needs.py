"""What a bundle needs and whether this machine meets it, for one engine and device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import strict_json
from ..bundle import MANIFEST_NAME
from ..cuda.codes import in_words
from ..tensorrt.build import cache_of
from ..tensorrt.options import TrtOptions
from ..tensorrt.plans import FORMAT_VERSION, PlanManifest
from .choice import FIRST_FUSED_ONNX_RUNTIME, FIRST_FUSED_TENSORRT, UNMEASURED
from .versions import at_least

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..bundle import Bundle
    from .choice import Choice
    from .survey import Machine


@dataclass(frozen=True)
class Need:
    """One need.

    Attributes:
        name: What it is about.
        met: Whether it is met here; None where that is not known.
        detail: Why, for people.
    """

    name: Literal["engine", "memory", "precision", "dialect", "plan"]
    met: bool | None
    detail: str


def needs_of(bundle: Bundle, machine: Machine, choice: Choice) -> tuple[Need, ...]:
    """The needs of a bundle.

    Args:
        bundle: An opened bundle.
        machine: What `survey` found.
        choice: The engine and device it is to run on.
    """
    if choice.engine is None:
        return (Need("engine", False, "no engine is ready: see the steps"), _memory(bundle, machine, choice))
    found = [
        Need("engine", True, f"{choice.engine} on {choice.device}"),
        _memory(bundle, machine, choice),
        _precision(bundle, machine, choice),
        _dialect(bundle, machine, choice),
    ]
    if choice.engine == "trt":
        refused = [need.name for need in found if need.met is False and need.name in ("precision", "dialect")]
        found.append(_plan(bundle, machine, refused))
    return tuple(found)


def weight_bytes(bundle: Bundle, *, on_processor: bool) -> int:
    """Bytes of the graphs' constants in memory; the token table stays in its mapped file.

    On a processor ONNX Runtime widens float16 to float32 when it loads a graph (docs/precision.md).

    Args:
        bundle: An opened bundle.
        on_processor: Whether it runs on the processor.
    """
    wide = {"fp16": 2} if on_processor else {}
    graphs = bundle.manifest.precision.graphs.values()
    return sum(size * wide.get(kind, 1) for graph in graphs for kind, size in graph.bytes.items())


def _memory(bundle: Bundle, machine: Machine, choice: Choice) -> Need:
    wanted = weight_bytes(bundle, on_processor=choice.device == "cpu")
    gpu = machine.gpu
    if choice.device == "cuda" and gpu is not None and not gpu.integrated:
        free, where = gpu.memory_free, "on the GPU"
    else:
        free, where = machine.memory.available, "here"
    weights = f"{in_words(wanted)} of weights"
    if free is None:
        return Need("memory", None, f"{weights}; how much is free {where} is not known")
    if wanted >= free:
        return Need("memory", False, f"{weights}, {in_words(free)} are free {where}: export with --precision int4")
    return Need("memory", True, f"{weights}, {in_words(free)} are free {where}; activations come on top")


def _precision(bundle: Bundle, machine: Machine, choice: Choice) -> Need:
    precision = bundle.manifest.precision
    name = precision.name
    if choice.device == "cpu":
        return Need("precision", *_on_processor(name, machine))
    if precision.activations == "dynamic":
        instead = "export with --precision int8-static or fp16"
        lacks = "TensorRT cannot compile" if choice.engine == "trt" else "ONNX Runtime has no CUDA kernels for"
        return Need("precision", False, f"{name} finds its scales as it runs, which {lacks}: {instead}")
    if precision.compute == "fp32":
        return Need("precision", True, f"{name} runs; float32 products leave the tensor cores idle: export for fp16")
    return Need("precision", True, f"{name} multiplies in types that the GPU has tensor cores for; {UNMEASURED}")


def _on_processor(name: str, machine: Machine) -> tuple[bool | None, str]:
    if name in ("int8", "int8-static"):
        exact = machine.processor.exact
        if exact is False:
            return False, f"{name}: this processor cuts sums of 8-bit products off, vectors would differ: export fp16"
        told = "exact here" if exact else "not tried here"
        return exact, f"{name}: 8-bit products are {told}" + ("; int8 is faster" if name == "int8-static" else "")
    if name in ("w8", "int4"):
        return True, f"{name} runs; its weights are unpacked for every product (docs/precision.md): int8 is faster"
    return True, f"{name} runs; int8 is about twice as fast (docs/precision.md)"


def _dialect(bundle: Bundle, machine: Machine, choice: Choice) -> Need:
    dialect = bundle.manifest.dialect
    if dialect == "portable":
        return Need("dialect", True, "portable runs on every engine")
    if choice.engine == "trt":
        name, version, first = "TensorRT", machine.tensorrt.version, FIRST_FUSED_TENSORRT
    else:
        name, version, first = "ONNX Runtime", machine.onnx_runtime.version, FIRST_FUSED_ONNX_RUNTIME[choice.device]
    if version is None:
        return Need("dialect", None, f"{dialect} needs {name} {first}; which one is here is not known")
    met = at_least(version, first)
    return Need(
        "dialect", met, f"{dialect} needs {name} {first}, {version} is here" + ("" if met else ": export portable")
    )


def _plan(bundle: Bundle, machine: Machine, refused: Sequence[str]) -> Need:
    if refused:
        return Need("plan", False, f"there can be none: {' and '.join(refused)} do not fit")
    folder = cache_of(bundle, TrtOptions()).directory
    made = {graph for graph, sm in _plans(folder) if machine.gpu and sm == machine.gpu.sm}
    missing = sorted(set(bundle.manifest.graphs) - made)
    if missing:
        return Need(
            "plan", False, f"none for this GPU in {folder} for {', '.join(missing)}: compiled at the first start"
        )
    return Need("plan", True, f"in {folder}, for this kind of GPU; compared word for word when it is loaded")


def _plans(folder: Path) -> Iterator[tuple[str, str]]:
    """Graph and SM of every plan whose manifest can be read."""
    for path in sorted(folder.glob(f"*/{MANIFEST_NAME}")):
        try:
            key = strict_json.read(PlanManifest, path, FORMAT_VERSION, "plan").key
        except (OSError, strict_json.StrictJsonError):
            continue
        yield key.graph, key.machine.capability
