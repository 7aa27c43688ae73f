"""The prompt of a chat model as ids.

A template's special tokens become ids directly; the user's text is tokenised as text between them. What a
user writes can therefore never open a turn or stand for an image (in transformers' processors it can), and a
page is 1,750 ids by multiplication instead of by tokenising 1,750 placeholders.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ..errors import CorruptBundleError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from ..items import ParsedItem
    from ..manifest import Chat, Side, SideTemplates

_FIELD = re.compile(r"(\{(?:instruction|images|text)\})")


@dataclass(frozen=True, eq=False)
class Rendered:
    """A prompt: its ids, where each image's first placeholder stands, what was cut, and which state is pooled."""

    ids: NDArray[np.int64]
    image_starts: tuple[int, ...]
    truncated: int
    pooled_at: int


class ChatTokenizer:
    """Renders items with one bundle's templates."""

    def __init__(self, tokenizer: Tokenizer, chat: Chat, placeholder: int, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._placeholder = placeholder
        self._max_length = max_length
        added = {token.content: i for i, token in tokenizer.get_added_tokens_decoder().items()}
        self._special: dict[str, int] = added
        # Longest first: a token that begins with another one is not cut.
        names = sorted(map(re.escape, added), key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(names)})") if names else re.compile(r"(?!)()")
        span = list(self._pieces(chat.image_span))
        if span.count(placeholder) != 1:
            raise CorruptBundleError(
                f"chat.image_span {chat.image_span!r} must hold the placeholder {placeholder} once; export it again"
            )
        at = span.index(placeholder)
        self._before, self._after = span[:at], span[at + 1 :]

    def render(self, item: ParsedItem, tokens_per_image: Sequence[int], side: Side) -> Rendered:
        """Render one item.

        Args:
            item: Its images are as many as `tokens_per_image`.
            tokens_per_image: Visual tokens of each image.
            side: Query or document.

        Raises:
            InputError: The side has no template for such an item, or an image does not fit `max_length`.
        """
        sides: dict[Side, SideTemplates] = {"query": self._chat.query, "document": self._chat.document}
        template, values = self._choose(item, sides[side])
        ids: list[int] = []
        starts: list[int] = []
        run = ""  # text that is tokenised in one go: merges may cross from the template into the user's text
        for part in self._parts(template):
            if isinstance(part, str) and part != "{images}":
                run += values.get(part, part)
                continue
            ids += self._encode(run)
            run = ""
            if isinstance(part, int):
                ids.append(part)
                continue
            for count in tokens_per_image:
                ids += self._before
                starts.append(len(ids))
                ids += [self._placeholder] * count + self._after
        ids += self._encode(run)
        return self._finish(item, ids, starts, tokens_per_image)

    def _finish(self, item: ParsedItem, ids: list[int], starts: list[int], tokens_per_image: Sequence[int]) -> Rendered:
        suffix = self._chat.suffix_ids
        room = self._max_length - len(suffix)
        truncated = max(0, len(ids) - room)
        if starts and starts[-1] + tokens_per_image[-1] > room:
            raise InputError(
                f"{item.where}: its images take {sum(tokens_per_image):,} tokens and do not fit the model's "
                f"{self._max_length:,}: give fewer or smaller images"
            )
        kept = np.array([*ids[:room], *suffix], np.int64)
        if not len(kept):
            raise InputError(f"{item.where} is empty: its prompt has no token; give it a text or an instruction")
        if self._chat.pool_before_id is None:
            return Rendered(kept, tuple(starts), truncated, len(kept) - 1)
        # The template's own token is the last one: a user's text stands before it.
        place = max((at for at, token in enumerate(ids) if token == self._chat.pool_before_id), default=0)
        if not 0 < place < room:
            raise InputError(
                f"{item.where}: its text is {truncated:,} tokens too long and would push out the one that is pooled: "
                "shorten it"
            )
        return Rendered(kept, tuple(starts), truncated, place - 1)

    def _choose(self, item: ParsedItem, side: SideTemplates) -> tuple[str, dict[str, str]]:
        own = self._sentence(item.instruction or "") if side.own_instruction else ""
        instruction = own or side.instruction
        text = self._chat.empty_text if item.text is None and not item.images else item.text or ""
        kinds = [("instruction", bool(instruction)), ("image", bool(item.images)), ("text", bool(text))]
        names = [name for name, present in kinds if present]
        parts = "+".join(names)
        if parts not in side.templates and "text" not in names:
            parts = "+".join([*names, "text"])  # written as a text that happens to be empty
        template = side.templates.get(parts)
        if template is None:
            given = "+".join(names) or "nothing"
            raise InputError(f"{item.where} consists of {given}; this bundle takes {', '.join(sorted(side.templates))}")
        return template, {"{instruction}": instruction, "{text}": text}

    def _sentence(self, instruction: str) -> str:
        """Qwen3VLEmbedder.format_model_input: stripped, ended by a full stop unless punctuation ends it."""
        if not self._chat.end_sentence:
            return instruction
        stripped = instruction.strip()
        ended = not stripped or unicodedata.category(stripped[-1]).startswith("P")
        return stripped if ended else f"{stripped}."

    def _parts(self, template: str) -> Iterator[str | int]:
        """Fields as ``{name}``, special tokens as ids, text between them."""
        for part in _FIELD.split(template):
            if _FIELD.fullmatch(part):
                yield part
            else:
                yield from self._tokens(part)

    def _tokens(self, text: str) -> Iterator[str | int]:
        for piece in self._split.split(text):
            if piece:
                yield self._special.get(piece, piece)

    def _pieces(self, text: str) -> Iterator[int]:
        for piece in self._tokens(text):
            yield from [piece] if isinstance(piece, int) else self._encode(piece)

    def _encode(self, text: str) -> list[int]:
        return cast("list[int]", self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []
