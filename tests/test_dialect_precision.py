"""Fused graphs in every precision: products round as before, and attention in float16 keeps what is around it wide."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from calibrating import loud_checkpoint, write_items
from precision_graphs import Graph, rows, run, to_precision
from smartrt.bundle import Bundle
from smartrt.export import pipeline
from smartrt.export.dialect.fuse import OPSET, fuse
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.export.wanted import Wanted

pytestmark = pytest.mark.usefixtures("library_read_once")

FAMILIES = ("bert", "modernbert", "mpnet", "qwen3", "llama")
FAST = ("fp16", "int4")
HEADS, DIM = 4, 16
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LOWEST = float(np.finfo(np.float32).min)


def attention(*, shared_mask: bool = True) -> ir.Model:
    """Two layers of attention with a padding mask that float16 does not hold, fused."""
    graph = Graph()
    mask = ir.Value(name="mask", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", 1, 1, "length"]))
    low = graph.constant("low", np.float32(LOWEST))
    bias, states = graph.node("Mul", [mask, low]), graph.x
    for layer in range(2):
        if not shared_mask:
            bias = graph.node("Mul", [mask, low])
        states = _layer(graph, states, bias, f"layer.{layer}")
    model = graph.model({"y": states}, [graph.x, mask])
    fuse(model)
    return model


def _layer(graph: Graph, states: ir.Value, bias: ir.Value, name: str) -> ir.Value:
    split = graph.constant(f"{name}.split", np.array([0, 0, HEADS, DIM], np.int64))
    parts = [graph.node("Reshape", [graph.product(f"{name}.{part}", states), split]) for part in "qkv"]
    perms = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    query, keys, values = (graph.node("Transpose", [one], perm=p) for one, p in zip(parts, perms, strict=True))
    scale = graph.constant(f"{name}.scale", np.float32(DIM**-0.5))
    scores = graph.node("Add", [graph.node("Mul", [graph.node("MatMul", [query, keys]), scale]), bias])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), values])
    flat = graph.constant(f"{name}.flat", np.array([0, 0, HEADS * DIM], np.int64))
    joined = graph.node("Reshape", [graph.node("Transpose", [mixed], perm=[0, 2, 1, 3]), flat])
    return graph.node("Add", [states, graph.product(f"{name}.o", joined)])


def feeds() -> dict[str, np.ndarray]:
    """Two items; the second ends after two tokens."""
    mask = np.zeros((2, 1, 1, 5), np.float32)
    mask[1, ..., 2:] = 1
    return {"x": rows((2, 5, HEADS * DIM)), "mask": mask}


@dataclass(frozen=True)
class Types:
    """The graph of a file with the type of every value."""

    graph: onnx.GraphProto
    types: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Types:
        model = onnx.load(path)
        del model.graph.value_info[:]  # nothing that the exporter says of itself is believed
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        values = [*graph.value_info, *graph.input, *graph.output]
        known = {value.name: value.type.tensor_type.elem_type for value in values}
        return cls(graph, known | {tensor.name: tensor.data_type for tensor in graph.initializer})

    def nodes(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type == op_type]


def test_fused_attention_in_float16_takes_halves_and_everything_around_it_stays_wide(tmp_path: Path) -> None:
    converted = to_precision(attention(), "fp16", tmp_path)
    found = Types.read(converted.after)
    assert len(found.nodes("Attention")) == 2
    for node in found.nodes("Attention"):
        assert [found.types[name] for name in (*node.input, *node.output)] == [HALF] * 5
        assert "softmax_precision" not in {one.name for one in node.attribute}  # TensorRT refuses it
    for node in found.nodes("Add"):
        assert {found.types[name] for name in node.output} == {FLOAT}
    assert 0 < converted.differences(feeds())["y"] < 1e-6


def test_few_casts_stand_around_fused_attention(tmp_path: Path) -> None:
    found = Types.read(to_precision(attention(), "fp16", tmp_path).after)
    makers = {name: node.op_type for node in found.graph.node for name in node.output}
    for node in found.nodes("Attention"):
        assert makers[node.input[2]] == "Transpose"  # the values' product in float16, moved and never widened
    casts = Counter((found.types[node.input[0]], found.types[node.output[0]]) for node in found.nodes("Cast"))
    # Of each layer: its states narrow, three products and the attention widened where a sum or nothing reads them.
    assert casts[FLOAT, HALF] <= 2 * 1 + 1  # and the mask, once
    assert casts[HALF, HALF] == 2  # in front of the output's product, which reads attention as it comes


@pytest.mark.parametrize("shared", [True, False], ids=["one mask", "a mask a layer"])
def test_a_mask_is_finite_in_float16_and_narrow_before_it_is_spread(shared: bool, tmp_path: Path) -> None:
    converted = to_precision(attention(shared_mask=shared), "fp16", tmp_path)
    found = Types.read(converted.after)
    spread = found.nodes("Expand")
    assert len(spread) == (1 if shared else 2)
    assert {found.types[node.output[0]] for node in spread} == {HALF}
    everything_masked = feeds() | {"mask": np.ones((2, 1, 1, 5), np.float32)}
    assert np.isfinite(run(converted.after, everything_masked)["y"]).all()


def test_what_is_masked_changes_nothing_in_float16(tmp_path: Path) -> None:
    converted = to_precision(attention(), "fp16", tmp_path)
    fed = feeds()
    other = fed | {"x": fed["x"].copy()}
    other["x"][1, 2:] += 3
    before, after = converted.run(fed)["y"], converted.run(other)["y"]
    np.testing.assert_array_equal(before[1, :2], after[1, :2])
    assert not np.array_equal(before[1, 2:], after[1, 2:])


@pytest.mark.parametrize(
    "precision", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in PRECISIONS]
)
def test_bert_fused_loses_what_it_loses_portable(precision: str, tmp_path: Path) -> None:
    check_family("bert", precision, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_a_family_fused_loses_what_it_loses_portable(family: str, precision: str, tmp_path: Path) -> None:
    check_family(family, precision, tmp_path)


def check_family(family: str, precision: str, directory: Path) -> None:
    """Export both dialects: the same weights are rounded the same, and PyTorch is as near."""
    checkpoint, items = loud_checkpoint(family, directory / family), write_items(directory / "items.jsonl")
    wanted = Wanted(precision, calibrate=items if PRECISIONS[precision].calibrated else None)
    portable, fused = (_export(checkpoint, directory / dialect, wanted, dialect) for dialect in ("portable", "fused"))
    assert fused.manifest.opset == OPSET
    before, after = portable.manifest.precision, fused.manifest.precision
    assert (after.kept, after.graphs["encoder"].weights) == (before.kept, before.graphs["encoder"].weights)
    assert after.graphs["encoder"].computed == before.graphs["encoder"].computed
    truth, found = portable.manifest.verified.token, fused.manifest.verified.token
    assert found.mean == pytest.approx(truth.mean, abs=2e-6 if precision == "fp16" else 1e-5)
    assert fused.manifest.verified.max_abs < 2 * portable.manifest.verified.max_abs + 1e-6


def _export(checkpoint: Path, output: Path, wanted: Wanted, dialect: str) -> Bundle:
    return pipeline.export(str(checkpoint), output.with_suffix(".smartrt"), wanted=wanted, dialect=dialect)
