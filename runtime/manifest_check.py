"""What the types of a manifest allow and no bundle can have."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, get_args

from .engines.axes import decoder_axes, vision_axes
from .manifest import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .manifest import Chat, Images, Manifest

_TEXT_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = {"pooled", "token_states"}
_FIELDS = {"instruction", "images", "text"}


def problems(manifest: Manifest) -> Iterator[str]:
    """Each problem as ``key: reason``."""
    yield from (_text_encoder if manifest.family == "text-encoder" else _vision_language)(manifest)
    yield from _files(manifest)
    if set(manifest.precision.graphs) != set(manifest.graphs):
        yield f"precision.graphs: {list(manifest.precision.graphs)} are counted, graphs has {list(manifest.graphs)}"
    numbers = {
        "max_length": manifest.tokenizer.max_length,
        "dims": min(manifest.dims.pooled, manifest.dims.token),
        "token_layers": min(manifest.token_layers, default=0),
    }
    for key, number in numbers.items():
        if number < 1:
            yield f"{key}: {number} is below 1"
    size = manifest.tokenizer.vocab_size
    for key, values in _ids(manifest).items():
        if not all(0 <= value < size for value in values):
            yield f"{key}: {list(values)[:8]} holds an id outside the vocabulary of {size}"


def _files(manifest: Manifest) -> Iterator[str]:
    entry = manifest.token_table
    table = [name for name in (entry.path, entry.scales) if name is not None] if entry else []
    for name in (manifest.tokenizer.path, *table, *(entry.path for entry in manifest.graphs.values())):
        if name not in manifest.files:
            yield f"files: {name!r} is used but not listed"


def _ids(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    mask, chat = manifest.late_mask, manifest.chat
    ids = {
        "tokenizer.pad_id": (manifest.tokenizer.pad_id,),
        "late_mask.query": mask.query,
        "late_mask.document": mask.document,
        "late_mask.visual": mask.visual,
    }
    if chat:
        ids["chat.suffix_ids"] = chat.suffix_ids
        ids["chat.pool_before_id"] = () if chat.pool_before_id is None else (chat.pool_before_id,)
    if manifest.images:
        ids["images.placeholder_id"] = (manifest.images.placeholder_id,)
    return ids


def _text_encoder(manifest: Manifest) -> Iterator[str]:
    graph = manifest.graphs.get("encoder")
    if graph is None:
        yield "graphs: there is no encoder"
    elif not {"input_ids", "attention_mask"} <= set(graph.inputs) <= _TEXT_INPUTS or set(graph.outputs) != _OUTPUTS:
        yield f"graphs.encoder: {list(graph.inputs)} -> {list(graph.outputs)} is not a text encoder"
    if manifest.prompts is None or manifest.modalities != ("text",):
        yield "prompts: a text encoder has prompts, and the modality text alone"


def _vision_language(manifest: Manifest) -> Iterator[str]:
    table, chat, images = manifest.token_table, manifest.chat, manifest.images
    if table is None or chat is None or images is None or set(manifest.modalities) != {"text", "image"}:
        yield f"family: {manifest.family} needs token_table, chat, images, and the modalities text and image"
        return
    expected = {
        "vision": vision_axes(images, table.dim),
        "decoder": decoder_axes(images, table.dim, manifest.dims),
    }
    for name, tensors in expected.items():
        graph = manifest.graphs.get(name)
        if graph is None:
            yield f"graphs: there is no {name}"
        elif {*graph.inputs, *graph.outputs} != set(tensors):
            yield f"graphs.{name}: it has {[*graph.inputs, *graph.outputs]}, expected {list(tensors)}"
    if table.rows < manifest.tokenizer.vocab_size:
        yield f"token_table: {table.rows} rows are fewer than the vocabulary of {manifest.tokenizer.vocab_size}"
    if (table.dtype == "int8") != (table.scales is not None):
        yield f"token_table.scales: {table.scales!r} with {table.dtype}: int8 has a file of scales, nothing else has"
    if manifest.tokenizer.padding_side != "right":
        yield "tokenizer.padding_side: the decoder has no mask, it needs padding on the right"
    yield from _chat(chat)
    yield from _images(images)


def _chat(chat: Chat) -> Iterator[str]:
    for side, templates in (("query", chat.query), ("document", chat.document)):
        for parts, template in templates.templates.items():
            if parts not in get_args(Parts):
                yield f"chat.{side}.templates: {parts!r} is no kind of item"
            try:
                fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
            except ValueError:
                fields = {template}
            if not fields <= _FIELDS:
                yield f"chat.{side}.templates.{parts}: {template!r:.80} has fields beside {sorted(_FIELDS)}"


def _images(images: Images) -> Iterator[str]:
    sizes = (images.patch_size, images.merge_size, images.rotary_dim, images.position_grid or 1, images.max_images or 1)
    if min(sizes) < 1 or images.rotary_dim % 2 or images.deepstack_layers < 0:
        yield "images: a size is below 1, or rotary_dim is odd"
    if not images.stages or not all(0 <= stage.min_pixels <= stage.max_pixels for stage in images.stages):
        yield "images.stages: there is none, or min_pixels is over max_pixels"
