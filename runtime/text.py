"""Text to token ids, exactly as the bundle's manifest describes it.

Special tokens written inside a user's text, such as ``[SEP]`` or ``<|im_end|>``, are text here: only the
tokenizer's own template adds control tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from .errors import CorruptBundleError
from .manifest import Prompts
from .prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .bundle import Bundle
    from .manifest import LateMask, Side, TokenizerEntry


class TextTokenizer:
    """Tokenises the texts of one bundle: prompt, template, truncation, late mask."""

    def __init__(self, tokenizer: Tokenizer, entry: TokenizerEntry, prompts: Prompts, mask: LateMask) -> None:
        self._tokenizer = tokenizer
        self._entry = entry
        self._prompts: dict[Side, str] = {"query": prompts.query, "document": prompts.document}
        self._dropped: dict[Side, NDArray[np.int64]] = {
            "query": np.array(mask.query, np.int64),
            "document": np.array(mask.document, np.int64),
        }

    @classmethod
    def open(cls, bundle: Bundle) -> TextTokenizer:
        """Load the bundle's tokenizer and check it against the manifest's probe.

        Raises:
            CorruptBundleError: The tokenizer is not the one the manifest describes.
        """
        tokenizer, entry = load_tokenizer(bundle), bundle.manifest.tokenizer
        tokenizer.enable_truncation(entry.max_length)
        prompts = bundle.manifest.prompts or Prompts("", "")
        return cls(tokenizer, entry, prompts, bundle.manifest.late_mask)

    def __call__(self, texts: Sequence[str], side: Side) -> list[Prepared]:
        """Tokenise `texts` as queries or as documents."""
        prompt, dropped = self._prompts[side], self._dropped[side]
        result = []
        for encoding in self._tokenizer.encode_batch([prompt + text for text in texts]):
            ids = np.array(encoding.ids, np.int64)
            special = sum(encoding.special_tokens_mask)
            lost = sum(len(piece.ids) - special for piece in encoding.overflowing)
            result.append(Prepared(ids, ~np.isin(ids, dropped), lost))
        return result

    def pieces(self, ids: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The vocabulary's spelling of each id, for people to read."""
        return pieces(self._tokenizer, ids)

    @property
    def max_length(self) -> int:
        """Tokens per text, template included, past which a text is cut."""
        return self._entry.max_length


def pieces(tokenizer: Tokenizer, ids: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """The vocabulary's spelling of each id."""
    return [tokenizer.id_to_token(int(i)) or f"<{int(i)}>" for i in ids]


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """Read the bundle's tokenizer without truncation and padding, special tokens in a text being text.

    Raises:
        CorruptBundleError: The tokenizer is not the one the manifest describes.
    """
    entry = bundle.manifest.tokenizer
    path = bundle.file(entry.path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  (tokenizers raises bare Exception)
        raise CorruptBundleError(f"{path} is not a tokenizer ({error}); export the bundle again") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    _check_tokenizer(path, tokenizer, entry)
    return tokenizer


def _check_tokenizer(path: object, tokenizer: Tokenizer, entry: TokenizerEntry) -> None:
    size = tokenizer.get_vocab_size()
    if size > entry.vocab_size:
        raise CorruptBundleError(
            f"{path} has {size} entries, the graph's table {entry.vocab_size}: "
            "this is the tokenizer of another model; export the bundle again"
        )
    template = tokenizer.num_special_tokens_to_add(False)
    if entry.max_length <= template:
        raise CorruptBundleError(
            f"{path} adds {template} special tokens, max_length {entry.max_length} leaves no room for text; "
            "export the bundle again with a larger --max-length"
        )
    ids = tuple(tokenizer.encode(entry.probe_text).ids)
    if ids != entry.probe_ids:
        raise CorruptBundleError(
            f"{path} reads {entry.probe_text!r} as {list(ids)[:8]}…, the manifest says "
            f"{list(entry.probe_ids)[:8]}…: this is another tokenizer; export the bundle again"
        )
