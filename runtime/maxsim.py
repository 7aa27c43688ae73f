"""MaxSim: the late-interaction score between sets of token vectors.

``late(q, d) = (1 / |q|) sum_i max_j <q_i, d_j>``, the mean over query tokens of the best match among the
document's tokens (SMART, arXiv 2605.24938, section 3; ColBERT sums instead). Token vectors are unit
length, so the products are cosines. `scoring` is how it is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .scoring.exact import exact_late
from .scoring.kernel import late_scores
from .scoring.ragged import grouped_rows
from .scoring.tiles import RaggedTiles
from .scoring.workers import check_threads

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from .types import TokenStates


def maxsim(queries: TokenStates, documents: TokenStates, *, threads: int | None = None) -> NDArray[np.float32]:
    """Score every query against every document.

    Args:
        queries: n items of ``[tokens, D]``.
        documents: m items of ``[tokens, D]``, of the same D.
        threads: Python threads; None takes every core.

    Returns:
        ``[n, m]`` float32, within 2e-6 of the same sums in float64 for unit vectors. Memory beside the result is
        a few megabytes a thread.

    Raises:
        InputError: The dims differ, an item has no token (an encoder never returns such an item), or a query
            holds NaN or infinity.
        OptionError: `threads` is no count.
    """
    check_tokens(queries, documents)
    rows, starts = grouped_rows(documents.offsets)
    return late_scores(queries, RaggedTiles(documents.values, rows), starts, threads=check_threads(threads))


def maxsim_exact(query: NDArray[np.floating[Any]], document: NDArray[np.floating[Any]]) -> float:
    """The score of one pair, ``[tokens, D]`` each, with float64 products and sums."""
    return exact_late(query, document)


def check_tokens(queries: TokenStates, documents: TokenStates) -> None:
    """Refuse what has no score."""
    if queries.dim != documents.dim:
        raise InputError(f"query tokens have {queries.dim} dimensions, document tokens {documents.dim}")
    for name, states in (("query", queries), ("document", documents)):
        empty = np.flatnonzero(states.lengths == 0)
        if len(empty):
            raise InputError(
                f"{name} {empty[0]} has no token vector; an encoder puts the pooled vector there, do the same"
            )
        if not np.isfinite(states.values).all():
            raise InputError(f"the token vectors of a {name} hold NaN or infinity")
