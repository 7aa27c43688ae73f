"""float16 on disk and in products; everything between products stays float32.

Norms, softmax, rotary angles, residual sums and the final L2 norm are never float16: a converter of whole graphs
halves the rotary angles too, which ruins long inputs, and sums of a deep decoder leave float16's range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .products import find_attention, values_of

if TYPE_CHECKING:
    from .products import Product
    from .rewrite import Editor

_FLOAT, _HALF = int(ir.DataType.FLOAT), int(ir.DataType.FLOAT16)
_LARGEST = float(np.finfo(np.float16).max)


def stored_half(editor: Editor, product: Product) -> ir.Value:
    """The weight as float16."""
    return editor.stored(f"{product.path}.half", to_half(values_of(product.weight)))


def to_half(values: np.ndarray) -> np.ndarray:
    """float16; what is beyond its range becomes its largest number, not infinity."""
    halves: np.ndarray = np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)
    return halves


def widened(editor: Editor, place: ir.Node, value: ir.Value) -> ir.Value:
    """`value` as float32."""
    return editor.before(place, "Cast", [value], to=_FLOAT)


def halved(editor: Editor, place: ir.Node, value: ir.Value) -> ir.Value:
    """`value` as float16."""
    return editor.before(place, "Cast", [value], to=_HALF)


def compute_half(editor: Editor, node: ir.Node, left: ir.Value, right: ir.Value) -> None:
    """Let `node`, a MatMul, multiply two float16 values and hand on float32."""
    node.replace_input_with(0, left)
    node.replace_input_with(1, right)
    (result,) = node.outputs
    editor.stand_in(result, editor.after(node, "Cast", [result], to=_FLOAT))
    result.type = ir.TensorType(ir.DataType.FLOAT16)


def half_attention(editor: Editor) -> None:
    """Products of two activations, queries with keys and weights with values, in float16."""
    for node in find_attention(editor.graph):
        left, right = (halved(editor, node, value) for value in node.inputs if value is not None)
        compute_half(editor, node, left, right)
