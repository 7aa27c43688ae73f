"""Encoder: texts and images in, one pooled vector and one vector per token out, from a single forward pass."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .backbones import open_backbone
from .batching import plan_batches
from .bundle import Bundle
from .engines import device_of
from .errors import EngineError, OptionError, SaturationWarning, TruncationWarning
from .fusion import unit
from .items import as_sequence, parse_item
from .manifest import QueryMask, Side
from .scoring.rough import saturates
from .types import Embeddings, TokenStates

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from .backbones import Backbone
    from .images.limits import ImageLimits
    from .items import Item
    from .prepared import Prepared

TOKEN_BUDGET = 1024
"""Padded tokens per engine call: within about 10 % of the best, with one thread and with four (docs/performance.md)."""

WINDOW = 512
"""Items that `embed` looks at together: enough to find neighbours of one length, little to hold."""

PIXEL_BUDGET = 32 << 20
"""Bytes of patches held at a time, about six pages of the largest size Qwen3-VL-Embedding takes."""


class Encoder:
    """Encodes with one bundle on one engine. Make one with `open`; use it as a context manager or `close` it."""

    def __init__(self, bundle: Bundle, backbone: Backbone, token_budget: int) -> None:
        _check_count("token_budget", token_budget)
        self.bundle = bundle
        self.backbone = backbone
        self._token_budget = token_budget

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = "ort",
        device: str | None = None,
        verify: bool = True,
        token_budget: int = TOKEN_BUDGET,
        image_limits: ImageLimits | None = None,
        **options: Any,
    ) -> Encoder:
        """Open a bundle and load its graph; a vision graph waits for the first image.

        Args:
            path: The bundle directory, ``NAME.smartrt``.
            engine: ``ort`` (ONNX Runtime), ``trt`` (TensorRT) or ``fake`` (arithmetic, for tests).
            device: ``cpu``, ``cuda`` or ``cuda:N``; None: the CPU, with TensorRT the first GPU. A device that does not
                load is an error.
            verify: Compare every file's SHA-256 with the manifest before using it.
            token_budget: Padded tokens per engine call; bounds memory.
            image_limits: What an image may cost before it is refused (`images.ImageLimits`).
            options: Fields of the engine's options, such as ``threads=1`` (`engines.ort.OrtOptions`,
                `engines.trt.TrtOptions`).

        Raises:
            BundleError: The bundle is missing, corrupt or of a newer format.
            MissingDependencyError: The engine's library is not installed.
            DeviceError: The device did not load.
            OptionError: There is no such engine, device or option.
        """
        bundle = Bundle.open(path, verify=verify)
        return cls.from_bundle(
            bundle, engine=engine, device=device, token_budget=token_budget, image_limits=image_limits, **options
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        engine: str = "ort",
        device: str | None = None,
        token_budget: int = TOKEN_BUDGET,
        image_limits: ImageLimits | None = None,
        **options: Any,
    ) -> Encoder:
        """Load the graph of a bundle that is open already. See `open`."""
        place = device_of(engine, device)
        if engine == "ort" and place == "cpu" and bundle.manifest.precision.activations == "dynamic" and saturates():
            warnings.warn(
                f"{bundle.path} is {bundle.manifest.precision.name}, and this processor saturates when it adds 8-bit "
                "products: its vectors are less exact than those that were verified. Use w8 here, or verify it",
                SaturationWarning,
                stacklevel=3,
            )
        if engine == "trt" or options.get("cuda_graphs"):  # their shapes end where the batches do
            options.setdefault("batch_tokens", token_budget)
        backbone = open_backbone(bundle, engine=engine, device=place, image_limits=image_limits, **options)
        return cls(bundle, backbone, token_budget)

    def encode_query(
        self, items: Item | Sequence[Item], *, query_mask: QueryMask = "bundle", allow_empty: bool = False
    ) -> Embeddings:
        """Encode queries: the bundle's query prompt in front, the query mask behind.

        Args:
            items: One item or a sequence of items: a text, or ``{"text": ..., "image": ..., "instruction": ...}``
                with one image or several (path, bytes, PIL image, uint8 array). A bundle of texts takes text.
            query_mask: ``bundle``, or ``text-only`` to keep the tokens of images out of late interaction
                (composed image retrieval).
            allow_empty: Take items without a visible character or image. They encode to the template's own
                tokens; where none of these is kept, their only token vector is their pooled one.

        Returns:
            One row per item, in the order given; an item's vectors do not depend on its neighbours.

        Raises:
            InputError: An item is empty, of the wrong type, or holds an image that cannot be used.
        """
        return self._encode(list(as_sequence(items)), "query", allow_empty, query_mask=query_mask)

    def encode_document(self, items: Item | Sequence[Item], *, allow_empty: bool = False) -> Embeddings:
        """Encode documents: the document prompt in front, the document mask behind. See `encode_query`."""
        return self._encode(list(as_sequence(items)), "document", allow_empty)

    def embed(
        self,
        items: Iterable[Item],
        *,
        side: Side = "document",
        window: int = WINDOW,
        allow_empty: bool = False,
    ) -> Iterator[Embeddings]:
        """Encode a stream of any length, yielding `window` items at a time, in order.

        Memory holds one window, and of its images `PIXEL_BUDGET`. Sorting by length happens inside it.
        """
        _check_count("window", window)
        _check_side(side)
        stream, first = iter(as_sequence(items)), 0
        while chunk := list(itertools.islice(stream, window)):
            yield self._encode(chunk, side, allow_empty, first)
            first += len(chunk)

    def check(self, item: Item, side: Side, where: str, *, allow_empty: bool = False) -> None:
        """Tokenise `item` and decode its images, and forget them: raises InputError naming `where` if it cannot be."""
        _check_side(side)
        parsed = parse_item(item, where, self.bundle.manifest.modalities, allow_empty=allow_empty)
        for _ in self.backbone.prepare([parsed], side, "bundle"):
            pass

    def describe(self, item: Item, side: Side) -> list[str]:
        """What each token vector of `item` belongs to: a piece of text, or a place in an image."""
        _check_side(side)
        parsed = parse_item(item, side, self.bundle.manifest.modalities, allow_empty=True)
        (prepared,) = self.backbone.prepare([parsed], side, "bundle")
        return self.backbone.describe(prepared) or ["(pooled)"]

    def close(self) -> None:
        """Give back the engine's memory."""
        self.backbone.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(
        self,
        items: Sequence[Item],
        side: Side,
        allow_empty: bool,
        first: int = 0,
        query_mask: QueryMask = "bundle",
    ) -> Embeddings:
        if query_mask not in get_args(QueryMask):
            raise OptionError(f"unknown query mask {query_mask!r}; there are: {', '.join(get_args(QueryMask))}")
        modalities = self.bundle.manifest.modalities
        parsed = [
            parse_item(item, f"{side} {i}", modalities, allow_empty=allow_empty) for i, item in enumerate(items, first)
        ]
        prepared = self.backbone.prepare(parsed, side, query_mask)
        parts = [self._run_unique(window) for window in _windows(prepared)]
        result = Embeddings.concatenate(parts) if parts else self._run([])
        _warn_if_truncated(result.truncated, side, self.backbone.max_length, first)
        return result

    def _run_unique(self, items: list[Prepared]) -> Embeddings:
        # Equal items are run once: cheaper, and duplicates get equal vectors to the last bit, so that
        # their scores tie instead of being ordered by rounding.
        keys = [item.key() for item in items]
        first: dict[tuple[object, ...], Prepared] = {}
        for key, item in zip(keys, items, strict=True):
            first.setdefault(key, item)
        unique = self._run(list(first.values()))
        rows = {key: row for row, key in enumerate(first)}
        return unique if len(rows) == len(items) else unique.take([rows[key] for key in keys])

    def _run(self, items: list[Prepared]) -> Embeddings:
        dims = self.bundle.manifest.dims
        pooled = np.empty((len(items), dims.pooled), np.float32)
        tokens: list[Any] = [None] * len(items)
        lengths = [self.backbone.padded_length(len(item.ids)) for item in items]
        for batch in plan_batches(lengths, self._token_budget):
            pooled[batch], states = self.backbone.run([items[i] for i in batch])
            for row, i in enumerate(batch):
                kept = states[row][items[i].keep]
                tokens[i] = kept.astype(np.float32) if len(kept) else self._fallback(pooled[i : i + 1])
        result = Embeddings(
            pooled,
            TokenStates.from_arrays(tokens, dims.token),
            np.array([item.truncated for item in items], np.int64),
        )
        if not (np.isfinite(pooled).all() and np.isfinite(result.tokens.values).all()):
            raise EngineError("the graph returned NaN or infinity: its weights or its precision overflow")
        return result

    def _fallback(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """The one row of an item without tokens: its pooled vector, or zeros where an adapter projects tokens.

        Both as the reference code of SMART does it.
        """
        manifest = self.bundle.manifest
        return np.zeros((1, manifest.dims.token), np.float32) if manifest.adapter else unit(pooled)


def _windows(prepared: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    """Items until their images fill `PIXEL_BUDGET`: decoded pages are far larger than their vectors."""
    window: list[Prepared] = []
    held = 0
    for item in prepared:
        window.append(item)
        held += item.pixel_bytes
        if held >= PIXEL_BUDGET:
            yield window
            window, held = [], 0
    if window:
        yield window


def _check_side(side: str) -> None:
    if side not in get_args(Side):
        raise OptionError(f"unknown side {side!r}; there are: {', '.join(get_args(Side))}")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be a whole number from 1 up, got {value!r}")


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
