"""What is scored: token vectors that are made up, but crowd together as those of a model do.

A document is about a mixture of a few factors, so that some are much alike and others not. A token vector is a common
direction, its document's mixture and noise, of length 1; a query token is a noisy copy of a token of one document, so
that a query has answers. Deterministic by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartrt.types import Embeddings, TokenStates

_FACTORS = 8
_COMMON, _ABOUT, _NOISE = 0.5, 0.6, 0.8
"""Lengths of the three parts of a token vector before it is normalised."""


@dataclass(frozen=True)
class Case:
    """Sizes of one comparison.

    Attributes:
        queries: Queries scored in one call.
        query_tokens: Tokens of each.
        dim: Dimensions of a token vector.
        documents: How many.
        tokens: Fewest and most tokens of a document.
    """

    queries: int
    query_tokens: int
    dim: int
    documents: int
    tokens: tuple[int, int]

    @property
    def label(self) -> str:
        """For people."""
        batch = f"{self.queries} x " if self.queries > 1 else ""
        low, high = self.tokens
        length = f"{low}" if low == high else f"{low}-{high}"
        return f"{batch}{self.query_tokens} query tokens, {self.documents:,} documents of {length}, {self.dim} dims"


CASES = {
    "text-8": Case(1, 8, 128, 600, (50, 300)),
    "text-32": Case(1, 32, 128, 600, (50, 300)),
    "pages-24": Case(1, 24, 128, 150, (747, 747)),
    "wide-32": Case(1, 32, 2048, 100, (50, 300)),
    "image-1000": Case(1, 1000, 256, 200, (50, 300)),
    "batch-16": Case(16, 32, 128, 300, (50, 300)),
}


@dataclass(frozen=True, eq=False)
class Data:
    """Queries and documents of a case, and the multiplications that scoring them takes."""

    queries: Embeddings
    documents: Embeddings

    @property
    def flop(self) -> float:
        """Floating-point operations: one multiplication and one addition for each pair of numbers."""
        tokens = self.documents.tokens
        return 2.0 * len(self.queries.tokens.values) * len(tokens.values) * tokens.dim


def make(case: Case, seed: int = 0) -> Data:
    """The vectors of a case."""
    rng = np.random.default_rng(seed)
    common, factors = _unit(rng.normal(size=case.dim)), _unit(rng.normal(size=(_FACTORS, case.dim)))
    lengths = rng.integers(case.tokens[0], case.tokens[1] + 1, case.documents)
    about = _unit(rng.normal(size=(case.documents, _FACTORS)) @ factors)
    documents = [
        _tokens(rng, _COMMON * common + _ABOUT * mixture, length)
        for mixture, length in zip(about, lengths, strict=True)
    ]
    queries = []
    for _ in range(case.queries):
        answer = documents[int(rng.integers(case.documents))]
        copied = answer[rng.integers(0, len(answer), case.query_tokens)]
        queries.append(_unit(copied + 0.5 * _unit(rng.normal(size=copied.shape))).astype(np.float32))
    return Data(_embeddings(queries), _embeddings(documents))


def _tokens(rng: np.random.Generator, centre: np.ndarray, count: int) -> np.ndarray:
    noise = _unit(rng.normal(size=(count, len(centre))))
    return _unit(centre + _NOISE * noise).astype(np.float32)


def _embeddings(tokens: list[np.ndarray]) -> Embeddings:
    pooled = np.stack([_unit(rows.mean(axis=0)) for rows in tokens]).astype(np.float32)
    return Embeddings(pooled, TokenStates.from_arrays(tokens), np.zeros(len(tokens), np.int64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
