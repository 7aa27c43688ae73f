"""From a checkpoint to a bundle, in steps that leave nothing behind when one of them fails."""

from __future__ import annotations

import dataclasses
import gc
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smartrt
from smartrt import strict_json
from smartrt.bundle import MANIFEST_NAME, Bundle, sha256_of
from smartrt.encoder import Encoder
from smartrt.errors import ExportError, OptionError, ParityError
from smartrt.files import new_directory
from smartrt.manifest import FORMAT_VERSION, FileEntry, Manifest, Scoring, Source, Verified
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.load import FAMILIES
from smartrt.models.reference import load_config

from . import qwen_vl_family, text_family
from .defaults import OPSET, TOLERANCE
from .parity import check_parity
from .truth import Truth

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_LIBRARIES = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "tokenizers")
_UNVERIFIED = Verified("nothing yet", 0.0, 0, 0.0, 0.0, 0.0, 0.0, {}, "")


def export(
    source: str,
    output: str | os.PathLike[str],
    *,
    revision: str | None = None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    layer: int | None = None,
    adapter: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Bundle:
    """Export a checkpoint to a bundle and check it against PyTorch.

    Args:
        source: A checkpoint directory, a hub id ``ORG/NAME``, or ``minilm``.
        output: The bundle directory to make; it must not exist.
        revision: Branch, tag or commit of a hub id.
        opset: ONNX opset of the graphs.
        tolerance: Largest difference from PyTorch that is accepted.
        layer: The layer that token states come from, 1 being the first; the last if None.
        adapter: SMART's `adapter.pt`, which token states pass through.
        report: Called with a sentence at the start of each step.
        options: What replaces the checkpoint's own recipe; the family's module lists its names (`OPTIONS`).

    Returns:
        The bundle, opened and verified.

    Raises:
        ExportError: The checkpoint cannot be exported; nothing is left at `output`.
        OptionError: An option does not belong to the checkpoint's family.
        ParityError: A graph disagrees with PyTorch; nothing is left at `output`.
        StorageError: `output` exists, or the disk refuses.
    """
    destination = Path(output)
    with new_directory(destination) as directory:  # first: it refuses a destination that exists
        report(f"loading {source}")
        checkpoint = Checkpoint.resolve(source, revision)
        family, given = _family(checkpoint, options)
        reference = family.load(checkpoint, given, layer, adapter)
        if preset := getattr(reference, "preset_name", None):
            report(f"as {preset}")
        report("running PyTorch")
        truth = Truth.of(reference)
        report(f"tracing, opset {opset}")
        manifest = _write_files(directory, destination.name.removesuffix(".smartrt"), checkpoint, reference, opset)
        del reference  # the weights: the graph's are about to be loaded
        gc.collect()
        report("comparing with PyTorch")
        verified = _verify(Bundle(directory, manifest), truth, tolerance)
        manifest = dataclasses.replace(manifest, verified=verified)
        (directory / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
    return Bundle.open(destination)


def compare(
    bundle: Bundle,
    source: str,
    revision: str | None = None,
    tolerance: float = TOLERANCE,
    adapter: str | None = None,
) -> Verified:
    """Check an existing bundle against the checkpoint it came from, with the bundle's own recipe.

    Raises:
        ParityError: The two disagree.
    """
    manifest = bundle.manifest
    checkpoint = Checkpoint.resolve(source, revision)
    if checkpoint.weights_sha256() != manifest.source.weights_sha256:
        raise ParityError(f"{checkpoint.path} does not hold the weights that {bundle.path} came from")
    used = manifest.adapter
    if adapter and not Path(adapter).is_file():
        raise ParityError(f"there is no adapter file {adapter!r}")
    if (used.sha256 if used else None) != (sha256_of(Path(adapter)) if adapter else None):
        raise ParityError(
            f"{bundle.path} was exported with another adapter than {adapter}: give its file with --adapter"
        )
    family, _ = _family(checkpoint, {})
    layer = None if adapter else manifest.token_layers[0]
    truth = Truth.of(family.load(checkpoint, family.options_of(manifest), layer, adapter))
    gc.collect()
    return _verify(bundle, truth, tolerance)


def _family(checkpoint: Checkpoint, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The module of the checkpoint's family, and the options that were given."""
    config = load_config(checkpoint)
    vision_language = config.model_type in FAMILIES
    if hasattr(config, "vision_config") and not vision_language:
        raise ExportError(
            f"{checkpoint.name} is a {config.model_type!r}, which takes images in a way smartrt does not export; it "
            f"does: {', '.join(sorted(FAMILIES))}"
        )
    family = qwen_vl_family if vision_language else text_family
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in family.OPTIONS:
            kind = "a Qwen-VL" if vision_language else "a text encoder"
            raise OptionError(
                f"{name} is no option of {kind} like {checkpoint.name}; it has: {', '.join(family.OPTIONS)}"
            )
    return family, given


def _write_files(directory: Path, name: str, checkpoint: Checkpoint, reference: Any, opset: int) -> Manifest:
    family = qwen_vl_family if hasattr(reference, "preset") else text_family
    config = load_config(checkpoint)
    parts = family.write(directory, checkpoint, reference, opset)
    preset = getattr(reference, "preset_name", None)
    weights = checkpoint.weights_sha256()
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        source=Source(checkpoint.name, checkpoint.revision, config.model_type, preset, weights),
        exporter={"smartrt": smartrt.__version__} | {name: metadata.version(name) for name in _LIBRARIES},
        opset=opset,
        precision="fp32",
        files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(directory.iterdir())},
        token_layers=reference.head.layers,
        adapter=reference.head.adapter,
        scoring=Scoring(1.0, 1.0, "mean"),
        verified=_UNVERIFIED,
        **parts,
    )


def _verify(bundle: Bundle, truth: Truth, tolerance: float) -> Verified:
    if problem := next(bundle.manifest.problems(), None):
        raise ParityError(f"the manifest contradicts itself: {problem}")
    with Encoder.from_bundle(bundle) as encoder:
        return check_parity(encoder, truth, tolerance)
