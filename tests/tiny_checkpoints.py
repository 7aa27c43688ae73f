"""Tiny random checkpoints of every family, made from transformers' configurations.

They carry real tokenizer files (made from the parity sentences) and the files sentence-transformers saves,
so that everything but the weights is as in a published checkpoint.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from smartrt.export.sentences import DOCUMENTS, QUERIES

HIDDEN = 32
_SMALL = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "head_dim": 8}
_MAX_LENGTH = 48


@dataclass(frozen=True)
class Family:
    """One architecture: how its configuration is made, how it pools, which tokenizer style it has."""

    config: Callable[..., Any]
    pooling: str = "mean"
    style: str = "bert"
    prompts: tuple[tuple[str, str], ...] = ()


def _distilbert(**common: Any) -> Any:
    return transformers.DistilBertConfig(dim=HIDDEN, n_layers=2, n_heads=4, hidden_dim=64, **common)


def _of(kind: Any, **extra: Any) -> Callable[..., Any]:
    return lambda **common: kind(**(extra | common))


FAMILIES = {
    "bert": Family(_of(transformers.BertConfig, **_SMALL, max_position_embeddings=64)),
    "roberta": Family(_of(transformers.RobertaConfig, **_SMALL, max_position_embeddings=66), "mean", "roberta"),
    "xlm-roberta": Family(
        _of(transformers.XLMRobertaConfig, **_SMALL, max_position_embeddings=66),
        "cls",
        "roberta",
        (("query", "query: "), ("document", "passage: ")),
    ),
    "distilbert": Family(_distilbert, "cls"),
    "mpnet": Family(_of(transformers.MPNetConfig, **_SMALL, max_position_embeddings=66), "mean", "roberta"),
    "albert": Family(_of(transformers.AlbertConfig, **_SMALL, embedding_size=16)),
    "electra": Family(_of(transformers.ElectraConfig, **_SMALL, embedding_size=16), "cls"),
    "modernbert": Family(
        _of(transformers.ModernBertConfig, **_SMALL, global_attn_every_n_layers=2, local_attention=8), "cls"
    ),
    "qwen3": Family(
        _of(transformers.Qwen3Config, **_GROUPED), "last", "decoder", (("query", "Instruct: find the answer\nQuery: "),)
    ),
    "llama": Family(_of(transformers.LlamaConfig, **_SMALL, num_key_value_heads=2), "last", "decoder"),
}

_SPECIALS = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "decoder": {"pad": "<|endoftext|>", "eos": "<|im_end|>", "bos": "<|im_start|>"},
}
_TEMPLATES = {"bert": "[CLS] $A [SEP]", "roberta": "<s> $A </s>", "decoder": "$A <|endoftext|>"}


def build(family: str, directory: Path, *, vocabulary: int = 400, normalize: bool = True) -> Path:
    """Write a checkpoint of `family` to `directory`; the same arguments write the same weights."""
    chosen = FAMILIES[family]
    tokenizer = _tokenizer(chosen.style, vocabulary)
    tokenizer.save_pretrained(directory)
    config = chosen.config(
        vocab_size=vocabulary,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id or tokenizer.cls_token_id,
        eos_token_id=tokenizer.eos_token_id or tokenizer.sep_token_id,
    )
    torch.manual_seed(20240521)
    transformers.AutoModel.from_config(config).save_pretrained(directory)
    write_sentence_transformers_files(directory, chosen.pooling, dict(chosen.prompts), normalize=normalize)
    return directory


def write_sentence_transformers_files(
    directory: Path, pooling: str, prompts: dict[str, str], *, normalize: bool = True
) -> None:
    """Write the files that sentence-transformers keeps beside a checkpoint."""
    prefix = "sentence_transformers.models."
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    _write(
        directory / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": prefix + kind} for i, (path, kind) in enumerate(modules)],
    )
    (directory / "1_Pooling").mkdir(exist_ok=True)
    names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}
    _write(
        directory / "1_Pooling" / "config.json",
        {"word_embedding_dimension": HIDDEN, "include_prompt": True}
        | {f"pooling_mode_{key}": name == pooling for name, key in names.items()},
    )
    _write(directory / "sentence_bert_config.json", {"max_seq_length": _MAX_LENGTH, "do_lower_case": False})
    _write(directory / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})


def _tokenizer(style: str, vocabulary: int) -> transformers.PreTrainedTokenizerFast:
    specials = _SPECIALS[style]
    if style == "bert":
        tokenizer = Tokenizer(models.WordPiece(_word_pieces(specials, vocabulary), unk_token="[UNK]"))  # noqa: S106
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        tokenizer.add_special_tokens(list(specials.values()))
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(specials.values()), show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        tokenizer.train_from_iterator(QUERIES + DOCUMENTS, trainer)
    used = [token for token in specials.values() if token in _TEMPLATES[style]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=_TEMPLATES[style], special_tokens=[(token, tokenizer.token_to_id(token)) for token in used]
    )
    names = {f"{key}_token": token for key, token in specials.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names)


def _word_pieces(specials: dict[str, str], size: int) -> dict[str, int]:
    """The special tokens, every letter whole and continued, then the commonest words.

    Made by hand: the WordPiece trainer of tokenizers gives another vocabulary each time.
    """
    words = Counter(word for text in QUERIES + DOCUMENTS for word in text.lower().split() if word.isalpha())
    letters = sorted({letter for word in words for letter in word} | set(".,:;?()[]<>|0123456789"))
    common = sorted(words, key=lambda word: (-words[word], word))
    pieces = [*specials.values(), *letters, *(f"##{letter}" for letter in letters), *common]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces)) if i < size}


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
