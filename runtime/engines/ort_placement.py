"""What of a graph ONNX Runtime leaves to the CPU, though a GPU was asked for: it does so without a word.

From 1.24.1 on (PR #26781) a session tells where each operator went. Before, only what is known of its kernels helps:
what certainly has none on CUDA is refused, the rest is a warning.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeviceError, PlacementWarning
from ..machine.choice import FIRST_FUSED_ONNX_RUNTIME
from ..machine.onnx_runtime import CUDA
from ..machine.versions import at_least

if TYPE_CHECKING:
    from ..manifest import Manifest

_FIRST_THAT_TELLS: Final = "1.24.1"

_ARITHMETIC: Final = frozenset(
    {
        "MatMul", "Gemm", "FusedMatMul", "MatMulNBits", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul",
        "DynamicQuantizeMatMul", "Einsum", "Conv", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
        "Attention", "MultiHeadAttention", "GroupQueryAttention", "RotaryEmbedding", "Softmax", "LayerNormalization",
        "SkipLayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization",
        "RMSNormalization", "EmbedLayerNormalization", "LpNormalization", "Gelu", "FastGelu", "BiasGelu", "QuickGelu",
        "Erf", "Tanh", "Sigmoid",
    }
)  # fmt: skip
"""Operators that shapes are never computed with: where one of these runs on the CPU, the model does."""


def check_kernels(manifest: Manifest, device: str, version: str) -> None:
    """Refuse a bundle whose arithmetic certainly has no CUDA kernels, before it is loaded.

    Args:
        manifest: Of the bundle.
        device: ``cuda`` or ``cuda:N``, for the error.
        version: Of ONNX Runtime.

    Raises:
        DeviceError: It would run on the CPU.
    """
    first, precision = FIRST_FUSED_ONNX_RUNTIME["cuda"], manifest.precision
    if precision.activations == "dynamic":
        raise DeviceError(
            f"device {device!r}: {precision.name} finds the scales of activations while it runs, for which ONNX "
            "Runtime has no CUDA kernels: it would run on the CPU. Export with --precision fp16, w8 or int4, or give "
            "mixed=True"
        )
    if manifest.dialect == "fused" and not at_least(version, first):
        raise DeviceError(
            f"device {device!r}: the bundle is in the dialect fused, whose Attention has CUDA kernels from ONNX "
            f"Runtime {first} on; {version} is here and would run it on the CPU. Export with --dialect portable, or "
            "give mixed=True"
        )


def check_placement(session: Any, device: str, version: str, *, mixed: bool) -> dict[str, int] | None:
    """What runs on the CPU: operators and how many of each; None where this ONNX Runtime does not say.

    Args:
        session: Made with ``session.record_ep_graph_assignment_info``.
        device: ``cuda`` or ``cuda:N``, for the error.
        version: Of ONNX Runtime.
        mixed: Whether a model's arithmetic may run on the CPU.

    Raises:
        DeviceError: It does, and it may not.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        if not mixed:
            _warn_of_silence(version)
        return None
    parts = [part for part in session.get_provider_graph_assignment_info() if part.ep_name != CUDA]
    on_cpu = dict(Counter(node.op_type for part in parts for node in part.get_nodes()).most_common())
    if not mixed and (found := [f"{name} ({count})" for name, count in on_cpu.items() if name in _ARITHMETIC]):
        raise DeviceError(
            f"device {device!r}: ONNX Runtime has no CUDA kernel for {', '.join(found)} of this graph and would "
            "run them on the CPU. Take a bundle in another precision (fp16, w8), or give mixed=True"
        )
    return on_cpu


@functools.cache  # once in a process, and not once for each graph of each encoder
def _warn_of_silence(version: str) -> None:
    warnings.warn(
        f"ONNX Runtime {version} does not tell what it runs on the CPU for want of a CUDA kernel "
        f"({_FIRST_THAT_TELLS} is the first that does): compare the speed with the CPU's (smartrt bench latency), or "
        "give mixed=True to take it as it is",
        PlacementWarning,
        stacklevel=2,
    )
