"""The published wrappers' prompts, as strings: the truth that the templates of a bundle are compared with.

Each writes an item as its wrapper does, with one ``<|image_pad|>`` per image; chat models go through the
checkpoint's own chat template.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from smartrt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartrt.manifest import Side


def render(preset: str, item: Mapping[str, Any], side: Side, tokenizer: Any, instruction: str = "") -> str:
    """The prompt of one item; `instruction` is the side's default."""
    return _WRAPPERS[preset](item, side, tokenizer, instruction)


def images_of(item: Mapping[str, Any]) -> list[Any]:
    """The images of an item, as a list."""
    image = item.get("image")
    return [] if image is None else list(image) if isinstance(image, list | tuple) else [image]


def _qwen3(item: Mapping[str, Any], side: Side, tokenizer: Any, default: str) -> str:  # noqa: ARG001  (one signature for all)
    instruction = (item.get("instruction") or "").strip()
    if instruction and not unicodedata.category(instruction[-1]).startswith("P"):
        instruction += "."
    content: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images_of(item)]
    if item.get("text") is not None:
        content.append({"type": "text", "text": item["text"]})
    if not content:
        content = [{"type": "text", "text": "NULL"}]
    system = [{"type": "text", "text": instruction or default}]
    return _template(tokenizer, [{"role": "system", "content": system}, {"role": "user", "content": content}])


def _gme(item: Mapping[str, Any], side: Side, tokenizer: Any, default: str) -> str:  # noqa: ARG001
    instruction = item.get("instruction") if side == "query" else None
    image = "<|vision_start|><|image_pad|><|vision_end|>" * len(images_of(item))
    return (
        f"<|im_start|>system\n{instruction or default}<|im_end|>\n"
        f"<|im_start|>user\n{image}{item.get('text') or ''}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
    )


def _vlm2vec(item: Mapping[str, Any], side: Side, tokenizer: Any, default: str) -> str:  # noqa: ARG001
    words = [part for part in (item.get("instruction") or default, item.get("text")) if part]
    prompt = " ".join(words)
    return f"{'<|image_pad|>' * len(images_of(item))} {prompt}" if images_of(item) else prompt


def _lamra(item: Mapping[str, Any], side: Side, tokenizer: Any, default: str) -> str:  # noqa: ARG001
    content: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images_of(item)]
    text, instruction = item.get("text"), item.get("instruction") or default
    written = (f" {instruction}" if instruction else "") + ("\n" if instruction and text else "") + (text or "")
    what = " and ".join(name for name, part in (("image", content), ("sentence", written)) if part)
    what = what or "sentence"
    content.append({"type": "text", "text": f"{written}\nSummarize above {what} in one word: "})
    answer = [{"type": "text", "text": "<emb>."}]
    return _template(tokenizer, [{"role": "user", "content": content}, {"role": "assistant", "content": answer}])


def _template(tokenizer: Any, messages: list[dict[str, Any]]) -> str:
    if not tokenizer.chat_template:
        raise ExportError("the checkpoint has no chat template (chat_template.jinja or in tokenizer_config.json)")
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


_WRAPPERS: dict[str, Callable[[Mapping[str, Any], Side, Any, str], str]] = {
    "qwen3-vl-embedding": _qwen3,
    "gme": _gme,
    "vlm2vec": _vlm2vec,
    "lamra": _lamra,
}
