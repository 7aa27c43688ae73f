"""BM25, the line every retriever has to be seen beside. Through the library bm25s, nothing of it is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SETTINGS = "bm25s, lucene, k1 1.5, b 0.75, words split at underscores too, English stop words, Snowball stemmer"


def load_bm25() -> tuple[Any, Any]:
    """The modules bm25s and Stemmer.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError(
            f"the BM25 line needs {error.name}, which is not installed: pip install 'smartrt[bench]'"
        ) from error
    return bm25s, Stemmer


def bm25(queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
    """``[n, m]`` BM25 scores under `SETTINGS`, which were the strongest of those tried on three sets.

    Raises:
        MissingDependencyError: See `load_bm25`.
    """
    bm25s, stemmers = load_bm25()
    stemmer = stemmers.Stemmer("english")

    def words(texts: Sequence[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False,
            token_pattern=r"[^\W_]+",  # noqa: S106  (a pattern of words, not a password)
        )  # fmt: skip
        return tokens

    scores = np.zeros((len(queries), len(documents)), np.float32)
    known = words(documents)
    if any(known):
        retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        retriever.index(known, show_progress=False)
        for row, query in zip(scores, words(queries), strict=True):
            if query:  # bm25s refuses a query of stop words alone
                row[:] = retriever.get_scores(query)
    return scores
