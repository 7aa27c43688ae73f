"""Retrieval sets, measured with the PyTorch reference and with a bundle: the price of a precision."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import ExportError, TruncationWarning
from smartrt.evaluation.quality import compare, measure
from smartrt.fusion import Weights
from smartrt.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartrt.encoder import Encoder
    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.evaluation.quality import Quality
    from smartrt.manifest import Side
    from smartrt.price import SetLoss

    from .build import Bar

_HYBRID = Weights(1.0, 1.0)  # what `Builder` writes as a bundle's scoring
BATCH = 16


def of_reference(reference: Any, sets: Sequence[RetrievalSet], bar: Bar) -> list[Quality]:
    """What PyTorch finds on each set."""
    encode = functools.partial(in_batches, reference)
    return [_measured(encode, data, bar, f"{data.name} in PyTorch") for data in sets]


def of_bundle(encoder: Encoder, sets: Sequence[RetrievalSet], bar: Bar) -> list[Quality]:
    """What a bundle finds on each set."""
    return [_measured(functools.partial(streamed, encoder), data, bar, data.name) for data in sets]


def losses(truths: Sequence[Quality], found: Sequence[Quality]) -> tuple[SetLoss, ...]:
    """Set by set, what the bundle loses."""
    return tuple(compare(*pair) for pair in zip(truths, found, strict=True))


def worst_loss(measured: Sequence[SetLoss]) -> float:
    """The largest loss of nDCG@10 of the hybrid over the sets; below 0 if it gains on all."""
    return max(-entry.losses["hybrid"].difference for entry in measured)


def check_loss(measured: Sequence[SetLoss], limit: float | None) -> None:
    """Compare with what was allowed.

    Raises:
        ExportError: The hybrid loses more on a set.
    """
    for entry in measured:
        loss = entry.losses["hybrid"]
        if limit is not None and -loss.difference > limit:
            raise ExportError(
                f"the hybrid loses {-loss.difference:.4f} nDCG@10 on {entry.name} ({loss.reference:.4f} to "
                f"{loss.found:.4f}, 95 % interval {-loss.high:+.4f} to {-loss.low:+.4f}), more than {limit:g} was "
                "allowed; nothing was written. Choose a wider precision, --precision auto, or a larger --max-loss"
            )


def _measured(
    make: Callable[[Callable[[int], None]], Callable[[Sequence[str], Side], Embeddings]],
    data: RetrievalSet,
    bar: Bar,
    label: str,
) -> Quality:
    with bar(label, len(data.queries) + len(data.documents)) as shown, warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # a retrieval set has long documents; both sides cut them
        return measure(make(shown.advance), data, _HYBRID)


def in_batches(reference: Any, advance: Callable[[int], None]) -> Callable[[Sequence[str], Side], Embeddings]:
    """Encode with PyTorch, texts of like length together, `BATCH` at a time."""

    def encode(texts: Sequence[str], side: Side) -> Embeddings:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            parts.append(reference.encode([texts[i] for i in rows], side))
            advance(len(rows))
        return Embeddings.concatenate(parts).take(np.argsort(order).tolist())

    return encode


def streamed(encoder: Encoder, advance: Callable[[int], None]) -> Callable[[Sequence[str], Side], Embeddings]:
    """Encode with a bundle, a window at a time."""

    def encode(texts: Sequence[str], side: Side) -> Embeddings:
        parts = []
        for part in encoder.embed(texts, side=side, allow_empty=True):
            parts.append(part)
            advance(len(part))
        return Embeddings.concatenate(parts)

    return encode
