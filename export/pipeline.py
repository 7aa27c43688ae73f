"""From a checkpoint to a bundle, in steps that leave nothing behind when one of them fails."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

import smartrt
from smartrt import strict_json
from smartrt.bundle import MANIFEST_NAME, Bundle, sha256_of
from smartrt.encoder import Encoder
from smartrt.files import new_directory
from smartrt.manifest import (
    FORMAT_VERSION,
    Dims,
    FileEntry,
    LateMask,
    Manifest,
    Prompts,
    Scoring,
    Source,
    Verified,
)
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference

from .defaults import OPSET, TOLERANCE
from .graph import export_text_encoder
from .parity import check_parity
from .tokenizer import write_tokenizer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any

    from smartrt.models.recipe import Pooling

_LIBRARIES = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "tokenizers")
_UNVERIFIED = Verified("nothing yet", 0.0, 0, 0.0, 0.0, 0.0, 0.0, "")


def export(
    source: str,
    output: str | os.PathLike[str],
    *,
    revision: str | None = None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    report: Callable[[str], None] = lambda _: None,
    **overrides: Any,
) -> Bundle:
    """Export a text encoder to a bundle and check it against PyTorch.

    Args:
        source: A checkpoint directory, a hub id ``ORG/NAME``, or ``minilm``.
        output: The bundle directory to make; it must not exist.
        revision: Branch, tag or commit of a hub id.
        opset: ONNX opset of the graph.
        tolerance: Largest absolute difference from PyTorch that is accepted.
        report: Called with a sentence at the start of each step.
        overrides: Fields of `models.recipe.Recipe` that replace what the checkpoint's files say.

    Returns:
        The bundle, opened and verified.

    Raises:
        ExportError: The checkpoint cannot be exported; nothing is left at `output`.
        ParityError: The graph disagrees with PyTorch; nothing is left at `output`.
        StorageError: `output` exists, or the disk refuses.
    """
    destination = Path(output)
    with new_directory(destination) as directory:  # first: it refuses a destination that exists
        report(f"loading {source}")
        checkpoint = Checkpoint.resolve(source, revision)
        reference = Reference.load(checkpoint, Recipe.read(checkpoint.path).override(**overrides))
        report(f"tracing {reference.encoder.config.model_type}, opset {opset}")
        manifest = _write_files(directory, destination.name.removesuffix(".smartrt"), checkpoint, reference, opset)
        report("comparing with PyTorch")
        verified = _verify(Bundle(directory, manifest), reference, tolerance)
        manifest = dataclasses.replace(manifest, verified=verified)
        (directory / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
    return Bundle.open(destination)


def compare(bundle: Bundle, source: str, revision: str | None = None, tolerance: float = TOLERANCE) -> Verified:
    """Check an existing bundle against the checkpoint it came from, with the bundle's own recipe.

    Raises:
        ParityError: The two disagree.
    """
    manifest = bundle.manifest
    checkpoint = Checkpoint.resolve(source, revision)
    if checkpoint.weights_sha256() != manifest.source.weights_sha256:
        raise smartrt.errors.ParityError(f"{checkpoint.path} does not hold the weights that {bundle.path} came from")
    recipe = Recipe.read(checkpoint.path).override(
        pooling=manifest.pooling,
        normalize=manifest.normalized,
        max_length=manifest.tokenizer.max_length,
        query_prompt=manifest.prompts.query,
        document_prompt=manifest.prompts.document,
    )
    return _verify(bundle, Reference.load(checkpoint, recipe), tolerance)


def _write_files(directory: Path, name: str, checkpoint: Checkpoint, reference: Reference, opset: int) -> Manifest:
    config, recipe = reference.encoder.config, reference.recipe
    tokenizer = write_tokenizer(reference, directory)
    graph = export_text_encoder(reference.encoder, directory, opset=opset)
    hidden = config.hidden_size
    dropped = reference.dropped_ids()
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        family="text-encoder",
        modalities=("text",),
        source=Source(checkpoint.name, checkpoint.revision, config.model_type, checkpoint.weights_sha256()),
        exporter={"smartrt": smartrt.__version__} | {name: metadata.version(name) for name in _LIBRARIES},
        opset=opset,
        precision="fp32",
        graphs={"encoder": graph},
        files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(directory.iterdir())},
        tokenizer=tokenizer,
        prompts=Prompts(recipe.query_prompt, recipe.document_prompt),
        pooling=cast("Pooling", recipe.pooling),  # Reference.load refused None
        pooled_token_id=_pooled_token(recipe.pooling, tokenizer.probe_ids, dropped),
        normalized=recipe.normalize,
        dims=Dims(hidden, hidden),
        token_layer=config.num_hidden_layers,
        adapter=None,
        late_mask=LateMask(dropped, dropped),
        scoring=Scoring(1.0, 1.0, "mean"),
        verified=_UNVERIFIED,
    )


def _pooled_token(pooling: Pooling | None, ids: tuple[int, ...], special: tuple[int, ...]) -> int | None:
    """The special token that the template puts where the pooling reads, if it puts one there."""
    token = {"cls": ids[0], "last": ids[-1]}.get(pooling or "")
    return token if token in special else None


def _verify(bundle: Bundle, reference: Reference, tolerance: float) -> Verified:
    with Encoder.from_bundle(bundle) as encoder:
        return check_parity(encoder, reference, tolerance)
