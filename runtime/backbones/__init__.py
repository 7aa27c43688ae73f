"""Backbones: how one family turns checked items into feeds, and graph outputs into vectors.

base.py           what an encoder needs of a backbone
text.py           text encoders: ids -> graph `encoder`
qwen_vl.py        Qwen-VL: ids and patches -> graphs `vision` and `decoder`
chat.py           the prompt of a chat model as ids
positions.py      position ids and the tables of the vision tower
token_table.py    token embeddings, memory-mapped
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..images.limits import ImageLimits
from .base import Backbone
from .text import TextBackbone

if TYPE_CHECKING:
    from ..bundle import Bundle

__all__ = ["Backbone", "open_backbone"]


def open_backbone(
    bundle: Bundle, *, engine: str, device: str, image_limits: ImageLimits | None = None, **options: Any
) -> Backbone:
    """The backbone of a bundle, its graphs on an engine. See `Encoder.open`."""
    if bundle.manifest.family == "text-encoder":
        return TextBackbone.open(bundle, engine=engine, device=device, **options)
    from .qwen_vl import QwenVLBackbone

    limits = image_limits or ImageLimits()
    return QwenVLBackbone.open(bundle, image_limits=limits, engine=engine, device=device, **options)
