"""Documents as a search reads them: unit pooled vectors, stored tokens, and which of them still count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fusion import unit
from .maxsim import maxsim_exact
from .scoring.exact import exact_late
from .scoring.storage import StoredTokens, store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .scoring.storage import Storage
    from .types import Embeddings


@dataclass(frozen=True, eq=False)
class Documents:
    """n documents.

    Attributes:
        pooled: ``[n, H]`` float32, rows of length 1.
        tokens: Their token vectors.
        alive: ``[n]`` bool, False for documents that were deleted; None: all of them count.
    """

    pooled: NDArray[np.float32]
    tokens: StoredTokens
    alive: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, embeddings: Embeddings, storage: Storage = "float32") -> Documents:
        """Documents in memory; their tokens are copied into the layout that is searched."""
        return cls(unit(embeddings.pooled), store(embeddings.tokens, storage))

    def __len__(self) -> int:
        return len(self.pooled)

    def exact_terms(self, queries: Embeddings, query: int, document: int) -> tuple[float, float]:
        """Pooled cosine and late score of one pair, with float64 products and sums of what is stored."""
        tokens = self.tokens
        rows = tokens.codes[tokens.starts[document] : tokens.starts[document + 1]].reshape(-1, tokens.dim)
        late = exact_late(queries.tokens[query], rows, tokens.scale)
        return _exact_cosine(queries.pooled[query], self.pooled[document]), late


def exact_terms(queries: Embeddings, query: int, documents: Embeddings, document: int) -> tuple[float, float]:
    """Pooled cosine and late score of one pair of embeddings, with float64 products and sums."""
    pooled = _exact_cosine(queries.pooled[query], unit(documents.pooled[document]))
    return pooled, maxsim_exact(queries.tokens[query], documents.tokens[document])


def _exact_cosine(query: NDArray[np.float32], document: NDArray[np.float32]) -> float:
    return float(unit(query).astype(np.float64) @ document.astype(np.float64))
