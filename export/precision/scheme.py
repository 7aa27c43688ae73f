"""What each precision means: types of weights, activations, arithmetic and token table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from smartrt.price import PrecisionName  # noqa: TC001  (a dataclass keeps its types)

Storage = Literal["fp32", "fp16", "int8", "int4"]
"""How a weight lies on disk."""

Table = Literal["fp32", "fp16", "int8"]

Rounding = Literal["compensated", "nearest"]
"""``compensated`` moves the error of each rounded weight onto those not rounded yet (`rounding`)."""


@dataclass(frozen=True)
class Scheme:
    """One precision.

    Attributes:
        name: What the user calls it.
        weights: Type of the weights of products.
        block: Input channels that share a scale; 0: all of them, one scale per output channel.
        activations: ``float``; ``dynamic``: int8 with a scale per token, found when it runs; ``static``: int8
            with a scale found on calibration data.
        compute: What products are computed in where they are not int8. Everything else (norms, softmax, rotary
            angles, sums) is float32 in every precision.
        rest: Type of weights that are left wide.
        table: Type of the token embeddings; int8 has one scale per row.
        rounding: Of int8 and int4 weights.
        opset: The least opset that has its operators.
        least_cosine: Mean cosine of token vectors with PyTorch's below which the graph is not this model any more.
    """

    name: PrecisionName
    weights: Storage
    block: int = 0
    activations: Literal["float", "dynamic", "static"] = "float"
    compute: Literal["fp32", "fp16"] = "fp32"
    rest: Literal["fp32", "fp16"] = "fp16"
    table: Table = "int8"
    rounding: Rounding = "nearest"
    opset: int = 0
    least_cosine: float = 0.999

    @property
    def bits(self) -> int:
        """Of one weight."""
        return {"fp32": 32, "fp16": 16, "int8": 8, "int4": 4}[self.weights]

    @property
    def quantized(self) -> bool:
        """Whether weights become integers."""
        return self.bits <= 8

    @property
    def smoothed(self) -> bool:
        """Whether outlying channels of activations are moved into the weights first (`smoothing`)."""
        return self.activations != "float"

    @property
    def calibrated(self) -> bool:
        """Whether it needs statistics of activations."""
        return self.smoothed or (self.quantized and self.rounding == "compensated")

    def override(self, rounding: Rounding | None, compute: Literal["fp32", "fp16"] | None) -> Scheme:
        """The same precision with another rounding or arithmetic.

        float16 arithmetic is for GPUs, whose engines do not widen int8 rows of a table (TensorRT casts no int8).
        """
        opset = max(self.opset, 19) if compute == "fp16" and self.quantized else self.opset  # float16 scales
        table: Table = "fp16" if compute == "fp16" and self.table == "int8" else self.table
        return dataclasses.replace(
            self, rounding=rounding or self.rounding, compute=compute or self.compute, table=table, opset=opset
        )


PRECISIONS: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("fp32", "fp32", rest="fp32", table="fp32"),
        Scheme("fp16", "fp16", compute="fp16", table="fp16"),
        Scheme("int8", "int8", activations="dynamic", rounding="compensated", opset=18, least_cosine=0.95),
        Scheme("int8-static", "int8", activations="static", table="fp16", rounding="compensated", least_cosine=0.8),
        Scheme("w8", "int8", block=128, rounding="compensated", opset=21, least_cosine=0.99),
        Scheme("int4", "int4", block=128, rounding="compensated", opset=21, least_cosine=0.7),
    )
}
