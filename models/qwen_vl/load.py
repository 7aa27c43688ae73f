"""A checkpoint -> transformers' model and files, every exported weight accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from smartrt.errors import ExportError

from ..checkpoint import read_json
from ..reference import load_tokenizer
from ..weights import CheckpointWeights
from .skeleton import skeleton, stream

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

FAMILIES: dict[str, Literal["qwen3-vl", "qwen2-vl"]] = {"qwen3_vl": "qwen3-vl", "qwen2_vl": "qwen2-vl"}
"""`model_type` of the configuration -> family of the bundle."""

_PARTS = ("visual.", "language_model.", "lm_head.")
_STATIC_ROPES = ("default", "linear", "yarn", "llama3", "mrope")


@dataclass(frozen=True)
class PixelConfig:
    """What `preprocessor_config.json` says, as far as it decides pixels."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_pixels: int
    max_pixels: int


@dataclass(frozen=True, eq=False)
class LoadedBackbone:
    """A Qwen-VL in PyTorch float32.

    `model` has `visual` and `language_model`; it holds no weights, each part reads its own of `weights` when it is
    called. The language-model head is never read.
    """

    family: Literal["qwen3-vl", "qwen2-vl"]
    model: Any
    config: Any
    tokenizer: Any
    pixels: PixelConfig
    weights: CheckpointWeights


def load_backbone(checkpoint: Checkpoint, config: Any) -> LoadedBackbone:
    """Load tokenizer and pixel configuration, and find the weights.

    Raises:
        ExportError: A file or an exported weight is missing, or the configuration asks for what is not exported.
    """
    family = FAMILIES[config.model_type]
    text = config.text_config
    rope = (text.rope_scaling or {}).get("rope_type", "default")
    if rope not in _STATIC_ROPES or "mrope_section" not in (text.rope_scaling or {}):
        raise ExportError(f"{checkpoint.name} has rotary embeddings of type {rope!r} or no mrope_section: not exported")
    if "sliding_attention" in (getattr(text, "layer_types", None) or []):
        raise ExportError(f"{checkpoint.name} has layers with a sliding window: not exported")
    tokenizer = load_tokenizer(checkpoint)
    if not tokenizer.chat_template:
        tokenizer.chat_template = (read_json(checkpoint.path / "chat_template.json") or {}).get("chat_template")
    pixels = _pixels(checkpoint, config)
    weights = CheckpointWeights(checkpoint, weight_name)
    model = skeleton(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    weights.require(shapes, type(model).__name__)
    stream(model, weights)
    return LoadedBackbone(family, model, config, tokenizer, pixels, weights)


def weight_name(key: str) -> str:
    """The name in transformers' model of what a file calls `key`.

    Published files have ``model.visual.`` and ``model.language_model.``, those of the class without the
    language-model head lack ``model.``, and the first Qwen2-VL have ``visual.`` and ``model.`` for the text model.
    """
    name = key.removeprefix("model.")
    return name if name.startswith(_PARTS) else f"language_model.{name}"


def _pixels(checkpoint: Checkpoint, config: Any) -> PixelConfig:
    data = read_json(checkpoint.path / "preprocessor_config.json")
    if data is None:
        raise ExportError(f"{checkpoint.path} has no preprocessor_config.json: its mean, std and limits are needed")
    size = data.get("size") or {}
    try:
        pixels = PixelConfig(
            patch_size=int(data["patch_size"]),
            merge_size=int(data["merge_size"]),
            temporal_patch_size=int(data["temporal_patch_size"]),
            mean=tuple(map(float, data["image_mean"])),
            std=tuple(map(float, data["image_std"])),
            min_pixels=int(data.get("min_pixels") or size["shortest_edge"]),
            max_pixels=int(data.get("max_pixels") or size["longest_edge"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{checkpoint.path}/preprocessor_config.json: {type(error).__name__} {error}") from None
    vision = config.vision_config
    found = (pixels.patch_size, pixels.merge_size, pixels.temporal_patch_size)
    expected = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    if found != expected or data.get("rescale_factor", 1 / 255) != 1 / 255:
        raise ExportError(
            f"{checkpoint.path}/preprocessor_config.json has patch, merge and frame sizes {found}, config.json "
            f"{expected}, or rescales by something else than 1/255"
        )
    return pixels
