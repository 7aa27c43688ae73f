"""Token and position embeddings inside a graph, as float16 or as int8 with a scale per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .half import to_half, widened
from .products import values_of

if TYPE_CHECKING:
    from .rewrite import Editor
    from .scheme import Scheme

_LEAST_BYTES = 1 << 16  # what is smaller is not worth the operators


def shrink_tables(editor: Editor, scheme: Scheme) -> None:
    """Store every large table that is only looked rows up in as the scheme says."""
    for value in list(editor.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
            continue
        if tensor.nbytes < _LEAST_BYTES or not all(_looks_up(use.node, use.idx) for use in value.uses()):
            continue
        if value.uses() and scheme.table != "fp32":
            _shrink(editor, value, scheme.table)


def round_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``[rows, dim]`` to int8 codes and one float32 scale per row, ``[rows, 1]``."""
    wide = table.astype(np.float32)
    scale = np.maximum(np.abs(wide).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.rint(wide / scale).astype(np.int8), scale


def _shrink(editor: Editor, table: ir.Value, stored: str) -> None:
    values, uses = values_of(table), list(table.uses())
    if stored == "int8":
        codes, scales = round_rows(values)
        columns = [editor.stored(f"{table.name}.codes", codes), editor.stored(f"{table.name}.scales", scales)]
    else:
        columns = [editor.stored(f"{table.name}.half", to_half(values))]
    for use in uses:
        ids = use.node.inputs[1]
        rows, *scale = [editor.before(use.node, "Gather", [column, ids], axis=0) for column in columns]
        wide = widened(editor, use.node, rows)
        if scale:
            wide = editor.before(use.node, "Mul", [wide, scale[0]])
        editor.take_place(use.node, wide)
    editor.replaced(table)


def _looks_up(node: ir.Node, place: int) -> bool:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    return node.op_type == "Gather" and place == 0 and axis == 0
