"""Whether contenders computed the same: the vectors of each cell, and of queries the ranking, against the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.bundle import Bundle

from ..pytorch import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .grid import Contender

_ROUNDING = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.995}
"""Least mean cosine between two sets of vectors of one model, whose arithmetic is of these types."""

_MARGIN = 0.01
"""What a mean cosine may lie below the 1st percentile that a bundle recorded when it was exported: other texts."""

_STORED = 0.02
"""What keeping documents in int8 may move a score by, and more."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one call returned.

    Attributes:
        pooled: ``[n, H]``.
        values: ``[sum T, D]``, the tokens of all items.
        offsets: ``[n + 1]``, where each item's begin.
        place: ``[n, K]`` positions of the best documents; of queries alone.
        score: ``[n, K]`` their scores.
    """

    pooled: NDArray[np.float32]
    values: NDArray[np.float32]
    offsets: NDArray[np.int64]
    place: NDArray[np.int64]
    score: NDArray[np.float64]


def read_outputs(path: Path) -> Outputs:
    """What a `Worker` wrote."""
    with np.load(path, allow_pickle=False) as data:
        return Outputs(**{name: data[name] for name in Outputs.__dataclass_fields__})


def compare(truth: Outputs, found: Outputs) -> dict[str, Any]:
    """How near two outputs are, JSON-ready: cosines of pooled and token vectors, and how many of the best are the same.

    ``problem`` is a sentence if they cannot be compared at all, else None. ``score_error`` is the largest difference of
    scores of documents that both rank, None if there is no such document; only of queries.
    """
    if truth.pooled.shape != found.pooled.shape or not np.array_equal(truth.offsets, found.offsets):
        shapes = [f"{len(each.pooled)} items of {len(each.values)} tokens" for each in (found, truth)]
        return {"problem": f"{shapes[0]}, the reference has {shapes[1]}"}
    if not (np.isfinite(found.pooled).all() and np.isfinite(found.values).all()):
        return {"problem": "NaN or infinity"}
    pooled, tokens = _cosines(truth.pooled, found.pooled), _cosines(truth.values, found.values)
    result: dict[str, Any] = {
        "problem": None,
        "pooled_cosine": round(float(pooled.mean()), 6),
        "pooled_cosine_min": round(float(pooled.min()), 6),
        "token_cosine": round(float(tokens.mean()), 6),
        "token_cosine_min": round(float(tokens.min()), 6),
    }
    if truth.place.size and found.place.size:
        same = [len(set(one) & set(other)) / len(one) for one, other in zip(truth.place, found.place, strict=True)]
        result |= {"same_best": float(np.mean(same)), "score_error": _score_error(truth, found)}
    return result


def disagreement(compared: dict[str, Any], contender: Contender, reference: Contender) -> str | None:
    """Why the row of a contender is wrong; None if its outputs are as near as its types allow."""
    if compared["problem"]:
        return f"wrong outputs: {compared['problem']}"
    limits = _limits(contender)
    for part, least in limits.items():
        if not compared[f"{part}_cosine"] >= least:
            return f"wrong outputs: mean {part} cosine {compared[f'{part}_cosine']:.4f}, at least {least:.4f} is right"
    alike = _scores_alike(contender, reference)
    if "score_error" in compared and alike:
        # Vectors of cosine c are sqrt(2 - 2c) apart: a product with a unit vector moves by no more.
        most = _STORED + sum(alike) * math.sqrt(2 - 2 * min(limits.values()))
        if compared["score_error"] is None or not compared["score_error"] <= most:
            return f"wrong scores: off by {compared['score_error'] or 'every one'}, at most {most:.3f} is right"
    return None


def _scores_alike(contender: Contender, reference: Contender) -> tuple[float, float] | None:
    """The weights, if both score the same way: those that weigh or compress otherwise differ by design."""
    ways = [
        (each.pooled, each.late, each.search.fusion, each.stored.pooling, each.stored.dim)
        for each in (contender, reference)
    ]
    return (contender.pooled, contender.late) if ways[0] == ways[1] and contender.search.fusion == "sum" else None


def _score_error(truth: Outputs, found: Outputs) -> float | None:
    apart = [
        abs(score - wanted[place])
        for row in range(len(truth.place))
        for wanted in [dict(zip(truth.place[row].tolist(), truth.score[row].tolist(), strict=True))]
        for place, score in zip(found.place[row].tolist(), found.score[row].tolist(), strict=True)
        if place in wanted
    ]
    return round(max(apart), 6) if apart else None


def _limits(contender: Contender) -> dict[str, float]:
    """Least mean cosines with float32. A quantised bundle recorded its own when it was exported."""
    if contender.kind:
        return dict.fromkeys(("pooled", "token"), _ROUNDING[KINDS[contender.kind].dtype])
    verified = Bundle.open(contender.bundle, verify=False).manifest.verified
    recorded = {"pooled": verified.pooled.percentile_1, "token": verified.token.percentile_1}
    return {part: min(_ROUNDING["float32"], cosine - _MARGIN) for part, cosine in recorded.items()}


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    # Two rows of zeros, an item without tokens in front of an adapter, are the same.
    return np.where((lengths == 0) & (a == b).all(axis=1), 1.0, cosines)
