"""float16 on disk and in products; everything between products stays float32.

Norms, softmax, rotary angles, residual sums and the final L2 norm are never float16: a converter of whole graphs
halves the rotary angles too, which ruins long inputs, and sums of a deep decoder leave float16's range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from smartrt.errors import ExportError

from .products import find_attention, values_of

if TYPE_CHECKING:
    from .products import Product
    from .rewrite import Editor

_FLOAT, _HALF = int(ir.DataType.FLOAT), int(ir.DataType.FLOAT16)
_LARGEST = float(np.finfo(np.float16).max)
_MASK = 3  # of Attention's inputs
_MASKED = -30000.0  # float16 holds it, and a score beside it
_MOVES = {"Reshape", "Squeeze", "Transpose", "Unsqueeze"}


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
    """Products of two activations, queries with keys and weights with values, in float16.

    A fused Attention adds its mask and takes its softmax inside. How exactly is the engine's choice: TensorRT refuses a
    graph that names the softmax's type.
    """
    masks: dict[ir.Value, ir.Value] = {}
    for node in find_attention(editor.graph):
        if node.op_type == "Attention":
            _half_fused(editor, node, masks)
        else:
            left, right = (halved(editor, node, value) for value in node.inputs if value is not None)
            compute_half(editor, node, left, right)


def _half_fused(editor: Editor, node: ir.Node, masks: dict[ir.Value, ir.Value]) -> None:
    for place, value in enumerate(node.inputs):
        if value is None:
            continue
        if place == _MASK:
            masks[value] = masks[value] if value in masks else _half_mask(editor, node, value)
            narrow: ir.Value | None = masks[value]
        else:
            narrow = _before_widening(editor, node, value)
        node.replace_input_with(place, narrow if narrow is not None else halved(editor, node, value))
    (result,) = node.outputs
    wide = editor.after(node, "Cast", [result], to=_FLOAT)
    editor.stand_in(result, wide)
    result.type = ir.TensorType(ir.DataType.FLOAT16)
    _read_before_widening(editor, wide)


def _half_mask(editor: Editor, place: ir.Node, mask: ir.Value) -> ir.Value:
    """The mask as float16 and finite, so that no row is ever NaN; narrow before it is spread over the queries."""
    spread = mask.producer()
    if spread is None or spread.op_type != "Expand":
        least = editor.constant("masked", np.float32(_MASKED))
        return halved(editor, place, editor.before(place, "Max", [mask, least]))
    inner, target = spread.inputs
    if inner is None:
        raise ExportError(f"{spread.name} spreads nothing")
    return editor.before(place, "Expand", [_half_mask(editor, place, inner), target])


def _before_widening(editor: Editor, place: ir.Node, value: ir.Value) -> ir.Value | None:
    """The float16 numbers that `value` was widened from, moved about as `value` was since."""
    node = value.producer()
    source = node.inputs[0] if node is not None else None
    if node is None or source is None:
        return None
    if node.op_type == "Cast":
        return source if source.dtype == ir.DataType.FLOAT16 else None
    moved = _before_widening(editor, place, source) if node.op_type in _MOVES else None
    if moved is None:
        return None
    attributes = {name: one.value for name, one in node.attributes.items() if isinstance(one, ir.Attr)}
    return editor.before(place, node.op_type, [moved, *node.inputs[1:]], **attributes)


def _read_before_widening(editor: Editor, wide: ir.Value) -> None:
    """Let casts back to float16, behind operators that only move numbers, read what was never widened.

    The casts stay, to the type that their input has: they say what the product behind them multiplies.
    """
    for use in list(wide.uses()):
        node = use.node
        if node.op_type in _MOVES and use.idx == 0:
            _read_before_widening(editor, node.outputs[0])
        elif node.op_type == "Cast" and node.attributes["to"].as_int() == _HALF:
            narrow = _before_widening(editor, node, wide)
            if narrow is not None:
                node.replace_input_with(0, narrow)
