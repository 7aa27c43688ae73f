"""What a bundle says about its precision: what is stored and computed in which type, and what that costs.

Parts of the manifest (docs/format.md). The exporter counts and measures them; `smartrt inspect` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wide = Literal["fp32", "fp16"]

PrecisionName = Literal["fp32", "fp16", "int8", "int8-static", "w8", "int4"]


@dataclass(frozen=True)
class GraphProof:
    """Counted from a written graph file.

    Attributes:
        bytes: Of constants, by type.
        weights: How many weights of matrix products are stored in each type.
        computed: How many of them are multiplied in each type; ``int8`` with int8 activations.
    """

    bytes: dict[str, int]
    weights: dict[str, int]
    computed: dict[str, int]


@dataclass(frozen=True)
class Precision:
    """Types of a bundle's weights and arithmetic.

    Attributes:
        name: What was asked for.
        activations: ``dynamic``: int8, a scale per token; ``static``: int8, a scale from calibration.
        compute: Of products that are not int8.
        rounding: Of integer weights; None where there are none.
        calibration: What activations were measured on, and its SHA-256; None if nothing was.
        kept: Per graph, modules that are wider than the rest.
        graphs: Per graph, what is really there.
    """

    name: PrecisionName
    activations: Literal["float", "dynamic", "static"]
    compute: Wide
    rounding: Literal["nearest", "compensated"] | None
    calibration: str | None
    calibration_sha256: str | None
    kept: dict[str, tuple[str, ...]]
    graphs: dict[str, GraphProof]

    @property
    def packed(self) -> bool:
        """Whether engines may quantise activations of their own accord: weights are integers, activations are not."""
        return self.activations == "float" and self.rounding is not None


@dataclass(frozen=True)
class Loss:
    """Mean nDCG@10 of two encoders, found - reference, and its 95 % paired bootstrap interval over the queries."""

    reference: float
    found: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class SetLoss:
    """A `Loss` for each of pooled, late and hybrid on one retrieval set.

    `sha256` is over the set's texts and judgements.
    """

    name: str
    sha256: str
    queries: int
    documents: int
    losses: dict[str, Loss]


@dataclass(frozen=True)
class Agreement:
    """How far two encoders rank the same documents alike.

    Attributes:
        first: Share of the queries whose best document is the same.
        pairs: Share of the pairs of documents, over all queries, that stand in the same order.
        score_error: Root mean square of the difference of hybrid scores, each query's mean difference taken off: what
            moves all documents of a query alike moves none of them.
    """

    first: float
    pairs: float
    score_error: float


@dataclass(frozen=True)
class Cosines:
    """Cosines between the rows of one encoder and another's: the mean, the 1st percentile and the lowest."""

    mean: float
    percentile_1: float
    min: float


@dataclass(frozen=True)
class Verified:
    """What the check at export measured against the PyTorch reference in float32.

    Attributes:
        against: What the reference is.
        tolerance: The largest `max_abs` accepted; None where a precision is meant to differ.
        items: Of the built-in check.
        max_abs: Largest difference over both outputs on valid tokens.
        pooled: Cosines of pooled vectors.
        token: Cosines of token vectors.
        agreement: Of the hybrid's rankings of the check's documents.
        ranking_agreement: Share of queries whose whole order is the reference's.
        graphs: Largest difference of each graph fed with the reference's own intermediate values.
        inputs_sha256: Over the texts and images of the check.
        sets: Retrieval sets that were measured, bundle against reference.
    """

    against: str
    tolerance: float | None
    items: int
    max_abs: float
    pooled: Cosines
    token: Cosines
    agreement: Agreement
    ranking_agreement: float
    graphs: dict[str, float]
    inputs_sha256: str
    sets: tuple[SetLoss, ...]
