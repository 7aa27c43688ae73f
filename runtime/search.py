"""Ranking documents in memory or on disk: one scan in float32, the finalists again in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .fusion import Weights, score, unit
from .maxsim import maxsim_exact
from .ranking import MARGIN, check_k, top_k

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .types import Embeddings


@dataclass(frozen=True)
class Ranked:
    """A document's place: its position, the fused score, and the two terms before weighting."""

    position: int
    score: float
    pooled: float
    late: float


def search(
    queries: Embeddings, parts: Sequence[Embeddings], *, k: int, weights: Weights | None = None
) -> list[list[Ranked]]:
    """The true k best documents of each query, best first; equal scores keep the order of the documents.

    Args:
        queries: n queries.
        parts: The documents, in any number of pieces; positions count through all of them.
        k: Documents per query, at most as many as there are.
        weights: Of the two terms; the paper's unit weights if None.

    Raises:
        InputError: k is out of range, or the dims differ.
    """
    chosen = weights or Weights()
    _check(queries, parts)
    starts = np.cumsum([0, *map(len, parts)])
    check_k(k, int(starts[-1]))
    columns = [score(queries, part, pooled=chosen.pooled, late=chosen.late) for part in parts]
    scores = np.concatenate(columns, axis=1)
    return [_rank(queries, row, parts, starts, scores[row], k, chosen) for row in range(len(queries))]


def _rank(
    queries: Embeddings,
    row: int,
    parts: Sequence[Embeddings],
    starts: NDArray[np.int64],
    scores: NDArray[np.float32],
    k: int,
    weights: Weights,
) -> list[Ranked]:
    """Order the documents of one query, remembering the terms of those that were scored exactly."""
    terms: dict[int, tuple[float, float]] = {}

    def exact(position: int) -> float:
        part = int(np.searchsorted(starts, position, side="right")) - 1
        terms[position] = exact_terms(queries, row, parts[part], position - int(starts[part]))
        return weights.pooled * terms[position][0] + weights.late * terms[position][1]

    margin = MARGIN * (abs(weights.pooled) + abs(weights.late))
    return [Ranked(position, value, *terms[position]) for position, value in top_k(scores, k, exact, margin)]


def exact_terms(queries: Embeddings, query: int, documents: Embeddings, document: int) -> tuple[float, float]:
    """Pooled cosine and late score of one pair, with float64 products and sums."""
    left = unit(queries.pooled[query]).astype(np.float64)
    right = unit(documents.pooled[document]).astype(np.float64)
    return float(left @ right), maxsim_exact(queries.tokens[query], documents.tokens[document])


def _check(queries: Embeddings, parts: Sequence[Embeddings]) -> None:
    """Both terms are computed for the finalists, whatever the weights, so both must fit."""
    if not (np.isfinite(queries.pooled).all() and np.isfinite(queries.tokens.values).all()):
        raise InputError("the queries hold NaN or infinity")
    dims = queries.pooled.shape[1], queries.tokens.dim
    for part in parts:
        expected = part.pooled.shape[1], part.tokens.dim
        if dims != expected:
            raise InputError(f"queries have dims {dims} (pooled, token), the documents {expected}")
