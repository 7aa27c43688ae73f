"""Qwen-VL: what of a bundle is theirs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import torch

from smartrt.engines.axes import decoder_axes, vision_axes
from smartrt.errors import ExportError
from smartrt.manifest import Chat, Dims, Images, LateMask, TokenTable
from smartrt.models.qwen_vl.decoder import Decoder
from smartrt.models.qwen_vl.load import FAMILIES, load_backbone, read_token_table
from smartrt.models.qwen_vl.presets import choose_preset
from smartrt.models.qwen_vl.reference import QwenVLReference
from smartrt.models.qwen_vl.vision import VisionTower
from smartrt.models.reference import load_config
from smartrt.models.token_head import TokenHead

from .graph import export_module
from .tokenizer import write_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from smartrt.engines.axes import Axes
    from smartrt.manifest import GraphEntry, Manifest, ResizeStage, SideTemplates
    from smartrt.models.checkpoint import Checkpoint
    from smartrt.models.qwen_vl.load import PixelConfig
    from smartrt.models.qwen_vl.presets import Preset

OPTIONS = ("preset", "max_length", "min_pixels", "max_pixels", "query_instruction", "document_instruction")
"""What replaces a preset's own values."""

_INTEGERS = ("valid", "taps", "position_ids", "pooled_index", "deepstack_index")
_INPUT_TYPES = dict.fromkeys(_INTEGERS, torch.int64) | {"patches": torch.uint8}
_TABLE = "token_table.bin"
_TABLE_TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


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


def write(directory: Path, checkpoint: Checkpoint, reference: QwenVLReference, opset: int) -> dict[str, Any]:
    """Write tokenizer, table and graphs; return the manifest's keys that are this family's."""
    backbone, preset = reference.backbone, reference.preset
    table = _write_table(directory, checkpoint)
    tokenizer = write_tokenizer(
        backbone.tokenizer, directory, vocab_size=table.rows, max_length=reference.max_length, lowercase=False
    )
    hidden, vision = backbone.config.text_config.hidden_size, backbone.config.vision_config
    if table.dim != hidden:
        raise ExportError(f"the token table has {table.dim} dims, the decoder {hidden}")
    images, dims = _images(reference, vision), Dims(hidden, reference.head.dim)
    graphs = {
        "vision": _export_vision(directory, reference, images, hidden, opset),
        "decoder": _export_decoder(directory, reference, images, dims, opset),
    }
    visual = reference.visual_ids()
    return {
        "family": backbone.family,
        "modalities": ("text", "image"),
        "graphs": graphs,
        "tokenizer": tokenizer,
        "token_table": table,
        "prompts": None,
        "chat": _chat(reference, preset),
        "images": images,
        "pooling": "last",
        "pooled_token_id": _pooled_token(reference),
        "normalized": True,
        "dims": dims,
        "late_mask": LateMask(reference.dropped_ids("query"), reference.dropped_ids("document"), visual),
    }


def _pooled_token(reference: QwenVLReference) -> int | None:
    """The token whose state is pooled, if it is the template's and not the user's last word."""
    traces = [reference.trace({"text": text}, "query") for text in ("pooled where?", "a different end")]
    found = {int(trace.input_ids[trace.pooled_at]) for trace in traces}
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


def _images(reference: QwenVLReference, vision: Any) -> Images:
    pixels, backbone = reference.backbone.pixels, reference.backbone
    positions = getattr(vision, "num_position_embeddings", None)
    head_dim = getattr(vision, "embed_dim", vision.hidden_size) if backbone.family == "qwen2-vl" else vision.hidden_size
    deepstack = getattr(vision, "deepstack_visual_indexes", []) if reference.preset.deepstack else []
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
        deepstack_layers=len(deepstack),
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


def _write_table(directory: Path, checkpoint: Checkpoint) -> TokenTable:
    values = read_token_table(checkpoint)
    if values.dtype not in _TABLE_TYPES:
        raise ExportError(
            f"{checkpoint.name} stores its token embeddings as {values.dtype}; known: {list(_TABLE_TYPES)}"
        )
    bits = values.contiguous()
    raw = bits.view(torch.int16) if bits.element_size() == 2 else bits
    raw.numpy().tofile(directory / _TABLE)
    rows, dim = values.shape
    return TokenTable(_TABLE, cast("Any", _TABLE_TYPES[values.dtype]), rows, dim)


def _export_vision(directory: Path, reference: QwenVLReference, images: Images, hidden: int, opset: int) -> GraphEntry:
    tower = VisionTower(reference.backbone.model.visual, images.mean, images.std, deepstack=reference.preset.deepstack)
    axes = vision_axes(images, hidden)
    example = _example(axes, outputs={"tokens", "deepstack"})
    return export_module(tower.eval(), directory, "vision", example, axes, opset)


def _export_decoder(directory: Path, reference: QwenVLReference, images: Images, dims: Dims, opset: int) -> GraphEntry:
    decoder = Decoder(reference.backbone.model.language_model, reference.head, images.deepstack_layers)
    axes = decoder_axes(images, dims.pooled, dims)
    example = _example(axes, outputs={"pooled", "token_states"})
    return export_module(decoder.eval(), directory, "decoder", example, axes, opset)


def _example(axes: Axes, outputs: set[str]) -> dict[str, torch.Tensor]:
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
