"""Graphs in both dialects: traced, made louder, fed with random inputs and run in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from smartrt.export import qwen_vl_family, text_family
from smartrt.models.checkpoint import Checkpoint

SIZES = (
    {"batch": 1, "length": 1, "image": 1, "block": 1, "row": 1},
    {"batch": 1, "length": 7, "image": 1, "block": 4, "row": 5},
    {"batch": 3, "length": 11, "image": 2, "block": 6, "row": 12},
    {"batch": 2, "length": 40, "image": 3, "block": 9, "row": 20},
)
"""One item and several, one token and many, images of which some are smaller than the largest."""

_LIMITS = {"input_ids": 390, "token_type_ids": 1, "taps": 49}
_VALID = ("attention_mask", "valid")


def traced(source: Path | str, scratch: Path, preset: str | None = None) -> dict[str, ir.Model]:
    """The float32 graphs of a checkpoint, opset 18."""
    family: Any = qwen_vl_family if preset else text_family
    reference = family.load(Checkpoint.resolve(str(source)), {"preset": preset} if preset else {}, None, None)
    scratch.mkdir(exist_ok=True)
    found: dict[str, ir.Model] = family.trace(reference, scratch, 18)
    return found


def louder(model: ir.Model, factor: float = 8.0) -> ir.Model:
    """A copy with larger weights: as random checkpoints are made, every softmax is flat and hides what is wrong."""
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        tensor = value.const_value
        products = any(use.node.op_type == "MatMul" and use.idx == 1 for use in value.uses())
        if tensor is not None and products and len(tensor.shape) == 2 and tensor.dtype == ir.DataType.FLOAT:
            value.const_value = ir.tensor(tensor.numpy() * np.float32(factor), name=name)
    return copy


def feeds(model: ir.Model, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs; all items but the first are padded on the right."""
    rng = np.random.default_rng(seed)
    return {str(value.name): _feed(value, sizes, rng) for value in model.graph.inputs}


def _feed(value: ir.Value, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    shape = [dim if isinstance(dim, int) else sizes[str(dim.value)] for dim in value.shape or ()]
    name = str(value.name)
    if name in _VALID:
        return (np.arange(shape[1]) < np.array([[shape[1]], *rng.integers(1, shape[1] + 1, (shape[0] - 1, 1))])) * 1
    if name == "visual_index":
        return rng.integers(0, sizes["row"] + 1, shape)
    if name == "pooled_index":
        return rng.integers(0, sizes["length"], shape)
    if name == "position_ids":
        return np.sort(rng.integers(0, 3000, shape), axis=-1)
    if value.dtype == ir.DataType.INT64:
        return rng.integers(0, _LIMITS[name], shape)
    if value.dtype == ir.DataType.UINT8:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def run(model: ir.Model, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, on the CPU."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(fed)), strict=True))


def difference(one: ir.Model, other: ir.Model, fed: Mapping[str, np.ndarray]) -> float:
    """The largest difference of two graphs' outputs, where they are not padding."""
    valid = next((fed[name] > 0 for name in _VALID if name in fed), None)
    worst = 0.0
    first, second = run(one, fed), run(other, fed)
    assert first.keys() == second.keys()
    for name, truth in first.items():
        found = second[name]
        assert (found.shape, found.dtype) == (truth.shape, truth.dtype)
        assert np.isfinite(found).all()
        if valid is not None and name != "pooled":
            truth, found = (array[valid] if name != "deepstack" else array[:, valid] for array in (truth, found))
        worst = max(worst, float(np.abs(truth - found).max(initial=0)))
    return worst


def operators(model: ir.Model) -> Counter[str]:
    """How many nodes of each operator."""
    return Counter(node.op_type for node in model.graph.all_nodes())


def check(model: ir.Model) -> None:
    """ONNX's own checker, types and shapes included."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
