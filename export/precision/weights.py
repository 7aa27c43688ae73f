"""Rounded weights of products that share an input, their activations smoothed where the scheme asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from .products import values_of
from .rounding import Codes, round_weight
from .smoothing import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.models.statistics import InputStatistics

    from .products import Product
    from .scheme import Scheme
    from .smoothing import Smoothing


class Statistics(Protocol):
    """What calibration measured; each module's is handed out once."""

    def take(self, path: str) -> InputStatistics | None:
        """The statistics of a module's inputs, or None if calibration did not reach it."""


class Remembered:
    """Statistics, and the codes of a weight that several products multiply by: it is rounded once."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._taken: dict[str, InputStatistics | None] = {}
        self._codes: dict[tuple[str, int], Codes] = {}

    def take(self, product: Product) -> InputStatistics | None:
        """Those of the inputs of a product's module, over all its uses."""
        if not product.shared:
            return self._statistics.take(product.path)
        if product.path not in self._taken:
            self._taken[product.path] = self._statistics.take(product.path)
        return self._taken[product.path]

    def codes(self, product: Product, shared: SharedInput, scheme: Scheme) -> Codes:
        """The codes of a product's weight."""
        if not product.shared:
            return shared.round(product, scheme)
        key = product.path, scheme.bits
        if key not in self._codes:
            self._codes[key] = shared.round(product, scheme)
        return self._codes[key]


class SharedInput:
    """The products that read one activation: one set of smoothing factors, and one set of moments."""

    def __init__(self, products: Sequence[Product], scheme: Scheme, statistics: Remembered) -> None:
        self.channels = products[0].shape[0]
        taken = [statistics.take(product) for product in products]
        self.statistics = next((found for found in taken if found is not None), None)
        # A weight that several activations pass through cannot be smoothed for one of them.
        alone = not any(product.shared for product in products)
        self.smoothing: Smoothing | None = None
        if scheme.activations != "float" and self.statistics is not None:
            weights = [weight_of(product) for product in products]
            self.smoothing = choose(self.statistics, weights, scheme.activations, smooth=alone)

    @property
    def factors(self) -> torch.Tensor | None:
        """``[in]`` what activations are divided by, and weights multiplied with."""
        return self.smoothing.factors if self.smoothing else None

    @property
    def activation_error(self) -> float:
        """What int8 activations and weights together change; 0 for float activations."""
        return self.smoothing.error if self.smoothing else 0.0

    def round(self, product: Product, scheme: Scheme) -> Codes:
        """The codes of one product's weight."""
        weight = weight_of(product)
        moments = self.statistics.moments if self.statistics and scheme.rounding == "compensated" else None
        if self.factors is not None:
            weight = weight * self.factors[:, None]
            if moments is not None:
                moments = moments / self.factors / self.factors[:, None]
        return round_weight(weight, scheme.bits, block_of(self.channels, scheme), moments)


def weight_of(product: Product) -> torch.Tensor:
    """``[in, out]`` float32."""
    return torch.from_numpy(values_of(product.weight).astype("float32", copy=True))


def block_of(channels: int, scheme: Scheme) -> int:
    """The scheme's block, or the largest half, quarter … of it that divides `channels`; 0: all channels.

    Engines want whole blocks of at least 16.
    """
    block = scheme.block
    while block >= 16 and channels % block:
        block //= 2
    return block if block >= 16 else 0


def scales_as(scheme: Scheme, scales: torch.Tensor | float) -> np.ndarray:
    """Scales in the type products are computed in; none becomes zero."""
    kind: Any = np.float16 if scheme.compute == "fp16" else np.float32
    least = np.finfo(np.float16).smallest_subnormal if kind is np.float16 else np.finfo(np.float32).tiny
    typed: np.ndarray = np.maximum(np.asarray(scales, kind), least)
    return typed
