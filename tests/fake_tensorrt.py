"""A TensorRT without TensorRT: the calls that versions 10.3 to 11.4 share, and nothing else.

A plan is JSON: the graph's inputs and outputs with their axes, and the profiles. The builder makes one of an ONNX file,
`plan` makes one of nothing; the runtime reads it. What an engine computes is the Python function `behaviour.compute`,
over the memory at the addresses that were set: a fake CUDA keeps device memory in the host's. `behaviour.faults` says
what fails.

What was removed on the way to 11 is not here, so that a test fails where code uses it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fake_tensorrt_builder import Builder, OnnxParser
from fake_tensorrt_runtime import ICudaEngine, IExecutionContext, Runtime
from fake_tensorrt_types import (
    VERSION,
    Behaviour,
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    IProgressMonitor,
    LayerType,
    Logger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    behaviour,
    nptype,
    plan,
)

if TYPE_CHECKING:
    import pytest

__version__ = VERSION

__all__ = [
    "Behaviour", "Builder", "BuilderFlag", "DataType", "ExecutionContextAllocationStrategy", "ICudaEngine",
    "IExecutionContext", "ILogger", "IProgressMonitor", "LayerType", "Logger", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "Runtime", "TensorIOMode", "behaviour", "install", "nptype", "plan",
    "write_shim",
]  # fmt: skip


def install(monkeypatch: pytest.MonkeyPatch) -> Behaviour:
    """Be the module `tensorrt` for one test, and behave."""
    behaviour.reset()
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules[__name__])
    return behaviour


def write_shim(directory: Path, *faults: str) -> dict[str, str]:
    """Be the module `tensorrt` of another process: the environment variables that it needs, with these faults."""
    (directory / "tensorrt.py").write_text("from fake_tensorrt import *\nfrom fake_tensorrt import __version__\n")
    return {"PYTHONPATH": f"{directory}:{Path(__file__).parent}", "FAKE_TENSORRT": " ".join(faults)}
