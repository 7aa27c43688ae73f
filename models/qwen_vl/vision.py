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
from .linear import TransposedLinear, transpose_linears
from .skeleton import reshaped

HEADS_AT_ONCE = 2


class VisionTower(nn.Module):
    """The blocks, and the mergers behind the last of them and behind the DeepStack ones.

    The paths of its parameters are those of transformers' tower.
    """

    def __init__(self, visual: Any, mean: tuple[float, ...], std: tuple[float, ...], *, deepstack: bool) -> None:
        """Take the skeleton `visual` apart: its linear layers are replaced."""
        super().__init__()
        transpose_linears(visual)
        self.blocks = visual.blocks
        self.merger = visual.merger
        self.pos_embed = getattr(visual, "pos_embed", None)
        self.deepstack_at = list(getattr(visual, "deepstack_visual_indexes", [])) if deepstack else []
        self.deepstack_merger_list = nn.ModuleList(visual.deepstack_merger_list if self.deepstack_at else [])
        convolution = visual.patch_embed.proj
        self.patch_embed = nn.ModuleDict({"proj": PatchLinear(convolution.weight, convolution.bias, std)})
        self.register_buffer("patch_center", _center(convolution.weight, mean), persistent=False)

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
        images, blocks, _, _ = patches.shape
        states = self.embed(patches, taps, tap_weights)
        turn, bias = self.places(rotary, valid, states.dtype)
        deepstack = []
        for number, block in enumerate(self.blocks):
            states = self.step(block, states, turn, bias)
            if number in self.deepstack_at:
                merger = self.deepstack_merger_list[self.deepstack_at.index(number)]
                deepstack.append(merger(states).reshape(images, blocks, -1))
        result = {"tokens": self.merger(states).reshape(images, blocks, -1)}
        return result | ({"deepstack": torch.stack(deepstack)} if deepstack else {})

    def embed(self, patches: Tensor, taps: Tensor | None, tap_weights: Tensor | None) -> Tensor:
        """What the first block is given, ``[image, patch, dim]``; arguments as of `forward`."""
        images, blocks, group, _ = patches.shape
        projection = cast("PatchLinear", self.patch_embed["proj"])
        states: Tensor = projection((patches.float() - cast("Tensor", self.patch_center)).to(projection.weight.dtype))
        if self.pos_embed is not None and taps is not None and tap_weights is not None:
            # In the order of the reference: ((first + second) + third) + fourth.
            tapped = [self.pos_embed(taps[..., i]) * tap_weights[..., i, None].to(states.dtype) for i in range(4)]
            states = states + (tapped[0] + tapped[1] + tapped[2] + tapped[3])
        return states.reshape(images, blocks * group, -1)

    def places(self, rotary: Tensor, valid: Tensor, dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """What every block needs beside the states: the rotation, and what is added to scores."""
        images, blocks, group, _ = rotary.shape
        angles = torch.cat((rotary, rotary), dim=-1).reshape(images, 1, blocks * group, -1)
        keys = valid.unsqueeze(-1).expand(images, blocks, group).reshape(images, 1, 1, blocks * group)
        return (angles.cos(), angles.sin()), torch.where(keys > 0, 0.0, MASKED).to(dtype)

    def step(self, block: Any, states: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """One block."""
        states = states + self._attend(block.attn, block.norm1(states), turn, bias)
        result: Tensor = states + block.mlp(block.norm2(states))
        return result

    def _attend(self, attention: Any, states: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        images, length, _ = states.shape
        joined = attention.qkv(states).reshape(images, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = joined[0], joined[1], joined[2]
        # Rotation in float32, as the reference does it.
        query, key = (rotate(part.float(), *turn).to(states.dtype) for part in (query, key))
        query = query * query.shape[-1] ** -0.5  # before the product: float16 holds what is scaled
        parts = []
        for first in range(0, attention.num_heads, HEADS_AT_ONCE):
            heads = slice(first, first + HEADS_AT_ONCE)
            scores = query[:, heads] @ key[:, heads].transpose(2, 3) + bias
            parts.append(scores.softmax(dim=-1, dtype=torch.float32).to(states.dtype) @ value[:, heads])
        mixed = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        result: Tensor = attention.proj(mixed.transpose(1, 2).reshape(images, length, -1))
        return result


class PatchLinear(TransposedLinear):
    """The patch embedding as one matrix product, for patches of which 255 times the mean was taken away.

    ``W_0 x + W_1 x`` with ``x = (u / 255 - mean) / std`` is ``(W_0 + W_1) / (255 std) (u - 255 mean)``.
    """

    def __init__(self, kernel: Tensor, bias: nn.Parameter | None, std: tuple[float, ...]) -> None:
        """Stand for a convolution with the placeholder `kernel` ``[dim, channel, 2, patch, patch]``."""
        dim, channels, _, height, width = kernel.shape
        super().__init__(reshaped(kernel, (channels * height * width, dim)), bias)
        self._std = std

    def from_stored(self, values: Tensor) -> Tensor:
        """``[3 * patch * patch, dim]``: both frames summed, the deviations folded in."""
        return _fold(values, self._std)


def _fold(kernel: Tensor, std: tuple[float, ...]) -> Tensor:
    spread = torch.tensor(std, dtype=torch.float64).reshape(1, -1, 1, 1) * 255
    return (kernel.double().sum(dim=2) / spread).flatten(1).T.contiguous().to(kernel.dtype)


def _center(kernel: Tensor, mean: tuple[float, ...]) -> Tensor:
    """255 times the mean for each number of a patch."""
    area = kernel.shape[3] * kernel.shape[4]
    return (torch.tensor(mean, dtype=torch.float64) * 255).repeat_interleave(area).float()
