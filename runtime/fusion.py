"""Fusing the pooled and the late score into the one that ranks."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .errors import InputError, OptionError
from .maxsim import maxsim
from .scoring.blas import one_thread
from .types import Embeddings, TokenStates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Terms = NDArray[np.floating[Any]]


LARGEST = 1e6
"""Weights beyond this leave float32 scores no digits for the smaller term."""

Method = Literal["sum", "zscore", "rrf"]
RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""


@dataclass(frozen=True)
class Weights:
    """Weights of the terms; 0 switches a term off, and it is then not computed.

    The unit weights are the paper's ``s_hybrid = s_single + s_late`` (SMART, arXiv 2605.24938). `extra` weighs a third
    signal that the caller brings, BM25 for instance.
    """

    pooled: float = 1.0
    late: float = 1.0
    extra: float = 1.0

    def __post_init__(self) -> None:
        given = f"pooled={self.pooled!r}, late={self.late!r}, extra={self.extra!r}"
        if not all(isinstance(weight, Real) for weight in (self.pooled, self.late, self.extra)):
            raise OptionError(f"weights must be numbers, got {given}")
        within = all(abs(weight) <= LARGEST for weight in (self.pooled, self.late, self.extra))  # NaN is not
        if not within or not (self.pooled or self.late):
            raise OptionError(f"weights must lie within ±{LARGEST:g}, pooled and late not both be 0, got {given}")


def check_method(method: str) -> None:
    """Refuse a fusion that does not exist."""
    if method not in get_args(Method):
        raise OptionError(f"fusion {method!r} does not exist, choose from {', '.join(get_args(Method))}")


@dataclass(frozen=True, eq=False)
class Fused:
    """The fused scores of one query.

    Attributes:
        scores: ``[documents]`` float64.
        factors: By the name of a term, what it is multiplied with in the sum that a score is; None where scores come
            from ranks, and are no sum of terms.
        constant: What is added to the sum.
    """

    scores: NDArray[np.float64]
    factors: Mapping[str, float] | None
    constant: float = 0.0

    def again(self, document: int, terms: Mapping[str, float]) -> float:
        """The score of one document from terms that are known better; terms that do not count may be there too."""
        if self.factors is None:
            return float(self.scores[document])
        return self.constant + sum(factor * terms[name] for name, factor in self.factors.items())


def fuse(method: Method, weights: Weights, terms: Mapping[str, Terms]) -> Fused:
    """Fuse the terms of one query.

    Args:
        method: ``sum`` adds ``weight * term``; ``zscore`` adds ``weight * (term - mean) / deviation``, over the
            documents that are compared; ``rrf`` adds ``weight / (60 + rank)``, the best document of a term having rank
            1 and equal ones keeping their order.
        weights: Of the terms.
        terms: ``pooled``, ``late`` or ``extra``, ``[documents]`` each; at least one.
    """
    wide = {name: np.asarray(term, np.float64) for name, term in terms.items()}
    by_name = {name: float(getattr(weights, name)) for name in wide}
    if method == "rrf":
        return Fused(_sum({name: by_name[name] / (RRF_K + _ranks(term)) for name, term in wide.items()}), None)
    constant = 0.0
    if method == "zscore":
        for name, term in wide.items():
            deviation = float(term.std())
            # A term that is the same for every document decides nothing.
            by_name[name] = by_name[name] / deviation if deviation > _SAME else 0.0
            constant -= by_name[name] * float(term.mean())
    return Fused(_sum({name: by_name[name] * term for name, term in wide.items()}) + constant, by_name, constant)


def _sum(terms: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.sum(list(terms.values()), axis=0)
    return total


def _ranks(term: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = np.empty(len(term))
    ranks[np.argsort(-term, kind="stable")] = np.arange(1, len(term) + 1)
    return ranks


_SAME = 1e-6
"""A deviation below this is what rounding in float32 makes of equal scores."""


def cosine(queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[n, m]`` float32 cosines between the rows of ``[n, H]`` and ``[m, H]``.

    Raises:
        InputError: The dims differ.
    """
    if queries.shape[1] != documents.shape[1]:
        raise InputError(f"pooled query has {queries.shape[1]} dimensions, pooled document {documents.shape[1]}")
    result: NDArray[np.float32] = unit(queries) @ unit(documents).T
    return result


def score(
    queries: Embeddings,
    documents: Embeddings,
    *,
    pooled: float = 1.0,
    late: float = 1.0,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """``pooled * cos(pooled) + late * mean_i max_j cos(q_i, d_j)``, ``[n_query, n_document]`` float32.

    Args:
        queries: From `Encoder.encode_query`.
        documents: From `Encoder.encode_document` of the same bundle.
        pooled: Weight of the single-vector term.
        late: Weight of the late-interaction term.
        threads: Python threads for the late term; None takes every core.

    Raises:
        InputError: The two sides are no embeddings, or have different dims.
        OptionError: A weight is not finite, or both are 0.
    """
    check_embeddings(queries, "queries")
    check_embeddings(documents, "documents")
    weights = Weights(pooled, late)
    result = np.zeros((len(queries), len(documents)), np.float32)
    with one_thread():  # threads that BLAS woke for the cosines would spin beside those of MaxSim
        if weights.pooled:
            result += np.float32(weights.pooled) * cosine(queries.pooled, documents.pooled)
        if weights.late:
            result += np.float32(weights.late) * maxsim(queries.tokens, documents.tokens, threads=threads)
    return result


def check_embeddings(given: object, name: str) -> None:
    """Refuse what no encoder returned: texts, or bare arrays."""
    if not isinstance(given, Embeddings):
        raise InputError(
            f"{name} must be Embeddings, as encode_query and encode_document return them, got {type(given).__name__}"
        )


def check_unit(tokens: TokenStates, name: str) -> None:
    """Refuse token vectors that are not of length 1 (0 is what an adapter leaves of nothing): ranking relies on it."""
    for first in range(0, len(tokens.values), 4096):
        lengths = np.linalg.norm(tokens.values[first : first + 4096].astype(np.float32, copy=False), axis=1)
        wrong = np.flatnonzero((np.abs(lengths - 1) > _UNIT) & (lengths != 0))
        if len(wrong):
            raise InputError(f"token vectors of the {name} must have length 1, one has {lengths[wrong[0]]:.4g}")


_UNIT = 0.01  # float16 and 8-bit engines round


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1, a zero row left zero (the floor is PyTorch's ``F.normalize`` eps, 1e-12)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
    return scaled
