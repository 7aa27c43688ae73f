"""Fusing the pooled and the late score into the one that ranks."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, OptionError
from .maxsim import maxsim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .types import Embeddings


LARGEST = 1e6
"""Weights beyond this leave float32 scores no digits for the smaller term."""


@dataclass(frozen=True)
class Weights:
    """Weights of the two terms; 0 switches a term off, and it is then not computed.

    The unit weights are the paper's ``s_hybrid = s_single + s_late`` (SMART, arXiv 2605.24938).
    """

    pooled: float = 1.0
    late: float = 1.0

    def __post_init__(self) -> None:
        if not all(isinstance(weight, Real) for weight in (self.pooled, self.late)):
            raise OptionError(f"weights must be numbers, got pooled={self.pooled!r}, late={self.late!r}")
        if not abs(self.pooled) <= LARGEST or not abs(self.late) <= LARGEST or not (self.pooled or self.late):
            raise OptionError(
                f"weights must lie within ±{LARGEST:g} and not both be 0, got pooled={self.pooled}, late={self.late}"
            )


def cosine(queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[n, m]`` float32 cosines between the rows of ``[n, H]`` and ``[m, H]``.

    Raises:
        InputError: The dims differ.
    """
    if queries.shape[1] != documents.shape[1]:
        raise InputError(f"pooled query has {queries.shape[1]} dimensions, pooled document {documents.shape[1]}")
    result: NDArray[np.float32] = unit(queries) @ unit(documents).T
    return result


def score(queries: Embeddings, documents: Embeddings, *, pooled: float = 1.0, late: float = 1.0) -> NDArray[np.float32]:
    """``pooled * cos(pooled) + late * mean_i max_j cos(q_i, d_j)``, ``[n_query, n_document]`` float32.

    Args:
        queries: From `Encoder.encode_query`.
        documents: From `Encoder.encode_document` of the same bundle.
        pooled: Weight of the single-vector term.
        late: Weight of the late-interaction term.

    Raises:
        InputError: The two sides have different dims.
        OptionError: A weight is not finite, or both are 0.
    """
    weights = Weights(pooled, late)
    result = np.zeros((len(queries), len(documents)), np.float32)
    if weights.pooled:
        result += np.float32(weights.pooled) * cosine(queries.pooled, documents.pooled)
    if weights.late:
        result += np.float32(weights.late) * maxsim(queries.tokens, documents.tokens)
    return result


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1, a zero row left zero (the floor is PyTorch's ``F.normalize`` eps, 1e-12)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
    return scaled
