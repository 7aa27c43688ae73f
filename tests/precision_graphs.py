"""Small float32 graphs made by hand, statistics of random inputs for them, and running what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch

from smartrt.export.external import DataFile
from smartrt.export.precision.convert import Outcome, convert
from smartrt.export.precision.scheme import PRECISIONS, Scheme
from smartrt.models.statistics import InputStatistics

INPUT = "x"
WIDTH = 64

Chain = Callable[["Graph"], ir.Value]


class Graph:
    """A graph that grows node by node; its input is ``x [batch, length, width]``."""

    def __init__(self, width: int = WIDTH, seed: int = 0) -> None:
        self.width = width
        self.rng = np.random.default_rng(seed)
        self.x = ir.Value(name=INPUT, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", "length", width]))
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}

    def constant(self, name: str, array: Any) -> ir.Value:
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
        )
        self.initializers[name] = value
        return value

    def weight(self, name: str, rows: int, columns: int) -> ir.Value:
        return self.constant(name, (self.rng.normal(size=(rows, columns)) / rows**0.5).astype(np.float32))

    def node(self, op_type: str, inputs: Sequence[ir.Value], name: str | None = None, **attributes: Any) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes, name=name or f"{op_type}_{len(self.nodes)}")
        node.outputs[0].name = f"{node.name}_output"
        self.nodes.append(node)
        return node.outputs[0]

    def product(self, path: str, states: ir.Value, rows: int | None = None, columns: int | None = None) -> ir.Value:
        """``states @ weight`` of a module called `path`."""
        weight = self.weight(f"{path}.weight", rows or self.width, columns or self.width)
        return self.node("MatMul", [states, weight], f"/{path.replace('.', '/')}/MatMul")

    def model(self, outputs: Mapping[str, ir.Value], inputs: Sequence[ir.Value] = (), opset: int = 18) -> ir.Model:
        for name, value in outputs.items():
            value.name = name
            value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", "length", None])
        graph = ir.Graph(
            list(inputs) or [self.x], list(outputs.values()), nodes=self.nodes,
            initializers=list(self.initializers.values()), opset_imports={"": opset}, name="tiny",
        )  # fmt: skip
        return ir.Model(graph, ir_version=8)


@dataclass
class Given:
    """Statistics by path, handed out once, as `Calibration` does."""

    left: dict[str, InputStatistics]

    def take(self, path: str) -> InputStatistics | None:
        return self.left.pop(path, None)


@dataclass(frozen=True)
class Converted:
    """A graph on disk, as it was and as it is."""

    before: Path
    after: Path
    outcome: Outcome

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run(self.after, feeds)

    def differences(self, feeds: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Share of each output's energy that changed."""
        truth, found = run(self.before, feeds), run(self.after, feeds)
        assert {name: array.dtype for name, array in truth.items()} == {n: a.dtype for n, a in found.items()}
        return {
            name: float(np.square(truth[name] - found[name]).sum() / np.square(truth[name]).sum()) for name in truth
        }


def run(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As `engines.ort` runs it: products with packed weights keep float activations."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def rows(shape: Sequence[int], seed: int = 1) -> np.ndarray:
    """Random activations."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def statistics(paths: Sequence[str], width: int = WIDTH, seed: int = 2) -> Given:
    """Of random rows, the same for every path."""
    found = {}
    for path in paths:
        one = InputStatistics.of(torch.from_numpy(rows((1, 64, width), seed)), moments=True)
        for item in range(15):
            one = one.with_item(torch.from_numpy(rows((1, 64, width), seed + 1 + item)))
        found[path] = one
    return Given(found)


def to_precision(
    model: ir.Model, scheme: Scheme | str, directory: Path, given: Given | None = None, keep: Sequence[str] = ()
) -> Converted:
    """Write `model` as it is and in a precision."""
    chosen = PRECISIONS[scheme] if isinstance(scheme, str) else scheme
    ir.save(model.clone(), directory / "float.onnx")
    rewritten = model.clone()
    with DataFile(directory, "narrow") as data:
        outcome = convert(rewritten, chosen, given or Given({}), data, keep)
        data.finish(rewritten)
    return Converted(directory / "float.onnx", directory / "narrow.onnx", outcome)
