"""The decoder as it is traced: the weights of transformers' layers, another way through them.

What differs from `Qwen3VLTextModel` and `Qwen2VLTextModel` (transformers 4.57), and why:

- Visual tokens and features are looked up by row instead of put in place by a boolean mask: masks become NonZero and
  ScatterND. They come as the vision graph hands them out, so that an engine may pass them on where they are.
- The causal mask is the only mask. Padding stands on the right, where causality hides it.
- Rotary angles are products and sums in float32, not a matrix product that an engine may round to TF32.
- The mask is a finite number: no row is ever NaN, in float16 neither.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from .linear import transpose_linears

if TYPE_CHECKING:
    from ..token_head import TokenHead

MASKED = -30000.0
"""Added to scores that must not count; float16 holds it."""


class Decoder(nn.Module):
    """The decoder layers, the final norm and both outputs.

    Qwen3-VL norms queries and keys and interleaves the rotary axes; Qwen2-VL has biases and keeps the axes in
    chunks. Both are read off the layers and the configuration. The paths of its parameters are those of transformers'
    text model, but for the head's.
    """

    def __init__(self, text_model: Any, head: TokenHead, deepstack_layers: int) -> None:
        """Take the skeleton `text_model` apart: its linear layers are replaced; those of `head` are copied."""
        super().__init__()
        config = text_model.config
        self.layers = text_model.layers
        self.norm = text_model.norm
        self.head = copy.deepcopy(head)
        transpose_linears(self)
        self.deepstack_layers = deepstack_layers
        self.heads = config.num_attention_heads
        self.groups = config.num_attention_heads // config.num_key_value_heads
        inverse = text_model.rotary_emb.inv_freq.float()
        self.register_buffer("axis_frequencies", _axes(config) * inverse, persistent=False)
        self.attention_scaling = float(text_model.rotary_emb.attention_scaling)

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        pooled_index: Tensor,
        visual_index: Tensor,
        visual: Tensor,
        deepstack: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One forward pass.

        Args:
            inputs_embeds: ``[batch, length, hidden]``, padding on the right.
            position_ids: ``[3, batch, length]`` int64: time, height, width.
            pooled_index: ``[batch]`` int64, the token whose state is pooled.
            visual_index: ``[batch, length]`` int64: 0 for text, 1 for the first row of `visual` and so on.
            visual: ``[row, hidden]``, what the vision tower made; at least one row, read or not.
            deepstack: ``[layers, row, hidden]``, the same rows for each of the first layers.

        Returns:
            ``pooled [batch, hidden]`` and ``token_states [batch, length, dim]``, float32, L2-normalised.
        """
        rotary, bias = self.places(position_ids, inputs_embeds.dtype)
        seen, rows = (visual_index > 0).unsqueeze(-1), (visual_index - 1).clamp(min=0)
        states = torch.where(seen, embedding(rows, visual), inputs_embeds)
        chosen: dict[int, Tensor] = {}
        for number, layer in enumerate(self.layers, start=1):
            states = self.step(layer, states, rotary, bias)
            if number <= self.deepstack_layers and deepstack is not None:
                states = states + torch.where(seen, embedding(rows, deepstack[number - 1]), 0.0)
            if number in self.head.layers:
                chosen[number] = states
        last = self.norm(states)
        if len(self.layers) in chosen:
            chosen[len(self.layers)] = last
        order = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
        pooled = torch.where((order == pooled_index.unsqueeze(1)).unsqueeze(-1), last.float(), 0.0).sum(1)
        return {
            "pooled": normalize(pooled, dim=-1),
            "token_states": self.head([chosen[number] for number in self.head.layers]),
        }

    def places(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """What every layer needs beside the states: the rotation, and what is added to scores."""
        order = torch.arange(position_ids.shape[2], device=position_ids.device)
        bias = torch.where(order.unsqueeze(0) <= order.unsqueeze(1), 0.0, MASKED).to(dtype)
        return self._rotary(position_ids, dtype), bias

    def step(self, layer: Any, states: Tensor, rotary: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """One layer."""
        states = states + self._attend(layer.self_attn, layer.input_layernorm(states), rotary, bias)
        result: Tensor = states + layer.mlp(layer.post_attention_layernorm(states))
        return result

    def _rotary(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        places = position_ids.unsqueeze(-1).float()
        frequencies: Tensor = self.axis_frequencies  # type: ignore[assignment]
        half = places[0] * frequencies[0] + places[1] * frequencies[1] + places[2] * frequencies[2]
        angles = torch.cat((half, half), dim=-1).unsqueeze(1)
        return (angles.cos() * self.attention_scaling).to(dtype), (angles.sin() * self.attention_scaling).to(dtype)

    def _attend(self, attention: Any, states: Tensor, rotary: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        batch, length, _ = states.shape
        shape = batch, length, -1, attention.head_dim
        query, key, value = (
            project(states).reshape(shape) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        query, key = (rotate(part.transpose(1, 2), *rotary) for part in (query, key))
        key, value = self._repeat(key), self._repeat(value.transpose(1, 2))
        # Scaled before the product: unscaled, large scores leave float16's range.
        scores = (query * attention.head_dim**-0.5) @ key.transpose(2, 3) + bias
        mixed = scores.softmax(dim=-1, dtype=torch.float32).to(states.dtype) @ value
        result: Tensor = attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return result

    def _repeat(self, part: Tensor) -> Tensor:
        """Each key-value head once per query head of its group."""
        if self.groups == 1:
            return part
        batch, heads, length, dim = part.shape
        grouped = part.unsqueeze(2).expand(batch, heads, self.groups, length, dim)
        return grouped.reshape(batch, self.heads, length, dim)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding over the last axis, halves against halves."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((-second, first), dim=-1) * sin


def _axes(config: Any) -> Tensor:
    """``[3, head_dim / 2]``: 1 where a frequency belongs to time, height or width."""
    scaling = config.rope_scaling or {}
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sections = scaling["mrope_section"]
    owner = torch.zeros(dim // 2, dtype=torch.long)
    if config.model_type.startswith("qwen3"):  # interleaved: height at 1, 4, 7 …, width at 2, 5, 8 …
        for axis in (1, 2):
            owner[axis : 3 * sections[axis] : 3] = axis
    else:
        owner = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    return (owner == torch.arange(3).unsqueeze(1)).float()
