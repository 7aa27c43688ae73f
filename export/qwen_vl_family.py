"""Qwen-VL: what of a bundle is theirs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import torch

from smartrt.engines.axes import decoder_axes, vision_axes
from smartrt.errors import ExportError
from smartrt.manifest import Chat, Dims, Images, LateMask, TokenTable
from smartrt.models.qwen_vl.calibrate import calibrate
from smartrt.models.qwen_vl.load import FAMILIES, load_backbone
from smartrt.models.qwen_vl.presets import choose_preset
from smartrt.models.qwen_vl.reference import QwenVLReference
from smartrt.models.qwen_vl.skeleton import TABLE
from smartrt.models.qwen_vl.traced import traced_decoder, traced_vision
from smartrt.models.reference import load_config
from smartrt.models.token_head import TokenHead

from .graph import export_module
from .precision.tables import round_rows
from .tokenizer import write_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from smartrt.engines.axes import Axes
    from smartrt.manifest import Manifest, ResizeStage, SideTemplates
    from smartrt.models.checkpoint import Checkpoint
    from smartrt.models.qwen_vl.linear import TracedPart
    from smartrt.models.qwen_vl.load import PixelConfig
    from smartrt.models.qwen_vl.presets import Preset

    from .precision.scheme import Scheme

__all__ = ["OPTIONS", "calibrate", "load", "options_of", "trace", "write"]

OPTIONS = ("preset", "max_length", "min_pixels", "max_pixels", "query_instruction", "document_instruction")
"""What replaces a preset's own values."""

_INTEGERS = ("valid", "taps", "position_ids", "pooled_index", "visual_index")
_INPUT_TYPES = dict.fromkeys(_INTEGERS, torch.int64) | {"patches": torch.uint8}
_OUTPUTS = {"vision": ("tokens", "deepstack"), "decoder": ("pooled", "token_states")}
_TABLE, _SCALES = "token_table.bin", "token_table.scales.bin"


def load(checkpoint: Checkpoint, options: dict[str, Any], layer: int | None, adapter: str | None) -> QwenVLReference:
    """The reference of a preset, overridden by `options`."""
    config = load_config(checkpoint)
    given = {key: value for key, value in options.items() if value is not None}
    name, preset = choose_preset(FAMILIES[config.model_type], checkpoint.name, given.get("preset"))
    preset = dataclasses.replace(
        preset,
        query=_instructed(preset.query, given.get("query_instruction")),
        document=_instructed(preset.document, given.get("document_instruction")),
    )
    text = config.text_config
    head = TokenHead.choose(text.hidden_size, text.num_hidden_layers, layer, adapter)
    backbone = load_backbone(checkpoint, config)
    stages = _stages(preset, backbone.pixels, given)
    positions = text.max_position_embeddings
    max_length = given.get("max_length", min(preset.max_length, positions))
    if not 1 <= max_length <= positions:
        raise ExportError(f"max length {max_length} is outside 1 to {positions}, the model's positions")
    return QwenVLReference(backbone, name, preset, head.eval(), stages, max_length)


def options_of(manifest: Manifest) -> dict[str, Any]:
    """The options that an existing bundle was exported with."""
    chat, images = cast("Chat", manifest.chat), cast("Images", manifest.images)
    return {
        "preset": manifest.source.preset,
        "max_length": manifest.tokenizer.max_length,
        "min_pixels": images.stages[-1].min_pixels,
        "max_pixels": images.stages[-1].max_pixels,
        "query_instruction": chat.query.instruction,
        "document_instruction": chat.document.instruction,
    }


def trace(reference: QwenVLReference, scratch: Path, opset: int) -> dict[str, ir.Model]:  # noqa: ARG001  (one signature for all families)
    """The float32 graphs `vision` and `decoder`, their weights still in the checkpoint (`graph.export_module`)."""
    images, dims = _images(reference), _dims(reference)
    axes = {"vision": vision_axes(images, dims.pooled), "decoder": decoder_axes(images, dims.pooled, dims)}
    parts = {"vision": traced_vision, "decoder": traced_decoder}
    return {name: _trace(name, parts[name](reference), axes[name], opset) for name in axes}


def write(directory: Path, reference: QwenVLReference, scheme: Scheme) -> dict[str, Any]:
    """Write tokenizer and token table; return the manifest's keys that are this family's, but for the graphs."""
    backbone, preset = reference.backbone, reference.preset
    table = _write_table(directory, reference, scheme.table)
    tokenizer = write_tokenizer(
        backbone.tokenizer, directory, vocab_size=table.rows, max_length=reference.max_length, lowercase=False
    )
    visual = reference.visual_ids()
    return {
        "family": backbone.family,
        "modalities": ("text", "image"),
        "tokenizer": tokenizer,
        "token_table": table,
        "prompts": None,
        "chat": _chat(reference, preset),
        "images": _images(reference),
        "pooling": "last",
        "pooled_token_id": _pooled_token(reference),
        "normalized": True,
        "dims": _dims(reference),
        "late_mask": LateMask(reference.dropped_ids("query"), reference.dropped_ids("document"), visual),
    }


def _trace(name: str, part: TracedPart, axes: Axes, opset: int) -> ir.Model:
    example = _example(axes, _OUTPUTS[name])
    return export_module(part.module, name, example, axes, part.lazy(), opset)


def _dims(reference: QwenVLReference) -> Dims:
    return Dims(reference.backbone.config.text_config.hidden_size, reference.head.dim)


def _pooled_token(reference: QwenVLReference) -> int | None:
    """The token whose state is pooled, if it is the template's and not the user's last word."""
    rows = [reference.render({"text": text}, "query").ids[0].numpy() for text in ("pooled where?", "a different end")]
    found = {int(row[reference.pooled_at(row)]) for row in rows}
    return found.pop() if len(found) == 1 else None


def _instructed(side: SideTemplates, instruction: str | None) -> SideTemplates:
    if instruction == "" and "text" not in side.templates:
        raise ExportError("an empty default instruction: this model's prompt always has one, give a text")
    return side if instruction is None else dataclasses.replace(side, instruction=instruction)


def _stages(preset: Preset, pixels: PixelConfig, given: dict[str, Any]) -> tuple[ResizeStage, ...]:
    """The preset's stages, with the checkpoint's limits where it names none, and the given ones in the last."""
    *first, last = preset.stages
    if not last.max_pixels:
        last = dataclasses.replace(last, min_pixels=pixels.min_pixels, max_pixels=pixels.max_pixels)
    limits = {key: given[key] for key in ("min_pixels", "max_pixels") if key in given}
    last = dataclasses.replace(last, **limits)
    least = (pixels.patch_size * pixels.merge_size) ** 2
    if not 0 < last.min_pixels <= last.max_pixels or last.max_pixels < least:
        raise ExportError(
            f"min pixels {last.min_pixels} and max pixels {last.max_pixels} must rise, max from {least} (one token) up"
        )
    return (*first, last)


def _images(reference: QwenVLReference) -> Images:
    pixels, backbone = reference.backbone.pixels, reference.backbone
    vision = backbone.config.vision_config
    positions = getattr(vision, "num_position_embeddings", None)
    head_dim = getattr(vision, "embed_dim", vision.hidden_size) if backbone.family == "qwen2-vl" else vision.hidden_size
    return Images(
        placeholder_id=backbone.config.image_token_id,
        patch_size=pixels.patch_size,
        merge_size=pixels.merge_size,
        mean=pixels.mean,
        std=pixels.std,
        transparency=reference.preset.transparency,
        stages=reference.stages,
        max_images=reference.preset.max_images,
        rotary_dim=head_dim // vision.num_heads // 2,
        rotary_theta=10000.0,  # a default of the vision towers' code; no configuration names it
        position_grid=None if positions is None else int(positions**0.5),
        deepstack_layers=reference.deepstack_layers,
    )


def _chat(reference: QwenVLReference, preset: Preset) -> Chat:
    tokenizer = reference.tokenizer
    plain, full = (tokenizer("x", add_special_tokens=added)["input_ids"] for added in (False, True))
    if full[: len(plain)] != plain:
        raise ExportError(f"the tokenizer puts {full[:2]} in front of a text; Qwen-VL's append at most")
    before = None
    if preset.pool_before:
        before = tokenizer.get_vocab().get(preset.pool_before)
        if before is None:
            raise ExportError(
                f"the tokenizer has no {preset.pool_before}, which preset {reference.preset_name} pools before"
            )
    return Chat(
        query=preset.query,
        document=preset.document,
        image_span=preset.image_span,
        end_sentence=preset.end_sentence,
        empty_text=preset.empty_text,
        suffix_ids=tuple(full[len(plain) :]),
        pool_before_id=before,
        positions=preset.positions,
    )


def _write_table(directory: Path, reference: QwenVLReference, stored: str) -> TokenTable:
    """The token embeddings, some rows at a time. ``fp32`` keeps what the checkpoint has, ``fp16`` any 16 bits."""
    weights = reference.backbone.weights
    rows, dim = weights.stored(TABLE).shape
    dtype = weights.dtype(TABLE)
    if stored == "int8":
        with (directory / _TABLE).open("wb") as codes, (directory / _SCALES).open("wb") as scales:
            for chunk in weights.chunks(TABLE):
                for file, array in zip((codes, scales), round_rows(chunk.float().numpy()), strict=True):
                    array.tofile(file)
        return TokenTable(_TABLE, "int8", rows, dim, _SCALES)
    if stored == "fp16" and dtype == torch.float32:
        dtype = torch.float16
    with (directory / _TABLE).open("wb") as file:
        for chunk in weights.chunks(TABLE):
            values = chunk.to(dtype)
            (values.view(torch.int16) if values.element_size() == 2 else values).numpy().tofile(file)
    return TokenTable(_TABLE, cast("Any", str(dtype).removeprefix("torch.")), rows, dim, scales=None)


def _example(axes: Axes, outputs: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Zeros of small, distinct sizes for every input."""
    sizes = {"image": 2, "block": 3, "batch": 2, "length": 5, "row": 4}
    return {
        name: torch.zeros(
            [axis if isinstance(axis, int) else sizes[axis] for axis in axes[name]],
            dtype=_INPUT_TYPES.get(name, torch.float32),
        )
        for name in axes
        if name not in outputs
    }
