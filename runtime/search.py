"""Ranking documents in memory or on disk: the true top k of what is stored.

    pooled scores of all documents
      -> candidates: the N best of them, or all
      -> late scores in 8 bits, with a bound (all documents, where that is faster)
      -> late scores in float32 of whoever can still be among the k best
      -> the finalists and whatever is too close to call, in float64

Each step but the choice of candidates is exact: what it drops cannot be in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from .errors import InputError, OptionError
from .fusion import Method, Weights, check_embeddings, check_method, check_unit
from .ranking import check_k
from .scoring.blas import one_thread
from .scoring.device import check_late_device
from .scoring.workers import check_threads
from .stages import Stages, alive_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .documents import Documents
    from .types import Embeddings


_SCORES = 1 << 26
"""Scores held at a time: more queries than fit go in blocks."""

Rough = Literal["auto", "off", "on"]


@dataclass(frozen=True)
class SearchOptions:
    """How a search goes about it.

    Attributes:
        candidates: Documents, best by the pooled score, that late interaction ranks; ``"all"`` ranks every one.
            Fewer candidates are faster and can miss documents: `smartrt index recall` says how many.
        fusion: ``sum`` of the weighted terms (the paper's), sum of their ``zscore``, or reciprocal rank (``rrf``);
            the last two compare the candidates with each other.
        threads: Python threads; None takes every core.
        rough: Whether all documents are scored in 8 bits first: ``auto`` where that is faster, ``on`` or an
            error, ``off``. The answer is the same.
        device: Where late interaction is computed: ``cpu``; ``cuda`` or ``cuda:N``, an error where that does not load;
            ``auto``, the GPU where there is one and it was faster (see `scoring.device.late_on`). The answer is the
            same. The 8-bit first pass is the CPU's: with ``cuda`` only ``rough="on"`` runs it.
    """

    candidates: int | Literal["all"] = "all"
    fusion: Method = "sum"
    threads: int | None = None
    rough: Rough = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        count = self.candidates
        if isinstance(count, bool) or not (count == "all" if isinstance(count, str) else _is_count(count)):
            raise OptionError(f"candidates must be 'all' or a whole number of at least 1, got {count!r}")
        check_method(self.fusion)
        check_threads(self.threads)
        if self.rough not in get_args(Rough):
            raise OptionError(f"rough must be auto, off or on, got {self.rough!r}")
        check_late_device(self.device)


def _is_count(number: object) -> bool:
    return isinstance(number, int | np.integer) and bool(number >= 1)


@dataclass(frozen=True)
class Ranked:
    """A document's place: its position, the fused score, and the two terms before weighting."""

    position: int
    score: float
    pooled: float
    late: float


def search(
    queries: Embeddings,
    parts: Sequence[Documents],
    *,
    k: int,
    weights: Weights | None = None,
    options: SearchOptions | None = None,
    extra: NDArray[np.floating] | None = None,
    ties: Sequence[Callable[[int], bytes]] | None = None,
) -> list[list[Ranked]]:
    """The k best documents of each query, best first; equal scores keep the order of the documents.

    Args:
        queries: n queries.
        parts: The documents, in any number of pieces; positions count through all of them.
        k: Documents per query; all that count if there are fewer.
        weights: Of the terms; the paper's unit weights if None.
        options: See `SearchOptions`.
        extra: A third signal, ``[n, documents]``, whatever stands at deleted documents.
        ties: For each query a key of a position, by which equal scores are then ordered (see `ranking.hash_tie`).

    Raises:
        InputError: k is no count, the dims differ, or something is not finite.
        OptionError: The first pass was asked for and cannot run.
        DeviceError: A GPU was asked for and did not load.
    """
    chosen_weights, chosen_options = weights or Weights(), options or SearchOptions()
    k = check_k(k)
    check_queries(queries, parts)
    total = sum(map(len, parts))
    if not total:
        return [[] for _ in range(len(queries))]
    third = _check_extra(extra, len(queries), parts)
    block = max(1, _SCORES // total)
    ranked: list[list[Ranked]] = []
    with one_thread():  # threads that BLAS woke for a small product would spin beside ours
        for first in range(0, len(queries), block):
            rows = np.arange(first, min(first + block, len(queries)))
            rest = None if third is None else third[rows]
            stages = Stages(queries.take(rows), parts, chosen_weights, chosen_options, rest)
            for row in range(len(rows)):
                places = stages.rank(row, k, ties[first + row] if ties else None)
                ranked.append([Ranked(*place) for place in places])
    return ranked


def check_queries(queries: Embeddings, parts: Sequence[Documents]) -> None:
    """Refuse queries that these documents have no score for.

    Both terms are computed for the finalists, whatever the weights, so both must fit.
    """
    check_embeddings(queries, "queries")
    if not (np.isfinite(queries.pooled).all() and np.isfinite(queries.tokens.values).all()):
        raise InputError("the queries hold NaN or infinity")
    if not queries.tokens.lengths.all():
        empty = int(np.flatnonzero(queries.tokens.lengths == 0)[0])
        raise InputError(f"query {empty} has no token vector; an encoder puts the pooled vector there, do the same")
    check_unit(queries.tokens, "queries")
    dims = queries.pooled.shape[1], queries.tokens.dim
    for part in parts:
        expected = part.pooled.shape[1], part.tokens.dim
        if dims != expected:
            raise InputError(f"queries have dims {dims} (pooled, token), the documents {expected}")


def _check_extra(
    extra: NDArray[np.floating] | None, queries: int, parts: Sequence[Documents]
) -> NDArray[np.float64] | None:
    if extra is None:
        return None
    given, shape = np.asarray(extra), (queries, sum(map(len, parts)))
    if given.shape != shape or given.dtype.kind not in "fiu":
        raise InputError(
            f"extra must be finite numbers {list(shape)}, a row a query, got {given.dtype} {list(given.shape)}"
        )
    third = np.where(alive_of(parts), given.astype(np.float64), 0.0)  # whatever stands at documents that do not count
    if not np.isfinite(third).all():
        query, document = np.argwhere(~np.isfinite(third))[0]
        raise InputError(
            f"extra must be finite numbers, query {query} and document {document} have {third[query, document]}"
        )
    return third
