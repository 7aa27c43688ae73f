"""Texts to Embeddings in PyTorch: the truth that every bundle is compared with.

Nothing of the runtime's text path is used here: the tokenizer is transformers', padding and truncation
are its own, so that a mistake on either side shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch.nn.functional import normalize

from smartrt.errors import ExportError
from smartrt.types import Embeddings, TokenStates

from .text_encoder import TextEncoder
from .token_head import TokenHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.manifest import Side

    from .checkpoint import Checkpoint
    from .recipe import Recipe

_UNUSED_WEIGHTS = ("pooler.",)  # BERT's classification head: no output of ours passes through it


@dataclass(frozen=True, eq=False)
class Reference:
    """A checkpoint loaded in PyTorch float32, its recipe complete (pooling and max length are known)."""

    encoder: TextEncoder
    tokenizer: Any
    recipe: Recipe

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        recipe: Recipe,
        layer: int | None = None,
        adapter: str | None = None,
        attention: str | None = "eager",
    ) -> Reference:
        """Load weights and tokenizer; `layer` and `adapter` choose the token states (`TokenHead.choose`).

        Args:
            checkpoint: Where to load from.
            recipe: Pooling, prompts and lengths.
            layer: See `TokenHead.choose`.
            adapter: See `TokenHead.choose`.
            attention: transformers' ``attn_implementation``: ``eager`` can be traced (sdpa leaves IsNaN nodes in the
                graph), None is what transformers itself would take.

        Raises:
            ExportError: Weights are missing, the pooling is unknown, the max length is too large, or the
                architecture is no text encoder.
        """
        config = load_config(checkpoint)
        if config.is_encoder_decoder:
            raise ExportError(f"{checkpoint.name} ({config.model_type}) has a decoder; smartrt takes encoders")
        pooling = recipe.pooling
        if pooling is None:
            raise ExportError(f"{checkpoint.name} has no modules.json that names a pooling: say it with --pooling")
        tokenizer = load_tokenizer(checkpoint)
        recipe = recipe.override(max_length=_max_length(checkpoint, recipe, config, tokenizer))
        backbone = _load_backbone(checkpoint, attention)
        head = TokenHead.choose(config.hidden_size, config.num_hidden_layers, layer, adapter)
        encoder = TextEncoder(backbone, pooling, head, normalize_pooled=recipe.normalize)
        return cls(encoder.eval(), tokenizer, recipe)

    @property
    def head(self) -> TokenHead:
        """What makes token vectors of hidden states."""
        return self.encoder.head

    def dropped_ids(self) -> tuple[int, ...]:
        """Ids that take no part in late interaction: all special ids but the unknown token.

        The reference code drops ``all_special_ids``; the unknown token stands for a word of the text.
        """
        return tuple(sorted(set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}))

    def encode(self, texts: Sequence[str], side: Side) -> Embeddings:
        """Encode in one padded batch. ``truncated`` is left zero: the reference does not count."""
        prompt = self.recipe.query_prompt if side == "query" else self.recipe.document_prompt
        full = [prompt + text for text in texts]
        batch = self.tokenizer(
            [text.lower() for text in full] if self.recipe.lowercase else full,
            padding=True,
            truncation=True,
            max_length=self.recipe.max_length,
            return_tensors="pt",
            return_token_type_ids=False,
            split_special_tokens=True,
        )
        with torch.inference_mode():
            output = self.encoder(batch["input_ids"], batch["attention_mask"])
        keep = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], torch.tensor(self.dropped_ids()))
        rows = zip(output["token_states"], keep, output["pooled"], strict=True)
        tokens = [states[kept] if kept.any() else self._fallback(pooled) for states, kept, pooled in rows]
        return Embeddings(
            output["pooled"].numpy(),
            TokenStates.from_arrays([token.numpy() for token in tokens]),
            np.zeros(len(texts), np.int64),
        )

    def _fallback(self, pooled: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, self.head.dim) if self.head.adapter else normalize(pooled, dim=-1)[None]


def load_config(checkpoint: Checkpoint) -> Any:
    """The transformers configuration of a checkpoint."""
    # Without the file, transformers guesses the architecture from the directory's name.
    if not (checkpoint.path / "config.json").is_file():
        raise ExportError(f"{checkpoint.path} has no config.json: it is no transformers checkpoint")
    try:
        return transformers.AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(
            f"{checkpoint.path / 'config.json'} is not JSON, or names no model_type that transformers "
            f"{transformers.__version__} knows"
        ) from error


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The fast tokenizer of a checkpoint, padding on the right."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.path, use_fast=True, padding_side="right")
    except (OSError, ValueError) as error:
        raise ExportError(f"{checkpoint.name} has no tokenizer: {' '.join(str(error).split())[:200]}") from error
    if not tokenizer.is_fast:
        raise ExportError(f"{checkpoint.name} has no tokenizer.json and none can be made from its files")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _max_length(checkpoint: Checkpoint, recipe: Recipe, config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions > 0 and config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text"):
        positions -= config.pad_token_id + 1  # these count positions from behind the padding id
    limits = [limit for limit in (positions, tokenizer.model_max_length) if 0 < limit < 10**6]
    if recipe.max_length is None:
        if not limits:
            raise ExportError(f"no file of {checkpoint.name} names a maximum length: say it with --max-length")
        return min(limits)
    if positions > 0 and not 1 <= recipe.max_length <= positions:
        raise ExportError(f"max length {recipe.max_length} is outside 1 to {positions}, the model's positions")
    return recipe.max_length


def _load_backbone(checkpoint: Checkpoint, attention: str | None) -> Any:
    try:
        backbone, report = transformers.AutoModel.from_pretrained(
            checkpoint.path,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ExportError(f"cannot load {checkpoint.name}: {' '.join(str(error).split())[:300]}") from error
    missing = [key for key in report["missing_keys"] if not key.startswith(_UNUSED_WEIGHTS)]
    if missing or report["mismatched_keys"]:
        wrong = missing or [key for key, *_ in report["mismatched_keys"]]
        raise ExportError(
            f"{checkpoint.name} lacks {len(wrong)} weights of {type(backbone).__name__} (first: {wrong[0]}): "
            "it was saved from another class, or is incomplete"
        )
    return backbone
