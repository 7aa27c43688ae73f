"""What each published embedding model adds to its backbone, as data.

Sources: the wrappers that the models are published with. Qwen3-VL-Embedding: `qwen3_vl_embedding.py` of
QwenLM/Qwen3-VL-Embedding; GME: `gme_inference.py` and `modeling_gme_qwen2vl.py` of Alibaba-NLP/gme-Qwen2-VL;
VLM2Vec: `src/model/processor.py` of TIGER-AI-Lab/VLM2Vec; LamRA-Ret: SMART's conversion to Qwen3-VL-2B, and the
prompts of Code-kunkun/LamRA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from smartrt.errors import ExportError
from smartrt.manifest import ResizeStage, SideTemplates

_SPAN = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Preset:
    """One embedding model. What is None is read from the checkpoint's own files.

    Attributes:
        family: The backbone it is made from.
        query: See `manifest.Chat`; so are `document`, `image_span`, `end_sentence`, `empty_text`, `positions`.
        pool_before: The pooled vector is read before this token; empty for the last token.
        deepstack: Whether its wrapper passes DeepStack features on.
        query_drops_images: Whether its queries leave the tokens of images out of late interaction.
        stages: Resizing; limits of 0 stand for those of the checkpoint's `preprocessor_config.json`.
        transparency: What becomes of RGBA.
        max_images: Images per item.
        max_length: Tokens per item.
        names: Words by which a checkpoint's name is known.
    """

    family: Literal["qwen3-vl", "qwen2-vl"]
    query: SideTemplates
    document: SideTemplates
    image_span: str
    end_sentence: bool
    empty_text: str
    positions: Literal["mrope", "sequential"]
    pool_before: str
    deepstack: bool
    query_drops_images: bool
    stages: tuple[ResizeStage, ...]
    transparency: Literal["white", "drop"]
    max_images: int | None
    max_length: int
    names: tuple[str, ...]


def _chat(system: str, user: dict[str, str], assistant: str) -> dict[str, str]:
    return {
        parts: f"{system}<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n{assistant}"
        for parts, content in user.items()
    }


_SYSTEM = "<|im_start|>system\n{instruction}<|im_end|>\n"
_CONTENT = {
    "instruction+text": "{text}",
    "instruction+image": "{images}",
    "instruction+image+text": "{images}{text}",
}
_QWEN3 = SideTemplates(_chat(_SYSTEM, _CONTENT, ""), "Represent the user's input.", own_instruction=True)
_GME = _chat(_SYSTEM, _CONTENT, "<|endoftext|>")
_VLM2VEC = {
    "text": "{text}",
    "image": "{images} ",
    "image+text": "{images} {text}",
    "instruction": "{instruction}",
    "instruction+text": "{instruction} {text}",
    "instruction+image": "{images} {instruction}",
    "instruction+image+text": "{images} {instruction} {text}",
}
_ONE_WORD = "\nSummarize above {what} in one word: "
_LAMRA_PARTS = {
    "text": ("{text}", "sentence"),
    "image": ("{images}", "image"),
    "image+text": ("{images}{text}", "image and sentence"),
    "instruction": (" {instruction}", "sentence"),
    "instruction+text": (" {instruction}\n{text}", "sentence"),
    "instruction+image": ("{images} {instruction}", "image and sentence"),
    "instruction+image+text": ("{images} {instruction}\n{text}", "image and sentence"),
}
_LAMRA = _chat(
    "",
    {parts: content + _ONE_WORD.replace("{what}", what) for parts, (content, what) in _LAMRA_PARTS.items()},
    "<emb>.<|im_end|>\n<|im_start|>assistant\n",
)
_CLAMPED = ResizeStage("qwen-vl-utils", 4 * 28 * 28, 16384 * 28 * 28, "clamp")

PRESETS = {
    "qwen3-vl-embedding": Preset(
        family="qwen3-vl",
        query=_QWEN3,
        document=_QWEN3,
        image_span=_SPAN,
        end_sentence=True,
        empty_text="NULL",
        positions="mrope",
        pool_before="",
        deepstack=True,
        query_drops_images=False,
        stages=(ResizeStage("qwen-vl-utils", 4 * 32 * 32, 1800 * 32 * 32, "refuse"),),
        transparency="white",
        max_images=None,
        max_length=8192,
        names=("qwen3-vl-embedding",),
    ),
    "gme": Preset(
        family="qwen2-vl",
        query=SideTemplates(_GME, "You are a helpful assistant.", own_instruction=True),
        document=SideTemplates(_GME, "You are a helpful assistant.", own_instruction=False),
        image_span=_SPAN,
        end_sentence=False,
        empty_text="",
        positions="sequential",
        pool_before="",
        deepstack=False,
        query_drops_images=True,
        stages=(_CLAMPED, ResizeStage("transformers", 256 * 28 * 28, 1280 * 28 * 28, "refuse")),
        transparency="drop",
        max_images=1,
        max_length=1800,
        names=("gme",),
    ),
    "vlm2vec": Preset(
        family="qwen2-vl",
        query=SideTemplates(_VLM2VEC, "", own_instruction=True),
        document=SideTemplates(_VLM2VEC, "", own_instruction=True),
        image_span="<|image_pad|>",
        end_sentence=False,
        empty_text="",
        positions="sequential",  # no <|vision_start|>, by which get_rope_index finds images
        pool_before="",
        deepstack=False,
        query_drops_images=False,
        stages=(ResizeStage("tiny-square", 0, 0, "refuse"), ResizeStage("transformers", 0, 0, "refuse")),
        transparency="drop",
        max_images=None,
        max_length=8192,
        names=("vlm2vec",),
    ),
    "lamra": Preset(
        family="qwen3-vl",
        query=SideTemplates(_LAMRA, "", own_instruction=True),
        document=SideTemplates(_LAMRA, "", own_instruction=True),
        image_span=_SPAN,
        end_sentence=False,
        empty_text="",
        positions="sequential",
        pool_before="<emb>",
        deepstack=False,
        query_drops_images=False,
        stages=(ResizeStage("qwen-vl-utils", 4 * 32 * 32, 1024 * 28 * 28, "refuse"),),
        transparency="white",
        max_images=None,
        max_length=8192,
        names=("lamra",),
    ),
}
"""Name -> preset. `smartrt export --preset` takes the names."""


def choose_preset(family: str, source: str, given: str | None) -> tuple[str, Preset]:
    """The preset that was given, or the one whose name the checkpoint's bears.

    Raises:
        ExportError: There is none, or it belongs to another backbone.
    """
    fitting = [name for name, preset in PRESETS.items() if preset.family == family]
    if given is None:
        named = [name for name in fitting if any(_has_word(source.lower(), word) for word in PRESETS[name].names)]
        if len(named) != 1:
            raise ExportError(
                f"{source!r} does not say which embedding model it is: add --preset, one of {', '.join(fitting)}"
            )
        given = named[0]
    if given not in fitting:
        raise ExportError(f"--preset {given} does not fit a {family} checkpoint; there are: {', '.join(fitting)}")
    return given, PRESETS[given]


def _has_word(name: str, word: str) -> bool:
    """Whether `word` stands in `name` by itself: ``gme`` is in ``gme-Qwen2-VL`` and not in ``segmentation``."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", name) is not None
