"""Token vectors as an index keeps them: pooled, then projected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .projection import fit_projection, project
from .ward import pool_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..types import TokenStates
    from .projection import Method


def compress(
    tokens: TokenStates,
    pooling: int,
    projection: Method | None,
    dim: int | None,
    matrix: NDArray[np.float32] | None = None,
) -> tuple[TokenStates, NDArray[np.float32] | None]:
    """Compress, and return the matrix of the projection: `matrix`, or one fitted to these tokens if it is None."""
    if pooling > 1:
        tokens = pool_tokens(tokens, pooling)
    if projection is None or dim is None:
        return tokens, None
    if matrix is None:
        matrix = fit_projection(tokens, projection, dim)
    return project(tokens, matrix), matrix
