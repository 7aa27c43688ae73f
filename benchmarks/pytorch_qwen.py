"""A Qwen-VL in PyTorch, as it is deployed. See `pytorch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize

from smartrt.export import qwen_vl_family
from smartrt.models.qwen_vl.resident import resident
from smartrt.types import Embeddings, TokenStates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartrt.manifest import Manifest, Side
    from smartrt.models.checkpoint import Checkpoint
    from smartrt.models.qwen_vl.reference import QwenVLReference

    from .clock import Clock
    from .pytorch import Kind

    Inputs = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]


def open_qwen(checkpoint: Checkpoint, kind: Kind, manifest: Manifest, device: str, clock: Clock) -> QwenPyTorch:
    """See `pytorch.open_pytorch`."""
    options = qwen_vl_family.options_of(manifest)
    reference = qwen_vl_family.load(checkpoint, options, manifest.token_layers[0], None)
    reference = resident(reference, getattr(torch, kind.dtype), device)
    # One pass: keys and values that are kept for a next token are copies that nobody reads.
    reference.backbone.model.language_model.config.use_cache = False
    if kind.attention is not None:
        reference.backbone.model.set_attn_implementation(kind.attention)
    for stage, part in (("vision", "visual"), ("decoder", "language_model")):
        module = reference.backbone.model.get_submodule(part)
        if kind.compiled:
            module.forward = torch.compile(module.forward, dynamic=False)
        module.forward = clock.timed(stage, _finished(module.forward, device))
    return QwenPyTorch(reference, device, clock)


class QwenPyTorch:
    """The published wrapper's way with the weights in memory; items of equal length and image sizes run together.

    The wrappers pad instead. Equal lengths are the faster choice for PyTorch, and padding cannot hide a mistake.
    """

    def __init__(self, reference: QwenVLReference, device: str, clock: Clock) -> None:
        self._reference = reference
        self._device = device
        self._clock = clock

    @torch.inference_mode()
    def encode(self, items: Sequence[Any], side: Side) -> Embeddings:
        """See `pytorch.PyTorch`."""
        with self._clock.stage("preprocess"):
            inputs = [self._reference.inputs_of(item, side) for item in items]
        pooled: list[Any] = [None] * len(items)
        tokens: list[Any] = [None] * len(items)
        dropped = self._reference.dropped_ids(side)
        for rows in _alike(inputs):
            anchors, states = self._run([inputs[row] for row in rows])
            for row, anchor, found in zip(rows, anchors, states, strict=True):
                kept = found[~np.isin(inputs[row][0][0].numpy(), dropped)]
                pooled[row] = anchor
                tokens[row] = kept if len(kept) else anchor[None]
        return Embeddings(np.stack(pooled), TokenStates.from_arrays(tokens), np.zeros(len(items), np.int64))

    def _run(self, inputs: Sequence[Inputs]) -> tuple[np.ndarray, np.ndarray]:
        """``pooled [batch, hidden]`` and ``token_states [batch, length, dim]`` of items that are alike."""
        ids = torch.cat([each[0] for each in inputs])
        pixels, grids = (_joined([each[part] for each in inputs], self._device) for part in (1, 2))
        placed = ids.to(self._device)
        embeds = None
        if self._reference.fed_embeddings:
            model = self._reference.backbone.model
            visual = None if pixels is None else model.visual(pixels, grid_thw=grids)
            # Qwen3-VL returns the tokens and the DeepStack features, which these wrappers do not feed.
            embeds = self._reference.embed(placed, visual[0] if isinstance(visual, tuple) else visual)
        states = self._reference.forward(placed, embeds, pixels, grids)
        at = [self._reference.pooled_at(row) for row in ids.numpy()]
        pooled = normalize(states[-1][torch.arange(len(at)), at].float(), dim=-1)
        head = self._reference.head
        return pooled.cpu().numpy(), head([states[layer] for layer in head.layers]).cpu().numpy()


def _finished(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """`forward`, which on CUDA returns when the device is done and not before: else a clock sees nothing."""
    if not device.startswith("cuda"):
        return forward

    def run(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        torch.cuda.synchronize(device)
        return result

    return run


def _alike(inputs: Sequence[Inputs]) -> Iterator[list[int]]:
    groups: dict[Any, list[int]] = {}
    for row, (ids, _, grids) in enumerate(inputs):
        key = ids.shape[1], None if grids is None else tuple(grids.flatten().tolist())
        groups.setdefault(key, []).append(row)
    yield from groups.values()


def _joined(parts: Sequence[torch.Tensor | None], device: str) -> torch.Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found).to(device) if found else None
