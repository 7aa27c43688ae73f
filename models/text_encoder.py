"""The module with two outputs that is run as the reference and traced as the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recipe import Pooling
    from .token_head import TokenHead


class TextEncoder(nn.Module):
    """A transformers backbone, its pooling, and the normalisation of both outputs.

    States are read from ``last_hidden_state``, which the base classes of transformers give after the
    final norm. Both outputs are normalised in float32 whatever the backbone computes in.
    """

    def __init__(self, backbone: Any, pooling: Pooling, head: TokenHead, *, normalize_pooled: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = backbone.config
        self.pool = _POOL[pooling]
        self.head = head
        self.normalize_pooled = normalize_pooled

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One forward pass.

        Args:
            input_ids: ``[batch, length]`` int64.
            attention_mask: ``[batch, length]`` int64, 1 on valid tokens, padding on the right.
            token_type_ids: ``[batch, length]`` int64, for backbones that have segments.

        Returns:
            ``pooled [batch, hidden]`` and ``token_states [batch, length, dim]``, float32.
        """
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        depth = self.config.num_hidden_layers
        early = any(layer != depth for layer in self.head.layers)
        output = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=early, **segments
        )
        last = output.last_hidden_state.float()
        chosen = [last if layer == depth else output.hidden_states[layer] for layer in self.head.layers]
        pooled = self.pool(last, attention_mask)
        return {
            "pooled": normalize(pooled, dim=-1) if self.normalize_pooled else pooled,
            "token_states": self.head(chosen),
        }


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _first(states: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001  (one signature for all)
    return states[:, 0]


def _last(states: Tensor, mask: Tensor) -> Tensor:
    # Where + sum instead of an index: the graph stays free of data-dependent shapes.
    positions = torch.arange(mask.shape[1], device=mask.device).unsqueeze(0)
    last = (positions * mask).max(dim=1, keepdim=True).values
    return torch.where((positions == last).unsqueeze(-1), states, torch.zeros_like(states)).sum(1)


_POOL: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {"mean": _mean, "cls": _first, "last": _last}
