"""Token vectors in fewer dimensions: a matrix with orthonormal columns, and length 1 again.

``pca`` takes the directions in which the first batch of documents is largest: eigenvectors of its second moment
without centring, because a product of vectors is what must be kept. ``orthogonal`` needs no data: random directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import OptionError
from ..fusion import unit
from ..types import TokenStates

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["pca", "orthogonal"]

_SAMPLE = 100_000
"""Token vectors that a PCA looks at, evenly spread over what it is given."""


def fit_projection(tokens: TokenStates, method: Method, dim: int) -> NDArray[np.float32]:
    """A matrix ``[D, dim]`` with orthonormal columns.

    Raises:
        OptionError: There are fewer token vectors than `dim` to fit a PCA to.
    """
    if method == "orthogonal":
        directions = np.linalg.qr(np.random.default_rng(0).normal(size=(tokens.dim, dim)))[0]
        return np.ascontiguousarray(directions, np.float32)
    if len(tokens.values) < dim:
        raise OptionError(
            f"the first batch has {len(tokens.values)} token vectors, a PCA to {dim} dimensions needs at least {dim}: "
            "add more documents at once, or take the projection 'orthogonal'"
        )
    sample = tokens.values[:: -(-len(tokens.values) // _SAMPLE)].astype(np.float64)
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :dim]  # eigh: smallest first
    return np.ascontiguousarray(directions, np.float32)


def project(tokens: TokenStates, matrix: NDArray[np.float32]) -> TokenStates:
    """Rows times `matrix`, of length 1 again."""
    values: NDArray[Any] = tokens.values.astype(np.float32, copy=False)
    return TokenStates(unit(values @ matrix), tokens.offsets)
