"""A checkpoint -> transformers' model and files, every exported weight accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from safetensors import SafetensorError, safe_open

from smartrt.errors import ExportError

from ..checkpoint import read_json
from ..reference import load_tokenizer

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

FAMILIES: dict[str, Literal["qwen3-vl", "qwen2-vl"]] = {"qwen3_vl": "qwen3-vl", "qwen2_vl": "qwen2-vl"}
"""`model_type` of the configuration -> family of the bundle."""

_CLASSES = {"qwen3-vl": "Qwen3VLForConditionalGeneration", "qwen2-vl": "Qwen2VLForConditionalGeneration"}
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

    `model` has `visual` and `language_model`; the language-model head is dropped.
    """

    family: Literal["qwen3-vl", "qwen2-vl"]
    model: Any
    config: Any
    tokenizer: Any
    pixels: PixelConfig


def load_backbone(checkpoint: Checkpoint, config: Any) -> LoadedBackbone:
    """Load weights, tokenizer and pixel configuration.

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
    return LoadedBackbone(family, _load_model(checkpoint, family), config, tokenizer, pixels)


def read_token_table(checkpoint: Checkpoint) -> torch.Tensor:
    """The token embeddings in the type they are stored in, ``[rows, dim]``."""
    for path in checkpoint.weight_files():
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
                if key.endswith("embed_tokens.weight"):
                    table: torch.Tensor = file.get_tensor(key)
                    return table
    raise ExportError(f"{checkpoint.name} has no embed_tokens.weight")


def _load_model(checkpoint: Checkpoint, family: str) -> Any:
    # The generating class takes keys with and without "model."; the base class loads nothing of a published
    # checkpoint and only warns. What is missing is an error either way.
    try:
        loaded, report = getattr(transformers, _CLASSES[family]).from_pretrained(
            checkpoint.path,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ExportError(f"cannot load {checkpoint.name}: {' '.join(str(error).split())[:300]}") from error
    missing = [key for key in report["missing_keys"] if not key.startswith("lm_head")]
    wrong = missing or [key for key, *_ in report["mismatched_keys"]]
    if wrong:
        raise ExportError(
            f"{checkpoint.name} lacks {len(wrong)} weights of {_CLASSES[family]} (first: {wrong[0]}): "
            "it was saved from another class, or is incomplete"
        )
    return loaded.model.eval()


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
