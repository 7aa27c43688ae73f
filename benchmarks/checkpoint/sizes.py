"""The sizes of random checkpoints: those of Qwen3-VL-Embedding 2B and 8B, and one for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEED = 20240521
"""Of the weights, unless another is asked for."""

_ROPE = {"rope_type": "default", "mrope_interleaved": True}
_TEXT = {
    "vocab_size": 151936, "head_dim": 128, "num_key_value_heads": 8, "max_position_embeddings": 262144,
    "rope_theta": 5e6, "rope_scaling": _ROPE | {"mrope_section": [24, 20, 20]},
}  # fmt: skip
_VISION = {"num_heads": 16, "patch_size": 16, "num_position_embeddings": 2304}


@dataclass(frozen=True)
class Size:
    """Arguments of transformers' Qwen3VLTextConfig and Qwen3VLVisionConfig, but for what follows from the other."""

    text: dict[str, Any]
    vision: dict[str, Any]


SIZES = {
    "2b": Size(
        _TEXT
        | {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
        _VISION
        | {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]},
    ),
    "8b": Size(
        _TEXT
        | {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
        _VISION
        | {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]},
    ),
    "tiny": Size(
        {
            "vocab_size": 2560, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
            "rope_theta": 5e6, "rope_scaling": _ROPE | {"mrope_section": [4, 2, 2]},
        },
        {
            "depth": 2, "hidden_size": 48, "num_heads": 4, "intermediate_size": 64, "patch_size": 16,
            "num_position_embeddings": 49, "deepstack_visual_indexes": [0],
        },
    ),
}  # fmt: skip
"""By the name that `smartrt bench checkpoint` takes."""
