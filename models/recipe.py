"""The recipe of a text encoder: everything about a checkpoint that is not weights.

Read from the files that sentence-transformers saves beside a checkpoint (`modules.json`,
`1_Pooling/config.json`, `sentence_bert_config.json`, `config_sentence_transformers.json`; their readers
are `sentence_transformers/SentenceTransformer.py` and `sentence_transformers/models/`). What they ask for
and smartrt does not do is an error: a pooled vector that is nearly right is worse than none.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from smartrt.errors import ExportError

from .checkpoint import read_json

if TYPE_CHECKING:
    from pathlib import Path

Pooling = Literal["mean", "cls", "last"]
POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "last")

_POOLING_KEYS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint turns text into one vector.

    Attributes:
        pooling: ``mean`` over valid tokens, ``cls`` (the first), ``last``; None if no file says it.
        normalize: Whether the pooled vector is L2-normalised.
        max_length: Tokens per text, special tokens included; None if no file says it.
        lowercase: Whether texts are lower-cased before the tokenizer sees them.
        query_prompt: Text in front of a query.
        document_prompt: Text in front of a document.
    """

    pooling: Pooling | None = None
    normalize: bool = True
    max_length: int | None = None
    lowercase: bool = False
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read the recipe of the checkpoint directory `path`.

        A directory without `modules.json` is a plain transformers checkpoint: its pooling is unknown and
        has to be given, its vectors are normalised.

        Raises:
            ExportError: The files ask for something that smartrt does not do.
        """
        modules = read_json(path / "modules.json")
        if modules is None:
            return cls()
        kinds = {module["type"].rsplit(".", 1)[-1]: path / module["path"] for module in modules}
        unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
        if unknown:
            raise ExportError(
                f"{path} has the modules {sorted(unknown)} after its transformer, which smartrt does not run: "
                "its pooled vectors would be wrong"
            )
        transformer = read_json(path / "sentence_bert_config.json") or {}
        recipe = cls(
            pooling=_read_pooling(kinds["Pooling"]) if "Pooling" in kinds else None,
            normalize="Normalize" in kinds,
            max_length=transformer.get("max_seq_length"),
            lowercase=bool(transformer.get("do_lower_case", False)),
        )
        return recipe.override(**_read_prompts(path))

    def override(self, **given: Any) -> Recipe:
        """The recipe with every value that was given (is not None) in place of its own."""
        return dataclasses.replace(self, **{key: value for key, value in given.items() if value is not None})


def _read_pooling(directory: Path) -> Pooling:
    config = read_json(directory / "config.json")
    if config is None:
        raise ExportError(f"{directory}/config.json is missing: say the pooling with --pooling")
    named = config.get("pooling_mode")  # sentence-transformers 5.2 and later write one word
    modes = [named] if isinstance(named, str) else [key for key in config if key.startswith("pooling_mode_")]
    active = [_POOLING_KEYS.get(key, key) for key in modes if isinstance(named, str) or config[key]]
    if len(active) != 1 or active[0] not in POOLINGS:
        raise ExportError(f"{directory}/config.json asks for pooling {active}; smartrt has one of {list(POOLINGS)}")
    if config.get("include_prompt") is False:
        raise ExportError(f"{directory}/config.json leaves the prompt out of the pooling, which smartrt does not do")
    return active[0]


def _read_prompts(path: Path) -> dict[str, str]:
    """The prompts that `encode_query` and `encode_document` of sentence-transformers 5 mean to choose.

    They ignore ``default_prompt_name``, which is for `encode`. One difference: theirs never get as far as
    ``passage`` and ``corpus``, because an empty ``document`` prompt is always there; an E5 checkpoint
    that names ``passage: `` gets it here.
    """
    config = read_json(path / "config_sentence_transformers.json") or {}
    prompts = config.get("prompts") or {}
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if prompts.get(name)), "")
    return {"query_prompt": prompts.get("query") or "", "document_prompt": document}
