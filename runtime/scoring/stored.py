"""Late scores of stored documents: of all of them, of chosen ones, or roughly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .kernel import late_scores
from .rough import rough_scores
from .tiles import StoredTiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..types import TokenStates
    from .rough import RoughScores
    from .storage import StoredTokens

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]


def late_of(queries: TokenStates, tokens: StoredTokens, chosen: Int64 | None = None, *, threads: int) -> Float32:
    """``[n, m]`` float32 scores of every query with every document, or with the chosen ones in the chosen order."""
    if chosen is None:
        return late_scores(queries, StoredTiles(tokens.codes), tokens.starts, tokens.scale, threads=threads)
    groups, starts = groups_of(tokens.starts, chosen)
    return late_scores(queries, StoredTiles(tokens.codes, groups), starts, tokens.scale, threads=threads)


def rough_of(queries: TokenStates, tokens: StoredTokens, *, threads: int) -> RoughScores | None:
    """Scores of all documents in 8 bits with bounds on their error; None where that is not possible."""
    if tokens.scale is None or tokens.rough is None:
        return None
    return rough_scores(queries, StoredTiles(tokens.codes), tokens.starts, tokens.scale, tokens.rough, threads=threads)


def groups_of(starts: Int64, chosen: Int64) -> tuple[Int64, Int64]:
    """The groups of the chosen documents, one after another, and where each document begins among them."""
    lengths = starts[chosen + 1] - starts[chosen]
    begins = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(lengths, out=begins[1:])
    groups = np.arange(begins[-1]) + np.repeat(starts[chosen] - begins[:-1], lengths)
    return groups, begins
