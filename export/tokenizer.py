"""The tokenizer of a checkpoint, as the file the runtime reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase, Sequence

from smartrt.errors import ExportError
from smartrt.manifest import TokenizerEntry

if TYPE_CHECKING:
    from pathlib import Path

    from smartrt.models.reference import Reference

NAME = "tokenizer.json"
PROBE = "Sort a list by key: naïve café, 北京 2024! [SEP] <|im_end|>"
"""Tokenised at export and again whenever a bundle is opened; it holds what tokenizers disagree about."""


def write_tokenizer(reference: Reference, directory: Path) -> TokenizerEntry:
    """Write `tokenizer.json` without the truncation and padding that checkpoints leave in it.

    Raises:
        ExportError: A prompt holds a special token, which the runtime would read as text.
    """
    recipe = reference.recipe
    tokenizer = Tokenizer.from_str(reference.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if recipe.lowercase:
        known = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = Sequence([Lowercase(), *known])
    _check_prompts(tokenizer, recipe.query_prompt, recipe.document_prompt)
    tokenizer.save(str(directory / NAME))
    tokenizer.encode_special_tokens = True
    return TokenizerEntry(
        path=NAME,
        vocab_size=reference.encoder.config.vocab_size,
        max_length=cast("int", recipe.max_length),  # Reference.load filled it in
        padding_side="right",
        pad_id=reference.tokenizer.pad_token_id,
        probe_text=PROBE,
        probe_ids=tuple(tokenizer.encode(PROBE).ids),
    )


def _check_prompts(tokenizer: Tokenizer, *prompts: str) -> None:
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    for prompt in prompts:
        for token in special:
            if token in prompt:
                raise ExportError(
                    f"the prompt {prompt!r} holds the special token {token!r}: text encoders take prompts of plain text"
                )
