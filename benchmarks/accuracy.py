"""`smartrt bench accuracy`: what pooled, late and hybrid find on a retrieval set, with BM25 beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.compression.ward import load_hierarchy
from smartrt.documents import Documents
from smartrt.evaluation.metrics import CUT, METRICS, RESAMPLES, paired_bootstrap
from smartrt.evaluation.quality import encode_once, rank
from smartrt.fusion import Weights
from smartrt.types import Embeddings

from .lexical import SETTINGS, bm25
from .stored import REFERENCE, rank_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smartrt.encoder import Encoder
    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.manifest import Side

BASELINE = "pooled"


def measure(
    encoder: Encoder, data: RetrievalSet, advance: Callable[[int], None] = lambda _: None, *, stored: bool = False
) -> dict[str, Any]:
    """Rank every document for every query with each system and score the rankings.

    Ties keep the order of the documents; identical texts have identical vectors, so they tie.

    Args:
        encoder: Encodes both sides; an empty document is encoded as what it is.
        data: The set.
        advance: Called with the number of items that were encoded.
        stored: Whether to rank by vectors as an index can keep them as well (`stored.VARIANTS`).

    Returns:
        JSON-ready: per system the mean of each metric, and the difference of nDCG from the pooled
        baseline with its 95 % paired-bootstrap interval; with `stored` the same against float32 and all documents.
    """
    # First, because they are quick to fail: their libraries are optional.
    if stored:
        load_hierarchy()
    lexical = bm25(*([record.text for record in records] for records in (data.queries, data.documents)))
    started = time.perf_counter()
    queries = _encode(encoder, [record.text for record in data.queries], "query", advance)
    documents = _encode(encoder, [record.text for record in data.documents], "document", advance)
    encoded = time.perf_counter()
    rankings = rank(queries, Documents.of(documents), _weights(encoder))
    k = min(CUT, len(data.documents))
    rankings["bm25"] = [np.argsort(-row, kind="stable")[:k].tolist() for row in lexical]
    per_query = {name: _metrics(ranking, data) for name, ranking in rankings.items()}
    kept = _stored(encoder, queries, documents, data) if stored else {}
    return kept | {
        "set": data.name,
        "documents": len(data.documents),
        "queries": len(data.queries),
        "queries_without_relevant_document": data.unjudged,
        "document_tokens": len(documents.tokens.values),
        "truncated_documents": int((documents.truncated > 0).sum()),
        "systems": {name: _summary(values, per_query[BASELINE]) for name, values in per_query.items()},
        "bm25": SETTINGS,
        "interval": f"95 % paired bootstrap over queries, {RESAMPLES} resamples, against {BASELINE}",
        "seconds": {"encode": round(encoded - started, 2), "rank": round(time.perf_counter() - encoded, 2)},
    }


def _encode(encoder: Encoder, texts: Sequence[str], side: Side, advance: Callable[[int], None]) -> Embeddings:
    def encode(distinct: Sequence[str], side: Side) -> Embeddings:
        parts = []
        for part in encoder.embed(distinct, side=side, allow_empty=True):
            parts.append(part)
            advance(len(part))
        advance(len(texts) - len(distinct))
        return Embeddings.concatenate(parts)

    return encode_once(encode, texts, side)


def _stored(encoder: Encoder, queries: Embeddings, documents: Embeddings, data: RetrievalSet) -> dict[str, Any]:
    rankings = rank_stored(queries, documents, _weights(encoder))
    per_query = {name: _metrics(ranking.positions, data) for name, ranking in rankings.items()}
    size = {name: {"bytes_per_document": round(ranking.bytes_per_document)} for name, ranking in rankings.items()}
    return {"stored": {n: size[n] | _summary(values, per_query[REFERENCE]) for n, values in per_query.items()}}


def _weights(encoder: Encoder) -> Weights:
    scoring = encoder.bundle.manifest.scoring
    return Weights(scoring.pooled_weight, scoring.late_weight)


def _metrics(rankings: Iterable[Sequence[int]], data: RetrievalSet) -> dict[str, np.ndarray]:
    pairs = list(zip(rankings, data.gains, strict=True))
    return {name: np.array([metric(*pair) for pair in pairs]) for name, metric in METRICS.items()}


def _summary(values: dict[str, np.ndarray], baseline: dict[str, np.ndarray]) -> dict[str, Any]:
    decisive = f"ndcg@{CUT}"
    differences = values[decisive] - baseline[decisive]
    low, high = paired_bootstrap(differences)
    means = {name: float(value.mean()) for name, value in values.items()}
    return means | {"difference": float(differences.mean()), "interval": [low, high]}
