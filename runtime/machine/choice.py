"""The decision table: a machine -> which engine, device, dialect and precision smartrt would take there, and why.

Figures are those of docs/performance.md and docs/precision.md, all of one x86-64 machine. No line of this table has
been run on a GPU: what is said of GPUs is what TensorRT's and ONNX Runtime's documentation say of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .readiness import has_gpu, ways
from .versions import at_least

if TYPE_CHECKING:
    from .readiness import Way
    from .survey import Machine

Dialect = Literal["portable", "fused"]

UNMEASURED = "not yet run on a GPU"
FIRST_FUSED_TENSORRT = "10.16"
"""The first with opset 23, whose Attention, RMSNormalization and RotaryEmbedding the fused dialect is written in."""

FIRST_FUSED_ONNX_RUNTIME = {"cpu": "1.23", "cuda": "1.25"}
"""The first with kernels of all three, by device.

Attention came to the CPU with 1.23 (onnxruntime PR #25156). On CUDA it was taken back and came again in January 2026
(PR #27020, #27030), after what became 1.24: there it runs on the CPU, whatever device is asked for (issue #28025, of
onnxruntime-gpu 1.24.4).
"""
SMALL_BOARD = 12 << 30
"""Bytes of memory, shared by processor and GPU, below which weights of 4 bits are worth their rounding."""


@dataclass(frozen=True)
class Choice:
    """What to run with.

    Attributes:
        engine: ``trt`` or ``ort``; None where nothing is ready.
        device: ``cuda`` or ``cpu``.
        dialect: Which form of the graph.
        precision: As `smartrt export --precision` takes it.
        compute: As `smartrt export --compute` takes it, for the products that are not int8.
        instead: Other precisions worth a try -> for what.
        reasons: Lines for people, one a decision.
        measured: Whether figures of this kind of device are in the documentation.
    """

    engine: str | None
    device: str
    dialect: Dialect
    precision: str
    compute: Literal["fp16", "fp32"]
    instead: dict[str, str]
    reasons: tuple[str, ...]
    measured: bool


def choose(machine: Machine) -> Choice:
    """What to take now: the first of `ways` that is ready, with TensorRT before ONNX Runtime on a GPU.

    Args:
        machine: What `survey` found.
    """
    ready = next((way for way in ways(machine) if way.ready), None)
    if ready is not None:
        return _decide(machine, ready.engine, ready.device, None)
    way = aim(machine)
    later = f"engine: none is ready; this is for {way.engine} on {way.device}, to which the steps lead"
    return replace(_decide(machine, way.engine, way.device, later), engine=None)


def aim(machine: Machine) -> Way:
    """The way that this machine is made for, ready or not: what the steps lead to.

    TensorRT on a Jetson, where it comes with the system; on other machines with a GPU the first way on it that is
    ready, else ONNX Runtime, which one command installs; without a GPU ONNX Runtime on the processor.
    """
    trt, cuda, cpu = ways(machine)
    if not has_gpu(machine):
        return cpu
    impossible = {"no-engine", "old-gpu"} & {obstacle.code for obstacle in trt.obstacles}
    if trt.ready or (machine.board is not None and not impossible):
        return trt
    return cuda


def choose_way(machine: Machine, way: Way) -> Choice:
    """What to take once `way` is ready."""
    return _decide(machine, way.engine, way.device, None)


def _decide(machine: Machine, engine: str, device: str, why: str | None) -> Choice:
    dialect, dialect_reason = _dialect(machine, engine, device)
    if device == "cpu":
        precision, instead, precision_reason = _on_processor(machine)
    else:
        precision, instead, precision_reason = _on_gpu(machine)
    measured = device == "cpu" and machine.system.architecture == "x86_64"
    reasons = [why or _engine_reason(machine, engine, device), dialect_reason, precision_reason]
    if device == "cuda":
        reasons.append(UNMEASURED)
    elif not measured:
        reasons.append(
            f"no figure of the documentation is of {machine.system.architecture}: measure with smartrt bench"
        )
    return Choice(
        engine=engine,
        device=device,
        dialect=dialect,
        precision=precision,
        compute="fp32" if device == "cpu" else "fp16",
        instead=instead,
        reasons=tuple(reasons),
        measured=measured,
    )


def _engine_reason(machine: Machine, engine: str, device: str) -> str:
    if device == "cpu":
        if not has_gpu(machine):
            return "engine: there is no NVIDIA GPU, and ONNX Runtime loads here"
        return "engine: the GPU cannot be used yet (see the steps), and ONNX Runtime loads here"
    if engine == "trt":
        version = machine.tensorrt.version or "of unknown version"
        return f"engine: TensorRT {version} loads, and compiles the graph for this very GPU"
    return f"engine: ONNX Runtime {machine.onnx_runtime.version or ''} has the CUDA provider and its libraries load"


def _dialect(machine: Machine, engine: str, device: str) -> tuple[Dialect, str]:
    if device == "cpu":
        return "portable", "dialect: portable is what every figure of a processor was measured with"
    if engine == "trt":
        version = machine.tensorrt.version or (
            machine.board and machine.board.jetpack and machine.board.jetpack.tensorrt
        )
        name, first = "TensorRT", FIRST_FUSED_TENSORRT
    else:
        version, name, first = machine.onnx_runtime.version, "ONNX Runtime", FIRST_FUSED_ONNX_RUNTIME[device]
    if at_least(version or None, first):
        return "fused", f"dialect: {name} {version} is at least {first} and has opset 23's Attention on the GPU"
    known = f"{name} {version} is older than {first}" if version else f"the version of {name} is not known"
    return "portable", f"dialect: {known}, the first with opset 23's Attention on the GPU"


def _on_processor(machine: Machine) -> tuple[str, dict[str, str], str]:
    processor = machine.processor
    if processor.exact is False:
        how = "as tried" if processor.saturates else "by its instructions"
        reason = f"precision: this processor cuts sums of 8-bit products off ({how}), so int8 vectors would differ"
        return "fp16", {"int4": "the smallest files"}, f"{reason}; fp16 takes fp32's time in half its size"
    with_what = f" with {processor.eight_bit}" if processor.eight_bit else ""
    told = "are exact here" if processor.exact else "were not tried here"
    reason = f"precision: 8-bit products{with_what} {told}; int8 took about half of fp32's time (docs/precision.md)"
    return "int8", {"fp32": "the reference's own vectors", "int4": "the smallest files"}, reason


def _on_gpu(machine: Machine) -> tuple[str, dict[str, str], str]:
    gpu, total = machine.gpu, machine.memory.total
    sm = gpu.sm_number if gpu else None
    faster = {"int8-static": "faster products, at a measured loss"}
    if machine.board is not None and total is not None and total < SMALL_BOARD:
        gib = f"{total / (1 << 30):.1f} GiB"
        reason = f"precision: {gib} are shared by processor and GPU; int4 weights are a quarter of fp16's, in its time"
        return "int4", {"fp16": "models below 1 GB, without rounding"} | faster, reason
    known = "SM unknown" if sm is None or gpu is None else f"SM {gpu.sm}"
    eight = "smartrt has no FP8" if sm is not None and sm >= 89 else "it has no FP8"
    tail = "" if sm is None else f"; {eight}"
    reason = f"precision: fp16 for tensor cores ({known}), next to no loss{tail}"
    return "fp16", faster | {"int4": "a quarter of the memory, no faster"}, reason
