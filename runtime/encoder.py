"""Encoder: texts in, one pooled vector and one vector per token out, from a single forward pass."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .batching import pad, plan_batches
from .bundle import Bundle
from .engines import open_engine, run_checked
from .errors import CorruptBundleError, EngineError, InputError, OptionError, TruncationWarning
from .fusion import unit
from .manifest import Side
from .text import TextTokenizer
from .types import Embeddings, TokenStates

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from .engines import Engine
    from .text import TokenizedText

Item = str | Mapping[str, Any]
"""What an encoder takes: a text, or ``{"text": ...}``."""

TOKEN_BUDGET = 1024
"""Padded tokens per engine call: within about 10 % of the best, with one thread and with four (docs/performance.md)."""

WINDOW = 512
"""Items that `embed` looks at together: enough to find neighbours of one length, little to hold."""


class Encoder:
    """Encodes with one bundle on one engine. Make one with `open`; use it as a context manager or `close` it."""

    def __init__(self, bundle: Bundle, tokenizer: TextTokenizer, engine: Engine, token_budget: int) -> None:
        _check_count("token_budget", token_budget)
        self.bundle = bundle
        self.tokenizer = tokenizer
        self._engine = engine
        self._token_budget = token_budget

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = "ort",
        device: str = "cpu",
        verify: bool = True,
        token_budget: int = TOKEN_BUDGET,
        **options: Any,
    ) -> Encoder:
        """Open a bundle and load its graph.

        Args:
            path: The bundle directory, ``NAME.smartrt``.
            engine: ``ort`` (ONNX Runtime) or ``fake`` (arithmetic, for tests).
            device: ``cpu``, ``cuda`` or ``cuda:N``. A device that does not load is an error.
            verify: Compare every file's SHA-256 with the manifest before using it.
            token_budget: Padded tokens per engine call; bounds memory.
            options: Fields of the engine's options, such as ``threads=1`` (`engines.ort.OrtOptions`).

        Raises:
            BundleError: The bundle is missing, corrupt or of a newer format.
            MissingDependencyError: The engine's library is not installed.
            DeviceError: The device did not load.
            OptionError: There is no such engine, device or option.
        """
        bundle = Bundle.open(path, verify=verify)
        return cls.from_bundle(bundle, engine=engine, device=device, token_budget=token_budget, **options)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        engine: str = "ort",
        device: str = "cpu",
        token_budget: int = TOKEN_BUDGET,
        **options: Any,
    ) -> Encoder:
        """Load the graph of a bundle that is open already. See `open`."""
        tokenizer = TextTokenizer.open(bundle)
        loaded = open_engine(bundle, "encoder", engine=engine, device=device, **options)
        _check_interface(bundle, loaded)
        return cls(bundle, tokenizer, loaded, token_budget)

    def encode_query(self, items: Item | Sequence[Item], *, allow_empty: bool = False) -> Embeddings:
        """Encode queries: the bundle's query prompt in front, the query mask behind.

        Args:
            items: One text, or a sequence of texts or ``{"text": ...}``.
            allow_empty: Take texts without a visible character. They encode to the template's own tokens;
                none of these is kept, so their only token vector is their pooled one.

        Returns:
            One row per item, in the order given; an item's vectors do not depend on its neighbours.

        Raises:
            InputError: An item is empty, or is no text.
        """
        return self._encode(list(_as_sequence(items)), "query", allow_empty)

    def encode_document(self, items: Item | Sequence[Item], *, allow_empty: bool = False) -> Embeddings:
        """Encode documents: the document prompt in front, the document mask behind. See `encode_query`."""
        return self._encode(list(_as_sequence(items)), "document", allow_empty)

    def embed(
        self,
        items: Iterable[Item],
        *,
        side: Side = "document",
        window: int = WINDOW,
        allow_empty: bool = False,
    ) -> Iterator[Embeddings]:
        """Encode a stream of any length, yielding `window` items at a time, in order.

        Memory holds one window. Sorting by length happens inside it.
        """
        _check_count("window", window)
        if side not in get_args(Side):
            raise OptionError(f"unknown side {side!r}; there are: {', '.join(get_args(Side))}")
        stream, first = iter(_as_sequence(items)), 0
        while chunk := list(itertools.islice(stream, window)):
            yield self._encode(chunk, side, allow_empty, first)
            first += len(chunk)

    def close(self) -> None:
        """Give back the engine's memory."""
        self._engine.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(self, items: Sequence[Item], side: Side, allow_empty: bool, first: int = 0) -> Embeddings:
        texts = [_text_of(item, i, side, allow_empty) for i, item in enumerate(items, first)]
        # The same text is run once: cheaper, and duplicates get equal vectors to the last bit, so that
        # their scores tie instead of being ordered by rounding.
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        unique = self._run(self.tokenizer(list(rows), side))
        chosen = [rows[text] for text in texts]
        result = unique if len(rows) == len(texts) else unique.take(chosen)
        _warn_if_truncated(result.truncated, side, self.tokenizer.max_length, first)
        return result

    def _run(self, texts: list[TokenizedText]) -> Embeddings:
        dims = self.bundle.manifest.dims
        pooled = np.empty((len(texts), dims.pooled), np.float32)
        tokens: list[Any] = [None] * len(texts)
        for batch in plan_batches([len(text.ids) for text in texts], self._token_budget):
            outputs, mask = self._run_batch([texts[i] for i in batch])
            pooled[batch] = outputs["pooled"]
            for row, i in enumerate(batch):
                states = outputs["token_states"][row][mask[row]][texts[i].keep]
                tokens[i] = states.astype(np.float32) if len(states) else unit(pooled[i : i + 1])
        result = Embeddings(
            pooled,
            TokenStates.from_arrays(tokens, dims.token),
            np.array([text.truncated for text in texts], np.int64),
        )
        if not (np.isfinite(pooled).all() and np.isfinite(result.tokens.values).all()):
            raise EngineError("the graph returned NaN or infinity: its weights or its precision overflow")
        return result

    def _run_batch(self, texts: list[TokenizedText]) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        entry = self.bundle.manifest.tokenizer
        ids, mask = pad([text.ids for text in texts], entry.pad_id, entry.padding_side)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {spec.name for spec in self._engine.inputs}
        fed = {name: array for name, array in feeds.items() if name in wanted}
        return run_checked(self._engine, fed), mask.astype(bool)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be a whole number from 1 up, got {value!r}")


def _check_interface(bundle: Bundle, engine: Engine) -> None:
    manifest = bundle.manifest
    expected = dict.fromkeys(manifest.graphs["encoder"].inputs, ("batch", "length")) | {
        "pooled": ("batch", manifest.dims.pooled),
        "token_states": ("batch", "length", manifest.dims.token),
    }
    found = {spec.name: spec.axes for spec in (*engine.inputs, *engine.outputs)}
    if found != expected:
        raise CorruptBundleError(f"{bundle.path}: the graph has {found}, the manifest says {expected}; export it again")


def _as_sequence(items: Any) -> Any:
    """One item becomes a list of one; what cannot be iterated, or would give its bytes, is refused."""
    if isinstance(items, str | Mapping):
        return [items]
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray):
        raise InputError(f"expected a text, {{'text': …}} or a sequence of these, got {type(items).__name__}")
    return items


def _text_of(item: Item, position: int, side: Side, allow_empty: bool) -> str:
    text = item
    if isinstance(item, Mapping):
        unknown = set(item) - {"text"}
        if unknown:
            raise InputError(
                f"{side} {position} has {sorted(map(str, unknown))}: this bundle takes text only, as {{'text': …}}"
            )
        text = item.get("text", "")
    if not isinstance(text, str):
        raise InputError(f"{side} {position} must be a text, got {type(text).__name__}")
    if not text.strip() and not allow_empty:
        raise InputError(f"{side} {position} is empty: give it a text, or pass allow_empty=True")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{side} {position} is not valid Unicode: {error.reason} at {error.start}") from None
    return text


def _warn_if_truncated(truncated: NDArray[np.int64], side: Side, max_length: int, first: int) -> None:
    cut = np.flatnonzero(truncated)
    if len(cut):
        worst = int(truncated.argmax())
        warnings.warn(
            f"{len(cut)} of {len(truncated)} texts were cut to {max_length} tokens; "
            f"{side} {first + worst} lost most: {int(truncated[worst])} tokens",
            TruncationWarning,
            stacklevel=4,
        )
