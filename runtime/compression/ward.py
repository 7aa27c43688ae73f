"""Token pooling: the tokens of a document in groups by Ward's method, each group one vector, its normalised mean.

Clavie, Chaffin and Adams (arXiv 2409.14683) found hierarchical clustering to lose least among ways to pool the tokens
of a late-interaction model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingDependencyError
from ..types import TokenStates

if TYPE_CHECKING:
    from numpy.typing import NDArray


_CANCELLED = 1e-6


def pool_tokens(tokens: TokenStates, factor: int) -> TokenStates:
    """About one vector for `factor` tokens, ``ceil(tokens / factor)`` a document, float32 of length 1.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    hierarchy = load_hierarchy()
    return TokenStates.from_arrays([_pool(rows, factor, hierarchy) for rows in tokens], tokens.dim)


def _pool(rows: NDArray[np.floating[Any]], factor: int, hierarchy: Any) -> NDArray[np.float32]:
    rows = rows.astype(np.float32, copy=False)
    wanted = -(-len(rows) // factor)
    if wanted == len(rows):
        return rows
    above = np.triu_indices(len(rows), 1)
    wide = rows.astype(np.float64)
    lengths = (wide * wide).sum(axis=1)
    squares = lengths[above[0]] + lengths[above[1]] - 2 * (wide @ wide.T)[above]
    tree = hierarchy.linkage(np.sqrt(np.maximum(squares, 0)), "ward")
    group = hierarchy.fcluster(tree, wanted, "maxclust")  # equal distances can make it fewer
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))  # groups in the order of their first tokens
    sums = np.zeros((len(first), rows.shape[1]))
    np.add.at(sums, place[group], wide)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    cancelled = norms[:, 0] < _CANCELLED  # opposite vectors have no mean direction: the first one speaks for them
    sums[cancelled], norms[cancelled] = wide[np.sort(first)[cancelled]], 1.0
    pooled: NDArray[np.float32] = (sums / norms).astype(np.float32)
    return pooled


def load_hierarchy() -> Any:
    """scipy's hierarchical clustering.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    try:
        return importlib.import_module("scipy.cluster.hierarchy")
    except ImportError:
        raise MissingDependencyError("token pooling needs scipy: pip install 'smartrt[pool]'") from None
