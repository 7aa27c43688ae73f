"""A text encoder in PyTorch, as it is deployed. See `pytorch`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from smartrt.export.text_family import options_of
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference

if TYPE_CHECKING:
    from smartrt.manifest import Manifest
    from smartrt.models.checkpoint import Checkpoint

    from .clock import Clock
    from .pytorch import Kind


def open_text(checkpoint: Checkpoint, kind: Kind, manifest: Manifest, device: str, clock: Clock) -> Reference:
    """See `pytorch.open_pytorch`."""
    recipe = Recipe.read(checkpoint.path).override(**options_of(manifest))
    reference = Reference.load(checkpoint, recipe, manifest.token_layers[0], attention=kind.attention)
    encoder = reference.encoder
    encoder.to(device=torch.device(device), dtype=getattr(torch, kind.dtype))
    run: Any = torch.compile(encoder, dynamic=False) if kind.compiled else encoder
    placed: Any = _Placed(run, encoder, device, clock)
    return dataclasses.replace(reference, encoder=placed, tokenizer=_Watched(reference.tokenizer, clock))


class _Placed:
    """An encoder whose inputs come from the CPU and whose outputs go there, in float32."""

    def __init__(self, run: Any, encoder: Any, device: str, clock: Clock) -> None:
        self.head = encoder.head
        self.backbone = encoder.backbone
        self._run = run
        self._device = device
        self._clock = clock

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        with self._clock.stage("encoder"):
            outputs = self._run(input_ids.to(self._device), attention_mask.to(self._device))
            return {name: value.float().cpu() for name, value in outputs.items()}


class _Watched:
    """A tokenizer whose calls are timed."""

    def __init__(self, tokenizer: Any, clock: Clock) -> None:
        self._tokenizer = tokenizer
        self._clock = clock

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._clock.stage("preprocess"):
            return self._tokenizer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
