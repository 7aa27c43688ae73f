"""The vision towers as they are traced: images padded to one size, uint8 patches in, visual tokens out.

What differs from `Qwen3VLVisionModel` and `Qwen2VisionTransformerPretrainedModel` (transformers 4.57), and why:

- The patch embedding is one matrix product instead of a Conv3d. An image is one frame written twice, so both
  frames' weights are summed, and the processor's normalisation is folded in: patches stay uint8, an eighth of
  the bytes.
- Rotary angles and the taps of the position table come from the host; they depend on the sizes of images.
- Images lie side by side on an axis of their own, so that attention needs a mask of keys and no segments.
- Attention goes through a few heads at a time: a page has 7,000 patches, and the scores of one head take 196 MB.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from .decoder import MASKED, rotate

HEADS_AT_ONCE = 2


class VisionTower(nn.Module):
    """The blocks, and the mergers behind the last of them and behind the DeepStack ones."""

    def __init__(self, visual: Any, mean: tuple[float, ...], std: tuple[float, ...], *, deepstack: bool) -> None:
        super().__init__()
        self.blocks = visual.blocks
        self.merger = visual.merger
        self.positions = getattr(visual, "pos_embed", None)
        self.deepstack_at = list(getattr(visual, "deepstack_visual_indexes", [])) if deepstack else []
        self.deepstack_mergers = nn.ModuleList(visual.deepstack_merger_list if self.deepstack_at else [])
        weight, center = _fold(visual.patch_embed.proj, mean, std)
        self.register_buffer("patch_weight", weight, persistent=False)
        self.register_buffer("patch_center", center, persistent=False)
        self.patch_bias = visual.patch_embed.proj.bias

    def forward(
        self,
        patches: Tensor,
        rotary: Tensor,
        valid: Tensor,
        taps: Tensor | None = None,
        tap_weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One forward pass over several images, padded to the largest.

        Args:
            patches: ``[image, block, merge * merge, 3 * patch * patch]`` uint8.
            rotary: ``[image, block, merge * merge, dim]`` float32 angles.
            valid: ``[image, block]`` int64, 0 on padding.
            taps: ``[image, block, merge * merge, 4]`` int64, rows of the position table (Qwen3-VL).
            tap_weights: The weights of `taps`, float32.

        Returns:
            ``tokens [image, block, hidden]`` and, with DeepStack, ``deepstack [layer, image, block, hidden]``.
        """
        images, blocks, group, _ = patches.shape
        weight, center = cast("Tensor", self.patch_weight), cast("Tensor", self.patch_center)
        states = (patches.float() - center).to(weight.dtype) @ weight
        if self.patch_bias is not None:
            states = states + self.patch_bias
        if self.positions is not None and taps is not None and tap_weights is not None:
            # In the order of the reference: ((first + second) + third) + fourth.
            tapped = [self.positions(taps[..., i]) * tap_weights[..., i, None].to(states.dtype) for i in range(4)]
            states = states + (tapped[0] + tapped[1] + tapped[2] + tapped[3])
        states = states.reshape(images, blocks * group, -1)
        angles = torch.cat((rotary, rotary), dim=-1).reshape(images, 1, blocks * group, -1)
        turn = angles.cos(), angles.sin()
        keys = valid.unsqueeze(-1).expand(images, blocks, group).reshape(images, 1, 1, blocks * group)
        bias = torch.where(keys > 0, 0.0, MASKED).to(states.dtype)
        deepstack = []
        for number, block in enumerate(self.blocks):
            states = states + self._attend(block.attn, block.norm1(states), turn, bias)
            states = states + block.mlp(block.norm2(states))
            if number in self.deepstack_at:
                merger = self.deepstack_mergers[self.deepstack_at.index(number)]
                deepstack.append(_merge(merger, states, images, blocks))
        result = {"tokens": _merge(self.merger, states, images, blocks)}
        return result | ({"deepstack": torch.stack(deepstack)} if deepstack else {})

    def _attend(self, attention: Any, states: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        images, length, _ = states.shape
        joined = attention.qkv(states).reshape(images, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = joined[0], joined[1], joined[2]
        # Rotation in float32, as the reference does it.
        query, key = (rotate(part.float(), *turn).to(states.dtype) for part in (query, key))
        scale = query.shape[-1] ** -0.5
        parts = []
        for first in range(0, attention.num_heads, HEADS_AT_ONCE):
            heads = slice(first, first + HEADS_AT_ONCE)
            scores = query[:, heads] @ key[:, heads].transpose(2, 3) * scale + bias
            parts.append(scores.softmax(dim=-1, dtype=torch.float32).to(states.dtype) @ value[:, heads])
        mixed = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        result: Tensor = attention.proj(mixed.transpose(1, 2).reshape(images, length, -1))
        return result


def _merge(merger: Any, states: Tensor, images: int, blocks: int) -> Tensor:
    merged: Tensor = merger(states)
    return merged.reshape(images, blocks, -1)


def _fold(convolution: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Weight ``[3 * patch * patch, dim]`` and centre of the same length for uint8 input.

    ``W_0 x + W_1 x`` with ``x = (u / 255 - mean) / std`` is ``(W_0 + W_1) / (255 std) (u - 255 mean)``.
    """
    weight = convolution.weight.detach()
    channels = weight.shape[1]
    spread = torch.tensor(std, dtype=torch.float64).reshape(1, channels, 1, 1) * 255
    folded = (weight.double().sum(dim=2) / spread).flatten(1).T.contiguous().to(weight.dtype)
    area = weight.shape[3] * weight.shape[4]
    center = (torch.tensor(mean, dtype=torch.float64) * 255).repeat_interleave(area).float()
    return folded, center
