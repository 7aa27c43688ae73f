"""What to do about what TensorRT refuses, and how its log says that memory ran out."""

from __future__ import annotations

import re

MEMORY_ADVICE = (
    "stop what else uses memory (a desktop: sudo systemctl isolate multi-user.target), or compile for shorter items "
    "(--gpu-max-length, --token-budget). On a Jetson the memory must also be contiguous: cma=950M on the kernel "
    "command line helps, while swap helps with the total alone"
)

OVERSIZED = "violate shape constraints"
"""In the error about a profile that the graph cannot have."""

_MEMORY = re.compile(
    r"out ?of ?memory|OUT_OF_MEMORY|cudaErrorMemoryAllocation|bad_alloc|NvMap\w*Alloc|\bcma_alloc\b"
    r"|GPU memory .* could not be allocated|could not allocate|insufficient memory",
    re.IGNORECASE,
)

_OPERATORS = (
    (
        {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulIntegerToFloat"},
        "activations that are rounded by the token are for CPUs: export with --precision int8-static, w8 or int4",
    ),
    (
        {"Attention", "RMSNormalization", "RotaryEmbedding"},
        "this TensorRT may be older than the operator: export with --dialect portable",
    ),
)
_REASONS = (
    ("Quantized constant", "rows of int8 in a table are for CPUs: export with --compute fp16"),
    (OVERSIZED, "the model has no room for that, such as positions: ask for smaller shapes"),
)


def is_memory_trouble(text: str) -> bool:
    """Whether `text`, of TensorRT's log or of what a Jetson's driver writes to standard error, says memory ran out."""
    return _MEMORY.search(text) is not None


def advice_on(reason: str, operator: str = "") -> str:
    """``"; what to do"`` about a graph that TensorRT refused for `reason` at `operator`; empty if nobody knows."""
    by_operator = (advice for operators, advice in _OPERATORS if operator in operators)
    by_reason = (advice for words, advice in _REASONS if words in reason)
    advice = next(by_operator, None) or next(by_reason, None)
    return f"; {advice}" if advice else ""
