"""What an encoder decides on the set: pooled, late and hybrid, pair by pair."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from smartrt.errors import InputError
from smartrt.evaluation.quality import SYSTEMS
from smartrt.fusion import Weights, score

from .content import Content, Digest, describe
from .scoring import INTERVAL, TIES, Accuracy, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from smartrt.bundle import Bundle
    from smartrt.items import Item
    from smartrt.types import Embeddings

    from .bindings import Toy
    from .content import Modality


class Encodes(Protocol):
    """The part of `smartrt.Encoder` that is needed: anything that encodes can be measured."""

    def encode_query(self, items: Sequence[Item], /) -> Embeddings:
        """One row per query."""

    def encode_document(self, items: Sequence[Item], /) -> Embeddings:
        """One row per page."""


def check(bundle: Bundle, toy: Toy, modality: Modality) -> None:
    """Refuse what cannot be measured, before anything is encoded.

    Raises:
        InputError: The bundle takes no images, or the set has fewer than 2 pairs.
    """
    takes = bundle.manifest.modalities
    if modality not in takes:
        raise InputError(f"{bundle.path} takes {' and '.join(takes)}, no {modality}: measure it with --modality text")
    _check_pairs(toy)


def measure(
    encoder: Encodes,
    toy: Toy,
    modality: Modality,
    weights: Weights,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Let an encoder decide, for every panel of every positive page, which page of the pair has its binding.

    Args:
        encoder: Gets the 2 pages and the 25 queries of a pair at a time: no more pages than these are held.
        toy: The set, of at least 2 pairs.
        modality: ``text`` for the text twin, ``image`` for the drawn pages.
        weights: Of the hybrid: the bundle's own, for a figure that others can repeat.
        advance: Called with 1 for each pair that is done.

    Returns:
        JSON-ready: `content.describe`, how many pages and queries were cut off and not seen whole, and the fields of
        `Accuracy` by system.

    Raises:
        InputError: The set has fewer than 2 pairs, or the encoder returned another number of rows, NaN or infinity.
    """
    _check_pairs(toy)
    systems = dict(zip(SYSTEMS, (Weights(1.0, 0.0), Weights(0.0, 1.0), weights), strict=True))
    outcomes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in systems}
    shown, cut_pages, cut_queries = Digest(), 0, 0
    for pair in toy.pairs:
        content = Content.of(pair, modality)
        shown.add(content)
        pages = _checked(encoder.encode_document(content.pages), len(content.pages), "pages")
        queries = _checked(encoder.encode_query(content.queries), len(content.queries), "queries")
        for name, chosen in systems.items():
            scores = score(queries, pages, pooled=chosen.pooled, late=chosen.late)
            outcomes[name].append(decide(scores, chosen))
        cut_pages += int((pages.truncated > 0).sum())
        cut_queries += int((queries.truncated > 0).sum())
        advance(1)
    return describe(toy, modality, shown) | {
        "truncated_pages": cut_pages,
        "truncated_queries": cut_queries,
        "weights": {"pooled": weights.pooled, "late": weights.late},
        "systems": {name: asdict(Accuracy.of(np.stack(rows))) for name, rows in outcomes.items()},
        "interval": INTERVAL,
        "ties": TIES,
    }


def _check_pairs(toy: Toy) -> None:
    if len(toy.pairs) < 2:
        raise InputError(f"the set has {len(toy.pairs)} pair: an interval over pairs needs at least 2")


def _checked(found: Embeddings, count: int, name: str) -> Embeddings:
    if len(found) != count:
        raise InputError(f"{count} {name} were encoded, {len(found)} rows came back")
    return found
