"""The bundle against the PyTorch reference, through the whole runtime."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from smartrt.backbones.qwen_vl import QwenVLBackbone
from smartrt.errors import ParityError, TruncationWarning
from smartrt.evaluation.quality import agreement, cosines
from smartrt.fusion import Weights, score
from smartrt.items import parse_item
from smartrt.manifest import Side
from smartrt.price import Verified
from smartrt.types import Embeddings

from .defaults import TOLERANCE
from .graph_parity import check_graphs, patches_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartrt.encoder import Encoder
    from smartrt.manifest import Images

    from .truth import Truth


def check_parity(encoder: Encoder, truth: Truth, tolerance: float | None = TOLERANCE, least: float = 0.0) -> Verified:
    """Compare `encoder` with `truth`: each item alone, and all of them in padded batches.

    For Qwen-VL, ids, late masks, positions and pixels must be equal before any vector is compared, and each
    graph is compared by itself as well.

    Args:
        encoder: Of the bundle.
        truth: What PyTorch says.
        tolerance: The largest difference; None for a precision that is meant to differ.
        least: The least mean cosine of token vectors.

    Raises:
        ParityError: Something that must be equal is not, or differs by more than it may.
    """
    worst = 0.0
    batched: dict[Side, Embeddings] = {}
    _check_inputs(encoder, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one of the texts is too long on purpose
        for side in get_args(Side):
            items, expected = truth.items[side], truth.embeddings[side]
            encode = encoder.encode_query if side == "query" else encoder.encode_document
            batched[side] = encode(items)
            worst = max(worst, _compare(expected, batched[side], items))
            worst = max(worst, _compare(expected, _one_by_one(encode, items), items))
    graphs = {"encoder": worst}
    if isinstance(encoder.backbone, QwenVLBackbone):
        graphs = check_graphs(encoder.backbone, cast("Images", encoder.bundle.manifest.images), truth.traces)
    largest = max(worst, *graphs.values())
    if tolerance is not None and not largest <= tolerance:
        raise ParityError(f"the graphs differ from PyTorch by {largest:.2e}, more than {tolerance:.0e} ({graphs})")
    verified = _verified(truth, batched, worst, graphs, tolerance)
    if not verified.token.mean >= least:
        raise ParityError(
            f"token vectors have a mean cosine of {verified.token.mean:.3f} with PyTorch's, below {least:g}: this "
            f"precision ruins the model ({graphs})"
        )
    return verified


def _verified(
    truth: Truth, batched: dict[Side, Embeddings], worst: float, graphs: dict[str, float], tolerance: float | None
) -> Verified:
    pairs = (
        (truth.embeddings["query"], truth.embeddings["document"]),
        (batched["query"], batched["document"]),
    )
    expected, found = (Embeddings.concatenate(pair) for pair in pairs)
    return Verified(
        against=truth.against,
        tolerance=tolerance,
        items=len(expected),
        max_abs=worst,
        pooled=cosines(expected.pooled, found.pooled),
        token=cosines(expected.tokens.values, found.tokens.values),
        agreement=agreement(*pairs, Weights(1.0, 1.0)),
        ranking_agreement=_ranking_agreement(*pairs),
        graphs=graphs,
        inputs_sha256=truth.sha256(),
        sets=(),
    )


def _check_inputs(encoder: Encoder, truth: Truth) -> None:
    """Ids, masks, positions, pixels and the pooled place of every traced item, which must be equal."""
    backbone = encoder.backbone
    if not isinstance(backbone, QwenVLBackbone):
        return
    images = cast("Images", encoder.bundle.manifest.images)
    for side, item, trace in truth.traces:
        parsed = parse_item(item, str(item)[:60], encoder.bundle.manifest.modalities, allow_empty=True)
        (prepared,) = backbone.prepare([parsed], side, "bundle")
        pixels = patches_of(trace, images)
        pairs: dict[str, tuple[Any, Any]] = {
            "ids": (trace.input_ids, prepared.ids),
            "late masks": (trace.keep, prepared.keep),
            "positions": (trace.position_ids, backbone.positions([prepared], len(prepared.ids))[:, 0]),
            "pooled places": (trace.pooled_at, prepared.pooled_at),
            "numbers of images": (len(pixels), len(prepared.images)),
        }
        for number, (mine, theirs) in enumerate(zip(prepared.images, pixels, strict=False), start=1):
            pairs[f"pixels of image {number}"] = (theirs.values, mine.values)
        for what, (expected, found) in pairs.items():
            if not np.array_equal(expected, found):
                raise ParityError(f"{side} {parsed.where!r}: the {what} differ from the published wrapper's")


def _one_by_one(encode: Callable[[Any], Embeddings], items: Sequence[Any]) -> Embeddings:
    return Embeddings.concatenate([encode([item]) for item in items])


def _compare(truth: Embeddings, result: Embeddings, items: Sequence[Any]) -> float:
    differ = np.flatnonzero(truth.tokens.lengths != result.tokens.lengths)
    if len(differ):
        i = int(differ[0])
        raise ParityError(
            f"{str(items[i])[:40]!r} has {truth.tokens.lengths[i]} tokens in PyTorch and {result.tokens.lengths[i]} in "
            "the bundle: the tokenizers disagree"
        )
    return max(
        float(np.abs(truth.pooled - result.pooled).max()),
        float(np.abs(truth.tokens.values - result.tokens.values).max()),
    )


def _ranking_agreement(truths: tuple[Embeddings, Embeddings], results: tuple[Embeddings, Embeddings]) -> float:
    """Share of queries whose documents stand in the same order, scores rounded so that ties stay ties."""
    orders = [np.argsort(-score(*pair).round(5), axis=1, kind="stable") for pair in (truths, results)]
    return float((orders[0] == orders[1]).all(axis=1).mean())
