"""Text encoders: what of a bundle is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from smartrt.manifest import Dims, LateMask, Prompts
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference

from .onnx_config import text_encoder_config
from .precision.collect import calibrate_text
from .text_graph import trace_text_encoder
from .tokenizer import check_prompts, write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from smartrt.manifest import Manifest, Side
    from smartrt.models.checkpoint import Checkpoint
    from smartrt.models.recipe import Pooling
    from smartrt.models.statistics import InputStatistics

    from .precision.scheme import Scheme

OPTIONS = ("pooling", "normalize", "max_length", "lowercase", "query_prompt", "document_prompt")
"""What replaces the checkpoint's own recipe."""


def load(checkpoint: Checkpoint, options: dict[str, Any], layer: int | None, adapter: str | None) -> Reference:
    """The reference with the checkpoint's recipe, overridden by `options`."""
    reference = Reference.load(checkpoint, Recipe.read(checkpoint.path).override(**options), layer, adapter)
    text_encoder_config(reference.encoder.config)  # an architecture that cannot be traced need not be run first
    return reference


def options_of(manifest: Manifest) -> dict[str, Any]:
    """The options that an existing bundle was exported with."""
    prompts = cast("Prompts", manifest.prompts)
    return {
        "pooling": manifest.pooling,
        "normalize": manifest.normalized,
        "max_length": manifest.tokenizer.max_length,
        "query_prompt": prompts.query,
        "document_prompt": prompts.document,
    }


def trace(reference: Reference, scratch: Path, opset: int) -> dict[str, ir.Model]:
    """The float32 graph `encoder`."""
    return {"encoder": trace_text_encoder(reference.encoder, scratch, opset)}


def calibrate(
    reference: Reference, items: Sequence[tuple[Side, Any]], *, moments: bool
) -> Iterator[tuple[str, str, InputStatistics]]:
    """Graph, module and statistics of its inputs, in the order of the modules."""
    texts = [(side, item if isinstance(item, str) else item["text"]) for side, item in items]
    for path, statistics in calibrate_text(reference, texts, moments=moments):
        yield "encoder", path, statistics


def write(directory: Path, reference: Reference, scheme: Scheme) -> dict[str, Any]:  # noqa: ARG001  (one signature for all families)
    """Write the tokenizer; return the manifest's keys that are this family's, but for the graphs."""
    config, recipe = reference.encoder.config, reference.recipe
    check_prompts(reference.tokenizer, recipe.query_prompt, recipe.document_prompt)
    tokenizer = write_tokenizer(
        reference.tokenizer,
        directory,
        vocab_size=config.vocab_size,
        max_length=cast("int", recipe.max_length),  # Reference.load filled it in
        lowercase=recipe.lowercase,
    )
    dropped = reference.dropped_ids()
    return {
        "family": "text-encoder",
        "modalities": ("text",),
        "tokenizer": tokenizer,
        "token_table": None,
        "prompts": Prompts(recipe.query_prompt, recipe.document_prompt),
        "chat": None,
        "images": None,
        "pooling": recipe.pooling,
        "pooled_token_id": _pooled_token(recipe.pooling, tokenizer.probe_ids, dropped),
        "normalized": recipe.normalize,
        "dims": Dims(config.hidden_size, reference.head.dim),
        "late_mask": LateMask(dropped, dropped, ()),
    }


def _pooled_token(pooling: Pooling | None, ids: tuple[int, ...], special: tuple[int, ...]) -> int | None:
    """The special token that the template puts where the pooling reads, if it puts one there."""
    token = {"cls": ids[0], "last": ids[-1]}.get(pooling or "")
    return token if token in special else None
