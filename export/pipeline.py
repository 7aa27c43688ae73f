"""From a checkpoint to a bundle, in steps that leave nothing behind when one of them fails."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.bundle import MANIFEST_NAME, Bundle, sha256_of
from smartrt.encoder import Encoder
from smartrt.errors import ExportError, OptionError, ParityError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.files import new_directory
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.load import FAMILIES
from smartrt.models.reference import load_config

from . import measure, qwen_vl_family, search, text_family
from .build import Builder
from .calibration import CalibrationItems
from .defaults import OPSET, TOLERANCE
from .parity import check_parity
from .precision.scheme import PRECISIONS
from .truth import Truth
from .wanted import AUTO, Wanted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from smartrt.evaluation.quality import Quality
    from smartrt.manifest import Dialect
    from smartrt.price import Verified

    from .build import Bar, Built
    from .precision.scheme import Scheme


PORTABLE_OPSET = 21
"""The newest of the dialect `portable`; the precisions `w8` and `int4` need it."""

OPSETS = (9, 23)
"""What the exporters of PyTorch 2.13 write, TorchScript's from 9 on; beyond, they print the whole graph and fail."""

_LARGE = 1 << 30  # bytes of a bundle


def silent(_: str, __: int) -> contextlib.AbstractContextManager[Any]:
    """A progress bar that nobody sees."""
    return contextlib.nullcontext(_Silent())


class _Silent:
    def advance(self, _: int) -> None:
        """Say nothing."""


def export(
    source: str,
    output: str | os.PathLike[str],
    *,
    wanted: Wanted = Wanted(),  # noqa: B008  (frozen)
    revision: str | None = None,
    opset: int = OPSET,
    dialect: Dialect = "portable",
    tolerance: float = TOLERANCE,
    layer: int | None = None,
    adapter: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    bar: Bar = silent,
    **options: Any,
) -> Bundle:
    """Export a checkpoint to a bundle and check it against PyTorch.

    Args:
        source: A checkpoint directory, a hub id ``ORG/NAME``, or ``minilm``.
        output: The bundle directory to make; it must not exist.
        wanted: The precision.
        revision: Branch, tag or commit of a hub id.
        opset: ONNX opset of the traced graphs, raised where a precision or the dialect needs a newer one; 21 at most
            in the dialect ``portable``.
        dialect: ``portable`` for every engine, or ``fused`` for engines that know ONNX's own attention (opset 23).
        tolerance: Largest difference from PyTorch that is accepted of fp32.
        layer: The layer that token states come from, 1 being the first; the last if None.
        adapter: SMART's `adapter.pt`, which token states pass through.
        report: Called with a sentence at the start of each step.
        bar: Makes a progress bar of a label and a total.
        options: What replaces the checkpoint's own recipe; the family's module lists its names (`OPTIONS`).

    Returns:
        The bundle, opened and verified.

    Raises:
        ExportError: The checkpoint cannot be exported, or a precision costs more than allowed; nothing is left
            at `output`.
        InputError: A retrieval set or calibration file cannot be used.
        OptionError: An option does not belong to the checkpoint's family, the precision or the dialect.
        ParityError: A graph disagrees with PyTorch; nothing is left at `output`.
        StorageError: `output` exists, or the disk refuses.
    """
    _check_opset(opset, dialect)
    destination = Path(output)
    scheme = None if wanted.precision == AUTO else wanted.scheme()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(new_directory(destination))  # first: it refuses a destination that exists
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".scratch.", dir=directory)))
        sets = wanted.sets()
        report(f"loading {source}")
        checkpoint = Checkpoint.resolve(source, revision)
        family, given = _family(checkpoint, options)
        reference = family.load(checkpoint, given, layer, adapter)
        if preset := getattr(reference, "preset_name", None):
            report(f"as {preset}")
        measured = scheme is None or scheme.calibrated
        items = _calibration(wanted, reference) if measured else CalibrationItems((), "nothing")
        report("running PyTorch")
        truth, truths = Truth.of(reference), measure.of_reference(reference, sets, bar)
        builder = Builder(checkpoint, family, reference, items, scratch, opset, dialect, bar, report)
        name, keep = destination.name.removesuffix(".smartrt"), wanted.keep
        if scheme is None:
            trial = _search(wanted, builder, name, sets, truths, scratch, report, bar)
            scheme, keep = trial.scheme, trial.keep
        manifest = builder.build(directory, name, scheme, keep).manifest
        del reference, builder  # the weights: the graph's are about to be loaded
        gc.collect()
        report("comparing with PyTorch")
        verified = _verify(Bundle(directory, manifest), truth, scheme, tolerance)
        if sets:
            bundle = Bundle(directory, manifest)
            with Encoder.from_bundle(bundle, **_frugal(bundle)) as encoder:
                found = measure.of_bundle(encoder, sets, bar)
            verified = dataclasses.replace(verified, sets=measure.losses(truths, found))
            measure.check_loss(verified.sets, wanted.max_loss)
        manifest = dataclasses.replace(manifest, verified=verified)
        (directory / MANIFEST_NAME).write_text(strict_json.dumps(manifest), encoding="utf-8")
    return Bundle.open(destination)


def _check_opset(opset: int, dialect: Dialect) -> None:
    least, most = OPSETS
    if not least <= opset <= most:
        raise OptionError(f"--opset {opset}: PyTorch writes graphs of opset {least} to {most}")
    if dialect == "portable" and opset > PORTABLE_OPSET:
        raise OptionError(
            f"--opset {opset} is not portable, which is opset {PORTABLE_OPSET} at most: leave --opset out, or give "
            "--dialect fused"
        )


def compare(
    bundle: Bundle,
    source: str,
    revision: str | None = None,
    tolerance: float = TOLERANCE,
    adapter: str | None = None,
    data: Sequence[Path] = (),
    bar: Bar = silent,
) -> Verified:
    """Check an existing bundle against the checkpoint it came from, with the bundle's own recipe.

    Args:
        bundle: The bundle.
        source: The checkpoint.
        revision: Of a hub id.
        tolerance: Largest difference accepted of fp32.
        adapter: The adapter it was exported with.
        data: Directories of retrieval sets to measure both on.
        bar: Makes a progress bar.

    Raises:
        ParityError: The two disagree.
    """
    manifest = bundle.manifest
    sets = [RetrievalSet.read(directory) for directory in data]
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
    reference = family.load(checkpoint, family.options_of(manifest), layer, adapter)
    truth, truths = Truth.of(reference), measure.of_reference(reference, sets, bar)
    del reference
    gc.collect()
    verified = _verify(bundle, truth, PRECISIONS[manifest.precision.name], tolerance)
    if not sets:
        return verified
    with Encoder.from_bundle(bundle) as encoder:
        return dataclasses.replace(verified, sets=measure.losses(truths, measure.of_bundle(encoder, sets, bar)))


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


def _calibration(wanted: Wanted, reference: Any) -> CalibrationItems:
    preset = getattr(reference, "preset", None)
    if wanted.calibrate:
        return CalibrationItems.read(wanted.calibrate, ("text", "image") if preset else ("text",))
    return CalibrationItems.shipped(max_images=preset.max_images if preset else None, pictures=preset is not None)


def _search(
    wanted: Wanted,
    builder: Builder,
    name: str,
    sets: Sequence[RetrievalSet],
    truths: Sequence[Quality],
    scratch: Path,
    report: Callable[[str], None],
    bar: Bar,
) -> search.Trial:
    def loss_of(directory: Path, built: Built) -> float:
        with Encoder.from_bundle(Bundle(directory, built.manifest)) as encoder:
            return measure.worst_loss(measure.losses(truths, measure.of_bundle(encoder, sets, bar)))

    limit = wanted.max_loss or 0.0
    return search.find(
        wanted.goal or "size",
        limit,
        lambda path, scheme, keep: builder.build(path, name, scheme, keep),
        loss_of,
        scratch,
        report,
    )


def _frugal(bundle: Bundle) -> dict[str, Any]:
    """Engine options: a large bundle is run slowly rather than with a second copy of its weights in memory."""
    large = sum(entry.bytes for entry in bundle.manifest.files.values()) > _LARGE
    widened = bundle.manifest.precision.name == "fp16"
    return {"prepack": False, "lean": widened} if large else {}


def _verify(bundle: Bundle, truth: Truth, scheme: Scheme, tolerance: float) -> Verified:
    if problem := next(bundle.manifest.problems(), None):
        raise ParityError(f"the manifest contradicts itself: {problem}")
    with Encoder.from_bundle(bundle, **_frugal(bundle)) as encoder:
        if scheme.name == "fp32":
            return check_parity(encoder, truth, tolerance)
        return check_parity(encoder, truth, None, scheme.least_cosine)
