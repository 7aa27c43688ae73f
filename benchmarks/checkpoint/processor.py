"""A tokenizer in the shape of Qwen3-VL's, and the pixel configuration, without a download.

It is a byte-level BPE with the same special tokens and chat template, trained on the sentences of the parity check and
on the prompts: a template is as short as the real one's, so a query of 32 tokens has room for words.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.qwen_vl.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

_ENTRIES = 2048
_END, _START, _STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SPECIAL_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
"""Keys of the configuration and the tokens they are the ids of."""

_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PIXELS = {
    "patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "rescale_factor": 1 / 255, "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3, "size": {"shortest_edge": 4096, "longest_edge": 1_843_200},
}  # fmt: skip


def write_processor(directory: Path) -> None:
    """Write the tokenizer's files and `preprocessor_config.json` into an existing directory."""
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_trained(),
        eos_token=_STOP,
        pad_token=_END,
        additional_special_tokens=[_START, _STOP, *_VISION],
        model_max_length=32768,
        chat_template=_CHAT,
    )
    fast.save_pretrained(directory)
    text = json.dumps(_PIXELS, indent=2) + "\n"
    (directory / "preprocessor_config.json").write_text(text, encoding="utf-8")


def special_ids(directory: Path) -> dict[str, int]:
    """The ids of `SPECIAL_IDS` by the tokenizer in `directory`."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory)
    return {key: int(tokenizer.convert_tokens_to_ids(token)) for key, token in SPECIAL_IDS.items()}


def _trained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_ENTRIES, show_progress=False, initial_alphabet=alphabet)
    prompts = [side.instruction for preset in PRESETS.values() for side in (preset.query, preset.document)]
    tokenizer.train_from_iterator([*QUERIES, *DOCUMENTS, *prompts, "system\nuser\nassistant\n"], trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (_END, _START, _STOP, *_VISION)])
    return tokenizer
