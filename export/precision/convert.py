"""One float graph to one precision, product by product, written as it goes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

from smartrt.errors import ExportError

from . import dynamic, half, static
from .opset import raise_opset
from .packed import pack
from .products import by_input, find_products, is_named
from .rewrite import Editor
from .tables import shrink_tables
from .weights import Remembered, SharedInput, block_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx_ir as ir

    from ..external import DataFile
    from .products import Product
    from .rounding import Codes
    from .scheme import Scheme
    from .weights import Statistics

    Rounded = tuple[Product, Codes, Scheme]

SENSITIVE_ERROR, SENSITIVE_SHARE = 0.003, 1 / 3
"""A 4-bit weight that changes more of its product's energy than this gets 8 bits instead, as long as those are at most
this share of the weights so far (docs/precision.md)."""

WORST_ERROR = 0.02
"""A 4-bit weight that changes more than this gets 8 bits in any case."""


@dataclass
class Outcome:
    """What became of the products of one graph.

    Attributes:
        errors: By path, the share of a product's energy that rounding changes on the calibration data.
        wide: By path of those that are wider than the precision says, how many weights their products multiply by.
    """

    errors: dict[str, float] = field(default_factory=dict)
    wide: dict[str, int] = field(default_factory=dict)


def convert(
    model: ir.Model, scheme: Scheme, statistics: Statistics, data: DataFile, keep: Collection[str] = ()
) -> Outcome:
    """Rewrite `model` in place; rounded weights are in `data` afterwards, the rest still where it was.

    Args:
        model: A float32 graph.
        scheme: The precision.
        statistics: Of the activations; asked for in the order products run.
        data: Takes the weights.
        keep: Modules whose products stay wide.
    """
    raise_opset(model, scheme.opset)
    conversion = _Conversion(Editor(model, data), scheme, Remembered(statistics), keep)
    products = find_products(model.graph)
    for group in by_input([product for product in products if not product.kept]):
        conversion.convert(group)
    for product in products:
        if product.kept:
            conversion.count_wide(product)
    if scheme.compute == "fp16":
        half.half_attention(conversion.editor)
    shrink_tables(conversion.editor, scheme)
    RemoveUnusedNodesPass()(model)
    return conversion.outcome


@dataclass
class _Conversion:
    """A graph on its way to one precision."""

    editor: Editor
    scheme: Scheme
    statistics: Remembered
    keep: Collection[str]
    outcome: Outcome = field(default_factory=Outcome)
    _seen: int = 0
    _sensitive: int = 0
    _enough: dict[str, bool] = field(default_factory=dict)

    def convert(self, group: Sequence[Product]) -> None:
        """Round what may be rounded of the products that share an input, and store the rest."""
        narrow = [product for product in group if self._fits(product)]
        wide = [product for product in group if product not in narrow]
        if self.scheme.calibrated:
            for product in wide:  # let go: a layer's moments may take hundreds of megabytes
                self.statistics.take(product)
        if narrow:
            shared = SharedInput(narrow, self.scheme, self.statistics)
            self._narrow([self._rounded(product, shared) for product in narrow], shared)
        self._leave_wide(wide)
        for product in group:
            if narrow or self.scheme.rest != "fp32":
                self.editor.replaced(product.weight)
        for product in wide:
            self.count_wide(product)

    def count_wide(self, product: Product) -> None:
        """Note that a product was not rounded."""
        if self.scheme.quantized:
            rows, columns = product.shape
            self.outcome.wide[product.path] = self.outcome.wide.get(product.path, 0) + rows * columns

    def _rounded(self, product: Product, shared: SharedInput) -> Rounded:
        """The codes of a product, of 8 bits where 4 are too few."""
        codes = self.statistics.codes(product, shared, self.scheme)
        self.outcome.errors[product.path] = max(codes.error, shared.activation_error)
        rows, columns = product.shape
        self._seen += rows * columns
        room = self._sensitive + rows * columns <= SENSITIVE_SHARE * self._seen
        limit = SENSITIVE_ERROR if room else WORST_ERROR
        # A weight that several products share is decided with the first.
        if self._enough.setdefault(product.path, self.scheme.bits > 4 or codes.error <= limit):
            return product, codes, self.scheme
        self._sensitive += rows * columns
        self.count_wide(product)
        wider = dataclasses.replace(self.scheme, weights="int8")
        return product, self.statistics.codes(product, shared, wider), wider

    def _fits(self, product: Product) -> bool:
        if not self.scheme.quantized or is_named(product.path, self.keep):
            return False
        return not self.scheme.block or self.scheme.bits == 8 or block_of(product.shape[0], self.scheme) > 0

    def _narrow(self, rounded: Sequence[Rounded], shared: SharedInput) -> None:
        editor, scheme, first = self.editor, self.scheme, rounded[0][0]
        states = first.input
        if shared.factors is not None:
            inverse = editor.stored(f"{first.path}.smoothing", (1 / shared.factors).numpy())
            states = editor.before(first.node, "Mul", [states, inverse])
        if scheme.activations == "dynamic":
            rows = dynamic.quantize_rows(editor, first.node, states)
            for product, codes, _ in rounded:
                dynamic.multiply(editor, product, rows, codes)
            return
        if scheme.compute == "fp16":
            states = half.halved(editor, first.node, states)
        if scheme.activations == "static":
            if shared.smoothing is None:
                raise ExportError(f"calibration did not reach {first.path}: give items that use it with --calibrate")
            states = static.quantize_tensor(editor, first.node, states, shared.smoothing.largest, scheme)
        for product, codes, kind in rounded:
            weight = (static.dequantized if scheme.activations == "static" else pack)(editor, product, codes, kind)
            self._multiply(product, states, weight)

    def _leave_wide(self, products: Sequence[Product]) -> None:
        if not products or self.scheme.rest == "fp32":
            return
        states = products[0].input
        if self.scheme.compute == "fp16":
            states = half.halved(self.editor, products[0].node, states)
        for product in products:
            weight = half.stored_half(self.editor, product)
            if self.scheme.compute == "fp32":
                weight = half.widened(self.editor, product.node, weight)
            self._multiply(product, states, weight)

    def _multiply(self, product: Product, states: ir.Value, weight: ir.Value) -> None:
        if self.scheme.compute == "fp16":
            half.compute_half(self.editor, product.node, states, weight)
        else:
            product.node.replace_input_with(0, states)
            product.node.replace_input_with(1, weight)
