"""The tokenizer of a checkpoint, as the file the runtime reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase, Sequence

from smartrt.errors import ExportError
from smartrt.manifest import TokenizerEntry

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tokenizer.json"
PROBE = "Sort a list by key: naïve café, 北京 2024! [SEP] <|im_end|>"
"""Tokenised at export and again whenever a bundle is opened; it holds what tokenizers disagree about."""


def write_tokenizer(
    source: Any, directory: Path, *, vocab_size: int, max_length: int, lowercase: bool
) -> TokenizerEntry:
    """Write `tokenizer.json` without the truncation and padding that checkpoints leave in it.

    Args:
        source: transformers' fast tokenizer.
        directory: Where to write.
        vocab_size: Rows of the model's embedding table.
        max_length: Tokens per item, for the manifest.
        lowercase: Put lower-casing in front of what the tokenizer does.

    Raises:
        ExportError: It pads on the left.
    """
    if source.padding_side != "right":
        raise ExportError(f"the tokenizer pads on the {source.padding_side}; bundles pad on the right")
    tokenizer = Tokenizer.from_str(source.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if lowercase:
        known = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = Sequence([Lowercase(), *known])
    tokenizer.save(str(directory / NAME))
    tokenizer.encode_special_tokens = True
    return TokenizerEntry(
        path=NAME,
        vocab_size=vocab_size,
        max_length=max_length,
        padding_side="right",
        pad_id=source.pad_token_id,
        probe_text=PROBE,
        probe_ids=tuple(tokenizer.encode(PROBE).ids),
    )


def check_prompts(source: Any, *prompts: str) -> None:
    """Refuse a special token in a text encoder's prompt, which the runtime would read as text.

    Raises:
        ExportError: Names the prompt and the token.
    """
    decoder = source.backend_tokenizer.get_added_tokens_decoder()
    special = [token.content for token in decoder.values() if token.special]
    for prompt in prompts:
        for token in special:
            if token in prompt:
                raise ExportError(
                    f"the prompt {prompt!r} holds the special token {token!r}: text encoders take prompts of plain text"
                )
