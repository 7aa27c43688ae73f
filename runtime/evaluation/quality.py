"""What an encoder finds on a retrieval set and what another loses, and how far two agree without any judgement."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..documents import Documents
from ..errors import InputError
from ..fusion import Weights, score
from ..price import Agreement, Cosines, Loss, SetLoss
from ..search import search
from .metrics import CUT, ndcg, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..manifest import Side
    from ..types import Embeddings
    from .dataset import RetrievalSet

SYSTEMS = ("pooled", "late", "hybrid")

_DIGITS = 5  # of a score: twice what float32 may be wrong by (`ranking.MARGIN`), so that ties stay ties
_CELLS = 1 << 24  # of the largest array held at a time


class Encodes(Protocol):
    """Anything that encodes: it gets distinct texts of one side, all at once, and returns a row for each."""

    def __call__(self, texts: Sequence[str], side: Side, /) -> Embeddings:
        """``[texts]`` embeddings in the order given; how many are encoded at a time is its own affair."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What one encoder finds on one set.

    Attributes:
        name: Of the set.
        sha256: Of the set's texts and judgements; two qualities compare only where it is the same.
        queries: How many.
        documents: How many.
        ndcg: By system (`SYSTEMS`), nDCG@10 of each query, float64 ``[queries]``.
    """

    name: str
    sha256: str
    queries: int
    documents: int
    ndcg: dict[str, NDArray[np.float64]]


def measure(
    encode: Encodes, data: RetrievalSet, weights: Weights, advance: Callable[[int], None] = lambda _: None
) -> Quality:
    """Rank every document for every query, exactly and in float32, with each system.

    Args:
        encode: Called once a side.
        data: The set.
        weights: Of the hybrid.
        advance: Called with the number of texts when a side is done; pass none where `encode` tells of its progress.

    Raises:
        InputError: The set has no query or no document, or `encode` returned too few rows, NaN or infinity.
    """
    if not data.queries or not data.documents:
        raise InputError(f"{data.name} has {len(data.queries)} queries and {len(data.documents)} documents, needs both")
    queries = encode_once(encode, [record.text for record in data.queries], "query")
    advance(len(data.queries))
    # In one expression: the vectors as they were encoded are gone before anything is ranked.
    documents = Documents.of(encode_once(encode, [record.text for record in data.documents], "document"))
    advance(len(data.documents))
    found = {
        name: np.array([ndcg(row, gains) for row, gains in zip(ranking, data.gains, strict=True)])
        for name, ranking in rank(queries, documents, weights).items()
    }
    return Quality(data.name, set_sha256(data), len(data.queries), len(data.documents), found)


def encode_once(encode: Encodes, texts: Sequence[str], side: Side) -> Embeddings:
    """Embeddings of the texts in their order, each distinct one encoded once: identical texts tie.

    Raises:
        InputError: `encode` returned another number of rows, or NaN or infinity.
    """
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    found = encode(list(rows), side)
    if len(found) != len(rows):
        raise InputError(f"{len(rows)} texts were encoded as {side}, {len(found)} rows came back")
    _check_finite(found, side)
    # Token vectors are hundreds of megabytes: no copy where none is needed.
    return found if len(rows) == len(texts) else found.take([rows[text] for text in texts])


def rank(queries: Embeddings, documents: Documents, weights: Weights) -> dict[str, list[list[int]]]:
    """By system, the positions of the best `metrics.CUT` documents of each query; equal scores keep their order."""
    systems = dict(zip(SYSTEMS, (Weights(1.0, 0.0), Weights(0.0, 1.0), weights), strict=True))
    return {
        name: [[place.position for place in row] for row in search(queries, [documents], k=CUT, weights=chosen)]
        for name, chosen in systems.items()
    }


def compare(reference: Quality, found: Quality) -> SetLoss:
    """What `found` loses against `reference`, on the same set.

    Raises:
        InputError: The sets, the numbers of queries or the systems differ, or a figure is not finite.
    """
    one, other = (
        f"{each.name} {each.sha256[:12]}… of {each.queries} queries and {each.documents} documents"
        for each in (reference, found)
    )
    if (reference.sha256, reference.queries, reference.documents) != (found.sha256, found.queries, found.documents):
        raise InputError(f"qualities of different sets do not compare: {one}, {other}")
    if list(reference.ndcg) != list(found.ndcg):
        raise InputError(f"the systems differ: {', '.join(reference.ndcg)} and {', '.join(found.ndcg)}")
    losses = {name: _loss(reference.ndcg[name], found.ndcg[name], name) for name in reference.ndcg}
    return SetLoss(reference.name, reference.sha256, reference.queries, reference.documents, losses)


def _loss(reference: NDArray[np.float64], found: NDArray[np.float64], system: str) -> Loss:
    if reference.shape != found.shape or not reference.size:
        raise InputError(f"{system} has nDCG of {reference.size} and {found.size} queries, needs the same, at least 1")
    differences = found - reference
    if not np.isfinite(differences).all():
        raise InputError(f"{system} has an nDCG that is not finite")
    low, high = paired_bootstrap(differences)
    return Loss(float(reference.mean()), float(found.mean()), float(differences.mean()), low, high)


def agreement(
    reference: tuple[Embeddings, Embeddings], found: tuple[Embeddings, Embeddings], weights: Weights
) -> Agreement:
    """Compare the hybrid scores of two encoders, every query with every document.

    Scores count to 5 digits. A tie for the reference's best counts as the same where the found best is among the tied;
    of a tie among the found the first is the best, as in a search. Pairs that tie in the reference are left out, and
    `pairs` is 1 if no other is there. The time grows with the square of the documents.

    Args:
        reference: Queries and documents.
        found: The same queries and documents, by the other encoder; the dims may be others.
        weights: Of the hybrid.

    Raises:
        InputError: The numbers differ or are 0, or a vector or score is not finite.
    """
    count, total = len(reference[0]), len(reference[1])
    if (len(found[0]), len(found[1])) != (count, total) or not count or not total:
        raise InputError(
            f"the reference has {count} queries and {total} documents, the other {len(found[0])} and {len(found[1])}: "
            "they must be the same, at least one of each"
        )
    for side in (*reference, *found):
        _check_finite(side, "embeddings")
    first = ordered = same = 0
    squares = 0.0
    block = max(1, _CELLS // total)
    for start in range(0, count, block):
        rows = range(start, min(start + block, count))
        wanted, given = _hybrid(reference, rows, weights), _hybrid(found, rows, weights)
        shift = given - wanted
        squares += float(((shift - shift.mean(axis=1, keepdims=True)) ** 2).sum())
        for one, other in zip(wanted.round(_DIGITS), given.round(_DIGITS), strict=True):
            first += bool(one[other.argmax()] == one.max())
            in_order, alike = _pairs(one, other)
            ordered, same = ordered + in_order, same + alike
    return Agreement(first / count, same / ordered if ordered else 1.0, float(np.sqrt(squares / (count * total))))


def _hybrid(pair: tuple[Embeddings, Embeddings], rows: Sequence[int], weights: Weights) -> NDArray[np.float64]:
    queries = pair[0] if len(rows) == len(pair[0]) else pair[0].take(rows)
    return score(queries, pair[1], pooled=weights.pooled, late=weights.late).astype(np.float64)


def _pairs(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[int, int]:
    """Pairs that `one` has in an order, and those of them that `other` has in the same one; ``[documents]`` each."""
    ordered = same = 0
    block = max(1, _CELLS // len(one))
    for start in range(0, len(one), block):
        rows = slice(start, start + block)
        above = one[rows, None] < one  # each pair once: from its lower document
        ordered += int(np.count_nonzero(above))
        above &= other[rows, None] < other
        same += int(np.count_nonzero(above))
    return ordered, same


def cosines(reference: NDArray[np.floating[Any]], found: NDArray[np.floating[Any]]) -> Cosines:
    """Compare vectors row by row, in float64; two rows of zeros count as 1, one as 0.

    Args:
        reference: ``[n, d]``.
        found: ``[n, d]``.

    Raises:
        InputError: The shapes differ or are empty, or something is not finite.
    """
    if reference.ndim != 2 or reference.shape != found.shape or not reference.size:
        raise InputError(
            f"vectors to compare must be [n, d] each and not empty, got {list(reference.shape)} and {list(found.shape)}"
        )
    block = max(1, (_CELLS >> 4) // reference.shape[1])  # the float64 copies stay small
    values = np.concatenate(
        [_row_cosines(reference[i : i + block], found[i : i + block]) for i in range(0, len(reference), block)]
    )
    if not np.isfinite(values).all():
        raise InputError(f"row {np.flatnonzero(~np.isfinite(values))[0]} of the vectors to compare is not finite")
    return Cosines(float(values.mean()), float(np.percentile(values, 1)), float(values.min()))


def _row_cosines(reference: NDArray[np.floating[Any]], found: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    one, other = reference.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore"):  # infinity becomes NaN, which the caller refuses
        products = np.einsum("nd,nd->n", one, other)
        # A row of zeros makes the product 0, whatever it is divided by.
        values = products / np.where(lengths[0], lengths[0], 1.0) / np.where(lengths[1], lengths[1], 1.0)
    return np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, values.clip(-1.0, 1.0))


def _check_finite(given: Embeddings, name: str) -> None:
    for values in (given.pooled, given.tokens.values):
        # Extremes hold NaN where there is one, and need no array of the size of the values.
        if not np.isfinite([values.min(initial=0.0), values.max(initial=0.0)]).all():
            raise InputError(f"the {name} vectors hold NaN or infinity")


def set_sha256(data: RetrievalSet) -> str:
    """Of what decides a measurement: the texts in order and the judgements; not ids, name or metadata."""
    judged = [sorted([position, float(gain)] for position, gain in gains.items()) for gains in data.gains]
    texts = [[record.text for record in records] for records in (data.documents, data.queries)]
    return hashlib.sha256(json.dumps([*texts, judged], separators=(",", ":")).encode()).hexdigest()
