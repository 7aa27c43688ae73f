"""A machine with a GPU and TensorRT that are fakes: the compiler process is the real one, kernels run on the CPU.

What a fake engine computes is what ONNX Runtime computes on the CPU from the same graph, at the padded shapes that the
engine asked for: a wrong shape, address or order of copies shows as wrong numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_tensorrt
import smartrt
from fake_cuda import FakeCudart
from smartrt.engines.ort import open_file

_INPUT_OF = {"encoder": "input_ids", "vision": "patches", "decoder": "inputs_embeds"}


@dataclass
class GpuMachine:
    """The fakes of one test, and how they were used."""

    gpu: FakeCudart
    tensorrt: fake_tensorrt.Behaviour

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The calls of one name to TensorRT's contexts."""
        return [call for call in self.tensorrt.calls if call[0] == name]


def install(monkeypatch: pytest.MonkeyPatch, scratch: Path, bundle: Path, **gpu: Any) -> GpuMachine:
    """Be a machine with a GPU for one test; its plans compute what `bundle` does."""
    cudart, behaviour = FakeCudart(**gpu), fake_tensorrt.install(monkeypatch)
    scratch.mkdir(parents=True, exist_ok=True)
    for name, value in fake_tensorrt.write_shim(scratch).items():
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.setattr("smartrt.cuda.device.load_cudart", lambda: cudart)
    behaviour.enqueue = lambda stream, work: cudart.enqueue(work, stream)
    behaviour.compute = _computing(bundle)
    return GpuMachine(cudart, behaviour)


def _computing(path: Path) -> Any:
    bundle = smartrt.Bundle.open(path)
    engines = {graph: open_file(bundle.file(entry.path)) for graph, entry in bundle.manifest.graphs.items()}

    def compute(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (graph,) = (graph for graph in engines if _INPUT_OF[graph] in feeds)
        return engines[graph].run({name: array.copy() for name, array in feeds.items()})

    return compute
