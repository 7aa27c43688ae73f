"""The late score of one pair in float64: what finalists are ordered by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .buffers import buffer
from .upcast import upcast

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_PAIRS = 4096  # multiplied at a time: a blank page has thousands of equal tokens, all of them nearest
_NEAR = 1e-5
"""Further below the largest float32 product than this, no product can be the largest in float64."""


def exact_late(query: NDArray[np.floating[Any]], rows: NDArray[Any], scale: NDArray[np.float32] | None = None) -> float:
    """``mean_i max_j <q_i, d_j>`` with float64 products and sums.

    float32 finds the few document tokens that can be the best match of a query token, and only those are multiplied
    again. Equal inputs give equal scores to the last bit, which a tiled product does not promise.

    Args:
        query: ``[tokens, D]``.
        rows: ``[rows, D]`` of one document as they are stored.
        scale: ``[D]`` what a stored number is multiplied with.
    """
    wide = buffer("exact", rows.shape, np.float32)
    upcast(rows, wide)
    folded = query.astype(np.float32) if scale is None else query.astype(np.float32) * scale
    products = folded @ wide.T
    tokens, matches = np.nonzero(products >= products.max(axis=1, keepdims=True) - np.float32(_NEAR))
    best = np.full(len(query), -np.inf)
    for first in range(0, len(tokens), _PAIRS):
        token, match = tokens[first : first + _PAIRS], matches[first : first + _PAIRS]
        left, right = query[token].astype(np.float64), rows[match].astype(np.float64)
        if scale is not None:
            right *= scale.astype(np.float64)
        np.maximum.at(best, token, (left * right).sum(axis=1))
    return float(best.mean())
