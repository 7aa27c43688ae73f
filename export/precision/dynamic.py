"""int8 products with a scale per token, found when the graph runs: for ONNX Runtime on a CPU.

``x @ W`` becomes ``max|x| * (round(127 x / max|x|) @ W_8) * scale_W / 127``. The scale is a row's own, unlike that of
DynamicQuantizeLinear, which is the whole tensor's: an item's vectors do not depend on its neighbours in a
batch, and an outlying token coarsens only itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .rewrite import ORT_DOMAIN

if TYPE_CHECKING:
    import onnx_ir as ir

    from .products import Product
    from .rewrite import Editor
    from .rounding import Codes

_ZERO = 128  # uint8 activations around 128: the kernels multiply unsigned by signed
_LEAST = 1e-30  # a row of zeros has a scale too


def quantize_rows(editor: Editor, place: ir.Node, states: ir.Value) -> tuple[ir.Value, ir.Value]:
    """``[.., in]`` to uint8 codes and the largest absolute value of each row, ``[.., 1]``."""
    size = editor.before(place, "Abs", [states])
    largest = editor.before(place, "ReduceMax", [size, editor.constant("last_axis", np.array([-1]))], keepdims=1)
    largest = editor.before(place, "Max", [largest, editor.constant("least", np.float32(_LEAST))])
    scaled = editor.before(place, "Div", [states, largest])
    codes = editor.before(place, "QuantizeLinear", [scaled, _step(editor), _zero(editor)])
    return codes, largest


def multiply(editor: Editor, product: Product, rows: tuple[ir.Value, ir.Value], codes: Codes) -> None:
    """Put the integer product in the place of the float one."""
    values = editor.stored(f"{product.path}.codes", codes.values.numpy())
    scales = editor.stored(f"{product.path}.scales", codes.scales[0].numpy())
    result = editor.before(
        product.node, "MatMulIntegerToFloat", [rows[0], values, _step(editor), scales, _zero(editor)], domain=ORT_DOMAIN
    )
    editor.take_place(product.node, editor.before(product.node, "Mul", [result, rows[1]]))


def _step(editor: Editor) -> ir.Value:
    return editor.constant("row_step", np.float32(1 / 127))


def _zero(editor: Editor) -> ir.Value:
    return editor.constant("row_zero", np.array(_ZERO, np.uint8))
