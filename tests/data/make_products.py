"""Writes runtime/scoring/*.onnx: products, and best matches of groups. Run it from the repository root."""

from __future__ import annotations

import functools
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def rough_graph() -> onnx.ModelProto:
    """``products[row, column] = sum_k (codes[row, k] - 128) * query[k, column]`` in int32."""
    zero = helper.make_tensor("zero", TensorProto.UINT8, [], [128])
    node = helper.make_node("MatMulInteger", ["codes", "query", "zero"], ["products"])
    inputs = [_tensor("codes", TensorProto.UINT8, "row", "dim"), _tensor("query", TensorProto.INT8, "dim", "column")]
    output = _tensor("products", TensorProto.INT32, "row", "column")
    return _model(helper.make_graph([node], "rough", inputs, [output], [zero]))


def single_graph() -> onnx.ModelProto:
    """``products = tile @ block`` in float32."""
    node = helper.make_node("MatMul", ["tile", "block"], ["products"])
    inputs = [_tensor("tile", TensorProto.FLOAT, "row", "dim"), _tensor("block", TensorProto.FLOAT, "dim", "column")]
    output = _tensor("products", TensorProto.FLOAT, "row", "column")
    return _model(helper.make_graph([node], "single", inputs, [output]))


def late_graph(storage: str) -> onnx.ModelProto:
    """``best[group, column] = max_row sum_k codes[group, row, k] * query[k, column]`` in float32.

    Three operators that CUDA has for every type here. A group has 8 rows, so nothing is padded and nothing masked.
    """
    stored = STORED[storage]
    widen = [helper.make_node("Cast", ["codes"], ["values"], to=TensorProto.FLOAT)] if storage != "float32" else []
    multiply = helper.make_node("MatMul", ["values" if widen else "codes", "query"], ["products"])
    reduce = helper.make_node("ReduceMax", ["products"], ["best"], axes=[1], keepdims=0)
    inputs = [_tensor("codes", stored, "group", 8, "dim"), _tensor("query", TensorProto.FLOAT, "dim", "column")]
    output = _tensor("best", TensorProto.FLOAT, "group", "column")
    return _model(helper.make_graph([*widen, multiply, reduce], f"late_{storage}", inputs, [output]))


STORED = {
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
}
GRAPHS = {
    "rough": rough_graph,
    "single": single_graph,
    **{f"late_{storage}": functools.partial(late_graph, storage) for storage in STORED},
}


def _tensor(name: str, dtype: int, *axes: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(axes))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    # The operators came with opset 10 or before: every ONNX Runtime that smartrt runs on reads this.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = "smartrt"
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    for name, make in GRAPHS.items():
        path = Path("runtime/scoring") / f"{name}.onnx"
        path.write_bytes(make().SerializeToString(deterministic=True))
