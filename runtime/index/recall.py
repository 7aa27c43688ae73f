"""What two-stage search misses: how often the best by the pooled vector hold the true hybrid top k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..fusion import Weights, unit
from ..search import SearchOptions, search
from ..types import Embeddings, TokenStates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..documents import Documents
    from .index import Index

LEVELS = (10, 20, 50, 100, 200, 500, 1000)
"""Numbers of candidates that are reported."""

TARGET = 0.99
_SPAN = 32
"""Token vectors of a document that stands in for a query: about as many as a question has."""


@dataclass(frozen=True)
class Recall:
    """For each number of candidates, what it finds of the true top k.

    Attributes:
        queries: How many were asked.
        documents: In the index.
        k: Hits compared per query.
        found: Number of candidates -> mean share of the true top k among them.
        whole: Number of candidates -> share of the queries whose true top k is there completely.
        enough: The smallest number of candidates that holds 99 % of all true hits.
    """

    queries: int
    documents: int
    k: int
    found: dict[int, float]
    whole: dict[int, float]
    enough: int


def measure_recall(
    index: Index,
    queries: Embeddings,
    *,
    k: int = 10,
    weights: Weights | None = None,
    threads: int | None = None,
    device: str = "cpu",
    leave_out: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Recall:
    """Rank every document for every query, and look where its best ones stand by the pooled vector alone.

    Args:
        index: With at least one document.
        queries: As they are stored (`Index.in_store`).
        k: Hits compared per query.
        weights: Of the two terms.
        threads: Python threads; None takes every core.
        device: Where late interaction is computed (see `SearchOptions`).
        leave_out: For each query the position of a document that is no answer: itself.
        advance: Called with 1 after each query.

    Raises:
        InputError: There is no document to find, or no query.
    """
    parts = [segment.documents for segment in index.segments]
    others = len(index) - (leave_out is not None)
    if others < 1:
        needed = "two documents, one to stand in for a query" if leave_out is not None else "a document to find"
        raise InputError(f"{index.path} holds {len(index)} documents; recall needs {needed}")
    if not len(queries):
        raise InputError("recall needs queries, there is none")
    k = min(k, others)
    options = SearchOptions("all", threads=threads, device=device)
    sign = np.float32(-1 if weights is not None and weights.pooled < 0 else 1)
    ranks = np.empty((len(queries), k), np.int64)
    for row in range(len(queries)):
        asked = queries.take([row])
        own = -1 if leave_out is None else leave_out[row]
        hits = search(asked, parts, k=k + (own >= 0), weights=weights, options=options)[0]
        best = [hit.position for hit in hits if hit.position != own][:k]
        ranks[row] = _pooled_ranks(asked.pooled * sign, parts, own)[best]
        advance(1)
    levels = [level for level in LEVELS if k <= level < others] or [others]
    return Recall(
        len(queries),
        len(index),
        k,
        {level: float((ranks < level).mean()) for level in levels},
        {level: float((ranks < level).all(axis=1).mean()) for level in levels},
        int(np.sort(ranks, axis=None)[int(np.ceil(TARGET * ranks.size)) - 1]) + 1,
    )


def sampled_documents(index: Index, count: int, seed: int = 0) -> tuple[Embeddings, list[int]]:
    """Some documents as queries, a run of at most 32 token vectors of each, and their positions."""
    alive = _positions(index)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(alive, min(count, len(alive)), replace=False))
    pooled, tokens = [], []
    starts = np.cumsum([0, *(segment.entry.documents for segment in index.segments)])
    for position in chosen:
        number = int(np.searchsorted(starts, position, side="right")) - 1
        segment, row = index.segments[number], int(position - starts[number])
        rows = segment.documents.tokens.exact(row)[: int(segment.lengths[row])]
        first = int(rng.integers(0, max(len(rows) - _SPAN, 0) + 1))
        tokens.append(rows[first : first + _SPAN].astype(np.float32))
        pooled.append(segment.documents.pooled[row])
    states = TokenStates.from_arrays(tokens, index.manifest.stored_dim)
    vectors = np.array(pooled, np.float32).reshape(len(chosen), index.manifest.pooled_dim)
    return Embeddings(vectors, states, np.zeros(len(chosen), np.int64)), [int(position) for position in chosen]


def _positions(index: Index) -> NDArray[np.int64]:
    starts = np.cumsum([0, *(segment.entry.documents for segment in index.segments)])
    pieces = [segment.alive + start for segment, start in zip(index.segments, starts, strict=False)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def _pooled_ranks(pooled: NDArray[np.float32], parts: Sequence[Documents], own: int) -> NDArray[np.int64]:
    """The rank of every position by the pooled vector, 0 the best; deleted ones and `own` come last."""
    scores = np.concatenate([unit(pooled) @ part.pooled.T for part in parts], axis=1)[0]
    scores[np.concatenate([np.zeros(len(p), bool) if p.alive is None else ~p.alive for p in parts])] = -np.inf
    if own >= 0:
        scores[own] = -np.inf
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
