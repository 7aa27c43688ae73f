"""MaxSim: the late-interaction score between sets of token vectors.

``late(q, d) = (1 / |q|) sum_i max_j <q_i, d_j>``, the mean over query tokens of the best match among the
document's tokens (SMART, arXiv 2605.24938, section 3; ColBERT sums instead). Token vectors are unit
length, so the products are cosines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .types import TokenStates

_TILE_ROWS = 4096
_TILE_COLUMNS = 1024


def maxsim(queries: TokenStates, documents: TokenStates) -> NDArray[np.float32]:
    """Score every query against every document.

    Args:
        queries: n items of ``[tokens, D]``.
        documents: m items of ``[tokens, D]``, of the same D.

    Returns:
        ``[n, m]`` float32, within 2e-6 of the same sums in float64. Memory beside the result is bounded
        by one tile of products (16 MiB) and one document.

    Raises:
        InputError: The dims differ, or an item has no token (an encoder never returns such an item).
    """
    _check(queries, documents)
    scores = np.empty((len(queries), len(documents)), np.float32)
    for first_q, last_q in _spans(queries, _TILE_COLUMNS):
        columns = queries.values[queries.offsets[first_q] : queries.offsets[last_q]].astype(np.float32, copy=False)
        starts = queries.offsets[first_q:last_q] - queries.offsets[first_q]
        for first_d, last_d in _spans(documents, _TILE_ROWS):
            best = _best_matches(columns, documents, first_d, last_d)
            sums = np.add.reduceat(best, starts, axis=1)
            scores[first_q:last_q, first_d:last_d] = (sums / queries.lengths[first_q:last_q]).T
    return scores


def maxsim_exact(query: NDArray[np.floating], document: NDArray[np.floating]) -> float:
    """The score of one pair, ``[tokens, D]`` each, with float64 products and sums.

    Equal inputs give equal scores to the last bit, which a tiled product does not promise: this is what
    finalists are ordered by.
    """
    products = query.astype(np.float64) @ document.astype(np.float64).T
    return float(products.max(axis=1).mean())


def _best_matches(columns: NDArray[np.float32], documents: TokenStates, first: int, last: int) -> NDArray[np.float32]:
    """``[last - first, query tokens]``: for each document, the best product of each query token."""
    begin, end = documents.offsets[first], documents.offsets[last]
    products = documents.values[begin:end].astype(np.float32, copy=False) @ columns.T
    best: NDArray[np.float32] = np.maximum.reduceat(products, documents.offsets[first:last] - begin, axis=0)
    return best


def _spans(states: TokenStates, rows: int) -> Iterator[tuple[int, int]]:
    """Cut the items into runs of at most `rows` tokens, an item being longer than that in a run alone."""
    first = 0
    while first < len(states):
        limit = states.offsets[first] + rows
        last = max(first + 1, int(np.searchsorted(states.offsets, limit, side="right")) - 1)
        yield first, last
        first = last


def _check(queries: TokenStates, documents: TokenStates) -> None:
    if queries.dim != documents.dim:
        raise InputError(f"query tokens have {queries.dim} dimensions, document tokens {documents.dim}")
    for name, states in (("query", queries), ("document", documents)):
        empty = np.flatnonzero(states.lengths == 0)
        if len(empty):
            raise InputError(
                f"{name} {empty[0]} has no token vector; an encoder puts the pooled vector there, do the same"
            )
