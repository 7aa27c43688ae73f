"""Raising the opset of a graph, where nothing but accepted types changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from smartrt.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir

_FIRST = 18  # below, axes move from attributes to inputs

# Operators whose definition changed between opset 18 and 23, and whose meaning did not (ONNX's changelog: more
# types, more optional attributes).
_SAME_MEANING = {
    "Cast", "CastLike", "Constant", "ConstantOfShape", "Conv", "Cos", "DequantizeLinear", "Equal", "Flatten",
    "Identity", "IsInf", "IsNaN", "Pad", "QuantizeLinear", "ReduceMax", "ReduceMin", "Reshape", "Shape", "Sin", "Size",
    "Softplus", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
_IR_VERSIONS = {21: 10, 22: 10, 23: 11}
"""By opset the format of the file that came with it; 10 is the first with 4-bit integers."""


def raise_opset(model: ir.Model, least: int) -> None:
    """Let `model` use the operators of opset `least`, if it does not already.

    Raises:
        ExportError: An operator of the graph means something else there.
    """
    present = model.opset_imports[""]
    if present >= least:
        return
    for node in model.graph.all_nodes():
        if node.domain in ("", "ai.onnx") and (present < _FIRST or node.op_type not in _SAME_MEANING):
            versions = {onnx.defs.get_schema(node.op_type, version).since_version for version in (present, least)}
            if len(versions) > 1:
                raise ExportError(f"{node.op_type} changed between opset {present} and {least}: give --opset {least}")
    model.opset_imports[""] = least
    model.ir_version = max(model.ir_version, _IR_VERSIONS.get(least, 10))
