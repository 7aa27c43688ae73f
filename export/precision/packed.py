"""Weight-only: integers on disk and in memory, dequantised in front of the product.

`DequantizeLinear` with blocks (opset 21) is what TensorRT keeps packed, and what ONNX Runtime turns into
MatMulNBits. ONNX Runtime then quantises the activations too unless told not to: `OrtOptions.int8_products`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from .weights import scales_as

if TYPE_CHECKING:
    import onnx_ir as ir

    from .products import Product
    from .rewrite import Editor
    from .rounding import Codes
    from .scheme import Scheme

INTEGERS = {8: np.dtype(np.int8), 4: np.dtype(ml_dtypes.int4)}


def pack(editor: Editor, product: Product, codes: Codes, scheme: Scheme) -> ir.Value:
    """The dequantised weight in the type products are computed in."""
    blocks = len(codes.scales)
    scales = scales_as(scheme, codes.scales)
    values = codes.values.numpy().astype(INTEGERS[scheme.bits])
    inputs = [
        editor.stored(f"{product.path}.codes", values),
        editor.stored(f"{product.path}.scales", scales if blocks > 1 else scales[0]),
    ]
    if blocks == 1:
        return editor.before(product.node, "DequantizeLinear", inputs, axis=1)
    return editor.before(product.node, "DequantizeLinear", inputs, axis=0, block_size=product.shape[0] // blocks)
