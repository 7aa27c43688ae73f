"""The two modules that become graphs, each from a skeleton of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .decoder import Decoder
from .linear import TracedPart
from .skeleton import skeleton
from .vision import VisionTower

if TYPE_CHECKING:
    from .reference import QwenVLReference


def traced_vision(reference: QwenVLReference) -> TracedPart:
    """The graph `vision`: a `VisionTower`."""
    backbone = reference.backbone
    pixels, visual = backbone.pixels, skeleton(backbone.config).visual
    tower = VisionTower(visual, pixels.mean, pixels.std, deepstack=reference.preset.deepstack)
    return TracedPart(tower, backbone.weights, "visual.")


def traced_decoder(reference: QwenVLReference) -> TracedPart:
    """The graph `decoder`: a `Decoder`."""
    backbone = reference.backbone
    decoder = Decoder(skeleton(backbone.config).language_model, reference.head, reference.deepstack_layers)
    return TracedPart(decoder, backbone.weights, "language_model.")
