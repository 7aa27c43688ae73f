"""Writes runtime/scoring/*.onnx: products as graphs of one operator. Run it from the repository root."""

from __future__ import annotations

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


GRAPHS = {"rough": rough_graph, "single": single_graph}


def _tensor(name: str, dtype: int, *axes: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(axes))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    # Both operators came with opset 10 or before: every ONNX Runtime that smartrt runs on reads this.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = "smartrt"
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    for name, make in GRAPHS.items():
        path = Path("runtime/scoring") / f"{name}.onnx"
        path.write_bytes(make().SerializeToString(deterministic=True))
