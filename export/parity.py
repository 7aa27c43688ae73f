"""The bundle against the PyTorch reference, on real sentences, through the whole runtime."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

import numpy as np

from smartrt.errors import ParityError, TruncationWarning
from smartrt.fusion import score
from smartrt.manifest import Verified
from smartrt.types import Embeddings

from .defaults import TOLERANCE
from .sentences import DOCUMENTS, QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartrt.encoder import Encoder
    from smartrt.manifest import Side
    from smartrt.models.reference import Reference

_TEXTS: tuple[tuple[Side, tuple[str, ...]], ...] = (("query", QUERIES), ("document", DOCUMENTS))


def check_parity(encoder: Encoder, reference: Reference, tolerance: float = TOLERANCE) -> Verified:
    """Compare `encoder` with `reference`: each text alone, and all of them in padded batches.

    The reference runs each text alone, so that padding on either side cannot hide.

    Raises:
        ParityError: The two keep different tokens, or differ by more than `tolerance`.
    """
    truths, batched = [], []
    worst = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one of the texts is too long on purpose
        for side, texts in _TEXTS:
            encode = encoder.encode_query if side == "query" else encoder.encode_document
            truth = Embeddings.concatenate([reference.encode([text], side) for text in texts])
            batch = encode(texts)
            worst = max(worst, _compare(truth, batch, texts), _compare(truth, _one_by_one(encode, texts), texts))
            truths.append(truth)
            batched.append(batch)
    if not worst <= tolerance:
        raise ParityError(f"the graph differs from PyTorch by {worst:.2e}, more than {tolerance:.0e}")
    truth, result = Embeddings.concatenate(truths), Embeddings.concatenate(batched)
    return Verified(
        against=f"PyTorch float32, each text alone ({type(reference.encoder.backbone).__name__})",
        tolerance=tolerance,
        items=len(truth),
        max_abs=worst,
        min_cosine_pooled=_min_cosine(truth.pooled, result.pooled),
        min_cosine_token=_min_cosine(truth.tokens.values, result.tokens.values),
        ranking_agreement=_ranking_agreement(truths, batched),
        inputs_sha256=hashlib.sha256("\0".join(QUERIES + DOCUMENTS).encode()).hexdigest(),
    )


def _one_by_one(encode: Callable[[Sequence[str]], Embeddings], texts: Sequence[str]) -> Embeddings:
    return Embeddings.concatenate([encode([text]) for text in texts])


def _compare(truth: Embeddings, result: Embeddings, texts: Sequence[str]) -> float:
    differ = np.flatnonzero(truth.tokens.lengths != result.tokens.lengths)
    if len(differ):
        i = int(differ[0])
        raise ParityError(
            f"{texts[i][:40]!r} has {truth.tokens.lengths[i]} tokens in PyTorch and {result.tokens.lengths[i]} in the "
            "bundle: the tokenizers disagree"
        )
    return max(
        float(np.abs(truth.pooled - result.pooled).max()),
        float(np.abs(truth.tokens.values - result.tokens.values).max()),
    )


def _min_cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left.astype(np.float64), right.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


def _ranking_agreement(truths: list[Embeddings], results: list[Embeddings]) -> float:
    """Share of queries whose documents stand in the same order, scores rounded so that ties stay ties."""
    orders = [np.argsort(-score(*pair).round(5), axis=1, kind="stable") for pair in (truths, results)]
    return float((orders[0] == orders[1]).all(axis=1).mean())
