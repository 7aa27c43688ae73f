"""Tiny random Qwen-VL checkpoints, one per preset, saved as the published ones are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.qwen_vl.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = 32
PRESET_NAMES = tuple(PRESETS)

_SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def build(
    preset: str,
    directory: Path,
    *,
    dtype: torch.dtype = torch.float32,
    base_class: bool = False,
    processor: Path | None = None,
) -> Path:
    """Write a checkpoint for `preset` to `directory`; the same arguments write the same weights.

    Args:
        preset: One of `PRESET_NAMES`.
        directory: Where to write.
        dtype: Of the stored weights.
        base_class: Save the keys as the class without the language-model head has them.
        processor: Take tokenizer, chat template and pixel configuration from this directory.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(processor) if processor else _tokenizer(preset)
    tokenizer.save_pretrained(directory)
    size = len(tokenizer) + 3  # published tables have more rows than the tokenizer has entries
    qwen3 = PRESETS[preset].family == "qwen3-vl"
    config = (_qwen3 if qwen3 else _qwen2)(tokenizer, size)
    torch.manual_seed(20240521)
    kind = transformers.Qwen3VLForConditionalGeneration if qwen3 else transformers.Qwen2VLForConditionalGeneration
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too: a forgotten one must show
            parameter.add_(0.05 * torch.randn_like(parameter))
    (model.model if base_class else model).to(dtype).save_pretrained(directory)
    pixels: dict[str, Any] = {
        "patch_size": 16 if qwen3 else 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 3136, "longest_edge": 40_000},
    }
    if processor:
        pixels = json.loads((processor / "preprocessor_config.json").read_text(encoding="utf-8"))
    _write(directory / "preprocessor_config.json", (_HALF if qwen3 else _CLIP) | pixels)
    return directory


def _ids(tokenizer: Any) -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def _text(tokenizer: Any, size: int) -> dict[str, Any]:
    return {
        "vocab_size": size, "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rope_theta": 5e6,
        "bos_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip


def _qwen3(tokenizer: Any, size: int) -> Any:
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    vision = {
        "depth": 3, "hidden_size": 48, "num_heads": 4, "intermediate_size": 64, "patch_size": 16,
        "out_hidden_size": HIDDEN, "num_position_embeddings": 49, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    text = _text(tokenizer, size) | {"head_dim": 16, "rope_scaling": rope}
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))


def _qwen2(tokenizer: Any, size: int) -> Any:
    rope = {"type": "mrope", "mrope_section": [2, 1, 1]}
    vision = {
        "depth": 2, "embed_dim": 48, "num_heads": 4, "hidden_size": HIDDEN, "mlp_ratio": 2, "patch_size": 14,
        "spatial_patch_size": 14,
    }  # fmt: skip
    text = _text(tokenizer, size) | {"rope_scaling": rope}
    return transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))


def _tokenizer(preset: str) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    words = ("system\nuser\nassistant\n Represent the user's input. Summarize above image and sentence in one word: ",)
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(QUERIES + DOCUMENTS + words, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIALS])
    plain = ["<think>", "</think>"] + (["<emb>"] if preset == "lamra" else [])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(_SPECIALS[1:]),
        model_max_length=4096,
        chat_template=_CHAT,
    )


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
