"""Items to Embeddings in PyTorch, as the published wrappers do it: the truth of every Qwen-VL bundle.

Nothing of the runtime's own way is used but the two size rules: prompts are rendered as strings and tokenised
whole, pixels go through transformers' `Qwen2VLImageProcessor`, positions come from `get_rope_index`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

from smartrt.errors import ExportError
from smartrt.images.resize import resize
from smartrt.types import Embeddings, TokenStates

from .rendering import images_of, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartrt.manifest import ResizeStage, Side

    from ..token_head import TokenHead
    from .load import LoadedBackbone
    from .presets import Preset

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
_VISUAL = ("<|image_pad|>", "<|video_pad|>")
_IMAGE_PAD = "<|image_pad|>"


@dataclass(frozen=True, eq=False)
class Trace:
    """What one item was on its way: the inputs and outputs of both graphs, as the reference computed them."""

    input_ids: np.ndarray
    keep: np.ndarray
    position_ids: np.ndarray
    grids: np.ndarray
    pixel_values: np.ndarray | None
    visual: np.ndarray | None
    deepstack: np.ndarray | None
    inputs_embeds: np.ndarray
    pooled_at: int
    pooled: np.ndarray
    token_states: np.ndarray


@dataclass(frozen=True, eq=False)
class RenderedItem:
    """One item as the published wrapper hands it to the model.

    Attributes:
        ids: ``[1, length]`` int64.
        pixel_values: ``[patch, 3 * 2 * patch * patch]`` of all its images, or None.
        grids: ``[image, 3]``: frames, rows and columns of patches, or None.
        positions: ``[3, 1, length]`` int64.
    """

    ids: torch.Tensor
    pixel_values: torch.Tensor | None
    grids: torch.Tensor | None
    positions: torch.Tensor


@dataclass(frozen=True, eq=False)
class QwenVLReference:
    """A Qwen-VL embedding model in PyTorch float32."""

    backbone: LoadedBackbone
    preset_name: str
    preset: Preset
    head: TokenHead
    stages: tuple[ResizeStage, ...]
    max_length: int

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        return self.backbone.tokenizer

    @property
    def deepstack_layers(self) -> int:
        """Decoder layers that DeepStack features are added behind, as the wrapper has it."""
        indexes = getattr(self.backbone.config.vision_config, "deepstack_visual_indexes", [])
        return len(indexes) if self.preset.deepstack else 0

    def visual_ids(self) -> tuple[int, ...]:
        """Ids of the placeholders of images and video."""
        return tuple(sorted(self._ids(_VISUAL)))

    def dropped_ids(self, side: Side) -> tuple[int, ...]:
        """`_late_keep_token_mask` of SMART: every special id but the visual placeholders."""
        ids = (set(self.tokenizer.all_special_ids) | self._ids(_SPECIALS)) - self._ids(_VISUAL)
        if side == "query" and self.preset.query_drops_images:
            ids |= self._ids(_VISUAL)
        return tuple(sorted(ids))

    def encode(self, items: Sequence[Any], side: Side) -> Embeddings:
        """Encode each item alone. ``truncated`` is left zero: the reference does not count."""
        return self.embeddings([self.trace(item, side) for item in items])

    def embeddings(self, traces: Sequence[Trace]) -> Embeddings:
        """What the traced items encode to."""
        pooled = np.stack([trace.pooled for trace in traces])
        tokens = [self._kept(trace) for trace in traces]
        return Embeddings(pooled, TokenStates.from_arrays(tokens), np.zeros(len(traces), np.int64))

    def render(self, item: Any, side: Side) -> RenderedItem:
        """Everything that is done with an item before the model sees it."""
        ids, pixel_values, grids = self.inputs_of(item, side)
        return RenderedItem(ids, pixel_values, grids, self._positions(ids, grids))

    def inputs_of(self, item: Any, side: Side) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """``ids``, ``pixel_values`` and ``grids`` of an item, as in `RenderedItem`."""
        parts: Mapping[str, Any] = {"text": item} if isinstance(item, str) else item
        pixel_values, grids = self._pixels(images_of(parts))
        default = (self.preset.query if side == "query" else self.preset.document).instruction
        ids = self._tokenize(render(self.preset_name, parts, side, self.tokenizer, default), grids)
        return ids, pixel_values, grids

    def embed(self, ids: torch.Tensor, visual: torch.Tensor | None) -> torch.Tensor:
        """``[1, length, hidden]``: the token embeddings, with `visual` ``[block, hidden]`` where the images are."""
        embeds: torch.Tensor = self.backbone.model.get_input_embeddings()(ids)
        if visual is None:
            return embeds
        return embeds.masked_scatter(self.is_visual(ids).unsqueeze(-1).expand_as(embeds), visual)

    def is_visual(self, ids: torch.Tensor) -> torch.Tensor:
        """Where the visual tokens of images are."""
        found: torch.Tensor = ids == self.backbone.config.image_token_id
        return found

    def pooled_at(self, ids: np.ndarray) -> int:
        """Which of the tokens `ids` ``[length]`` has the state that is pooled."""
        if not self.preset.pool_before:
            return len(ids) - 1
        (token,) = self._ids((self.preset.pool_before,))
        if token not in ids:
            raise ExportError(f"the prompt has no {self.preset.pool_before}, which the pooled vector is read before")
        return int(np.argmax(ids == token)) - 1

    @torch.inference_mode()
    def trace(self, item: Any, side: Side) -> Trace:
        """Run one item and keep what passed between the parts."""
        rendered = self.render(item, side)
        ids, pixel_values, grids = rendered.ids, rendered.pixel_values, rendered.grids
        visual, deepstack = self._see(pixel_values, grids)
        embeds = self.embed(ids, visual)
        states = self.forward(ids, embeds, pixel_values, grids)
        row = ids[0].numpy()
        pooled_at = self.pooled_at(row)
        return Trace(
            input_ids=row,
            keep=~np.isin(row, self.dropped_ids(side)),
            position_ids=rendered.positions[:, 0].numpy(),
            grids=np.zeros((0, 3), np.int64) if grids is None else grids.numpy(),
            pixel_values=None if pixel_values is None else pixel_values.numpy(),
            visual=None if visual is None else visual.numpy(),
            deepstack=deepstack,
            inputs_embeds=embeds[0].numpy(),
            pooled_at=pooled_at,
            pooled=normalize(states[-1][0, pooled_at].float(), dim=-1).numpy(),
            token_states=self.head([states[layer] for layer in self.head.layers])[0].numpy(),
        )

    def _pixels(self, images: Sequence[Any]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if not images:
            return None, None
        pixels, last = self.backbone.pixels, self.stages[-1]
        by_processor = last.rule == "transformers"
        processor = Qwen2VLImageProcessor(
            do_resize=by_processor,
            patch_size=pixels.patch_size,
            merge_size=pixels.merge_size,
            temporal_patch_size=pixels.temporal_patch_size,
            image_mean=list(pixels.mean),
            image_std=list(pixels.std),
            min_pixels=last.min_pixels,
            max_pixels=last.max_pixels,
        )
        stages = self.stages[:-1] if by_processor else self.stages
        factor = pixels.patch_size * pixels.merge_size
        sized = [resize(self._to_rgb(image), stages, factor, "the image") for image in images]
        batch = processor(images=sized, return_tensors="pt")
        return batch["pixel_values"], batch["image_grid_thw"]

    def _to_rgb(self, image: Any) -> Any:
        """qwen_vl_utils 0.0.14 lays RGBA on white; GME's and VLM2Vec's wrappers call `convert`."""
        if image.mode == "RGBA" and self.preset.transparency == "white":
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")

    def _tokenize(self, prompt: str, grids: torch.Tensor | None) -> torch.Tensor:
        merged = self.backbone.pixels.merge_size**2
        counts = [] if grids is None else (grids.prod(dim=1) // merged).tolist()
        head, *rest = prompt.split(_IMAGE_PAD)
        if len(rest) != len(counts):
            raise ExportError(f"the prompt has {len(rest)} places for {len(counts)} images: {prompt[:80]!r}")
        full = head + "".join(_IMAGE_PAD * count + piece for count, piece in zip(counts, rest, strict=True))
        batch = self.tokenizer(full, truncation=True, max_length=self.max_length, return_tensors="pt")
        ids: torch.Tensor = batch["input_ids"]
        if int(self.is_visual(ids).sum()) < sum(counts):
            raise ExportError(
                f"max length {self.max_length} cuts the pictures of the parity check ({sum(counts)} tokens): raise it"
            )
        return ids

    def _see(
        self, pixel_values: torch.Tensor | None, grids: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, np.ndarray | None]:
        if pixel_values is None:
            return None, None
        output = self.backbone.model.visual(pixel_values, grid_thw=grids)
        if self.backbone.family == "qwen2-vl":
            return output, None
        tokens, deepstack = output
        return tokens, np.stack([layer.numpy() for layer in deepstack]) if self.preset.deepstack else None

    def _positions(self, ids: torch.Tensor, grids: torch.Tensor | None) -> torch.Tensor:
        if self.preset.positions == "sequential":
            return torch.arange(ids.shape[1]).expand(3, 1, -1)
        positions: torch.Tensor = self.backbone.model.get_rope_index(ids, grids)[0]
        return positions

    @property
    def fed_embeddings(self) -> bool:
        """Whether the published wrapper looks tokens and images up itself, and feeds the language model alone."""
        return self.preset_name in ("gme", "lamra")

    def forward(
        self,
        ids: torch.Tensor,
        embeds: torch.Tensor | None,
        pixel_values: torch.Tensor | None,
        grids: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """``hidden_states`` of transformers, ``[batch, length, hidden]`` each; the last one is after the final norm.

        `embeds` are read only where they are fed (`fed_embeddings`), then instead of pixels.
        """
        model = self.backbone.model
        if self.fed_embeddings:
            output = model.language_model(
                inputs_embeds=embeds, attention_mask=torch.ones_like(ids), output_hidden_states=True
            )
        else:
            model.rope_deltas = None
            output = model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixel_values,
                image_grid_thw=grids,
                output_hidden_states=True,
            )
        return [*output.hidden_states[:-1], output.last_hidden_state]

    def _kept(self, trace: Trace) -> np.ndarray:
        rows: np.ndarray = trace.token_states[trace.keep]
        if len(rows):
            return rows
        return np.zeros((1, self.head.dim), np.float32) if self.head.adapter else trace.pooled[None]

    def _ids(self, tokens: Sequence[str]) -> set[int]:
        vocabulary = self.tokenizer.get_vocab()
        return {vocabulary[token] for token in tokens if token in vocabulary}
