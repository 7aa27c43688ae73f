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

_ERRORS = {"float32": (1e-4, 1e-3), "float16": (5e-3, 2e-2), "bfloat16": (1e-2, 5e-2)}
"""What 1 less the cosine with exact vectors may be, on average and of a single vector, by the type of products."""

_ON_GPU = 2e-3
"""What float16 products of a bundle on a GPU may add: its export compared it on a CPU, which sums in another order and
type."""

_OTHER_TEXTS = (2.0, 3.0)
"""How many times what a quantised bundle recorded at its export, over other texts: its 1st percentile for the average,
its worst for a single vector."""

_PARTS = ("pooled", "token")
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
    for each, whose in ((truth, "the reference has NaN or infinity"), (found, "NaN or infinity")):
        if not all(np.isfinite(part).all() for part in (each.pooled, each.values, each.score)):
            return {"problem": whose}
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
    """Why the row of a contender is wrong; None if its outputs are as near the reference's as both types allow."""
    if compared["problem"]:
        return f"wrong outputs: {compared['problem']}"
    own, other = _errors(contender), _errors(reference)
    for key, error in own.items():
        # Angles add: two contenders that are each so far from the truth are this far from one another.
        least = 1 - (math.sqrt(error) + math.sqrt(other[key])) ** 2
        if not compared[key] >= least:
            part, _, end = key.partition("_cosine")
            which = f"{'lowest' if end else 'mean'} {part} cosine"
            return f"wrong outputs: {which} {compared[key]:.4f}, at least {least:.4f} is right"
    alike = _weights_alike(contender, reference)
    if "score_error" in compared and alike:
        # Vectors of cosine 1 - e are sqrt(2 e) apart: a product with a unit vector moves by no more.
        apart = sum(math.sqrt(2 * max(each["pooled_cosine"], each["token_cosine"])) for each in (own, other))
        most = _STORED + sum(alike) * apart
        if compared["score_error"] is None or not compared["score_error"] <= most:
            return f"wrong scores: off by {compared['score_error'] or 'every one'}, at most {most:.3f} is right"
    return None


def _weights_alike(contender: Contender, reference: Contender) -> tuple[float, float] | None:
    """The weights, if both score the same way: those that weigh or compress otherwise differ by design."""
    weights, theirs = (each.weights(Bundle.open(each.bundle, verify=False).manifest) for each in (contender, reference))
    ways = {(each.search.fusion, each.stored.pooling, each.stored.dim) for each in (contender, reference)}
    alike = weights == theirs and len(ways) == 1 and contender.search.fusion == "sum"
    return (weights.pooled, weights.late) if alike else None


def _score_error(truth: Outputs, found: Outputs) -> float | None:
    apart = [
        abs(score - wanted[place])
        for row in range(len(truth.place))
        for wanted in [dict(zip(truth.place[row].tolist(), truth.score[row].tolist(), strict=True))]
        for place, score in zip(found.place[row].tolist(), found.score[row].tolist(), strict=True)
        if place in wanted
    ]
    return round(max(apart), 6) if apart else None


def _errors(contender: Contender) -> dict[str, float]:
    """By the cosines of `compare`, how far from 1 each may be. A quantised bundle recorded its own at its export."""
    if contender.kind:
        mean, single = _ERRORS[KINDS[contender.kind].dtype]
        return {f"{part}_cosine{end}": error for part in _PARTS for end, error in (("", mean), ("_min", single))}
    manifest = Bundle.open(contender.bundle, verify=False).manifest
    verified, (mean, single) = manifest.verified, _ERRORS["float32"]
    if contender.device.startswith("cuda") and manifest.precision.compute == "fp16":
        mean, single = mean + _ON_GPU, single + _ON_GPU
    found = {}
    for part, recorded in zip(_PARTS, (verified.pooled, verified.token), strict=True):
        found[f"{part}_cosine"] = mean + _OTHER_TEXTS[0] * (1 - recorded.percentile_1)
        found[f"{part}_cosine_min"] = single + _OTHER_TEXTS[1] * (1 - recorded.min)
    return found


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    # Two rows of zeros, an item without tokens in front of an adapter, are the same.
    return np.where((lengths == 0) & (a == b).all(axis=1), 1.0, cosines)
