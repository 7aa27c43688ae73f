"""int8 products with scales from calibration: explicit QuantizeLinear and DequantizeLinear, for TensorRT.

Symmetric, one scale per activation tensor and per output channel of a weight: a network of strong types takes
nothing else (zero points must be 0, scales above 0 and of the activation's type).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .weights import scales_as

if TYPE_CHECKING:
    import onnx_ir as ir

    from .products import Product
    from .rewrite import Editor
    from .rounding import Codes
    from .scheme import Scheme


def quantize_tensor(editor: Editor, place: ir.Node, states: ir.Value, largest: float, scheme: Scheme) -> ir.Value:
    """`states` through int8 and back; `largest` is the absolute value that becomes 127."""
    scale = editor.constant("activation_scale", scales_as(scheme, largest / 127))
    zero = editor.constant("activation_zero", np.array(0, np.int8))
    codes = editor.before(place, "QuantizeLinear", [states, scale, zero])
    return editor.before(place, "DequantizeLinear", [codes, scale, zero])


def dequantized(editor: Editor, product: Product, codes: Codes, scheme: Scheme) -> ir.Value:
    """The weight behind its DequantizeLinear, one scale per output channel."""
    values = editor.stored(f"{product.path}.codes", codes.values.numpy())
    scales = editor.stored(f"{product.path}.scales", scales_as(scheme, codes.scales[0]))
    return editor.before(product.node, "DequantizeLinear", [values, scales], axis=1)
