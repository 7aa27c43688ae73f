"""Qwen-VL: ids and patches into the graphs `vision` and `decoder`.

The decoder is fed the embeddings of tokens and, beside them, the rows of images (`vision`) with the number of each
visual token's row, so that no operator of the graph depends on where the images are.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..batching import pad
from ..engines import open_engine, run_checked
from ..engines.buckets import rounded
from ..errors import EngineError, InputError
from ..images.decode import decode
from ..images.patches import cut
from ..images.resize import resize
from ..prepared import Prepared
from ..text import load_tokenizer, pieces
from .base import check_interface
from .chat import ChatTokenizer
from .positions import mrope, sequential
from .token_table import MappedTable
from .vision import Vision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..engines import Engine
    from ..engines.base import Tensor
    from ..images.limits import ImageLimits
    from ..images.patches import Patches
    from ..items import ParsedItem
    from ..manifest import Chat, Images, QueryMask, Side, TokenTable
    from .vision import Seen


class QwenVLBackbone:
    """A Qwen-VL of one bundle on one engine. See `Backbone`."""

    def __init__(self, bundle: Bundle, open_graph: Callable[[str], Engine], image_limits: ImageLimits) -> None:
        manifest = bundle.manifest
        self._manifest = manifest
        self._chat = cast("Chat", manifest.chat)  # Manifest.problems saw to these
        self._images = cast("Images", manifest.images)
        self._limits = image_limits
        tokenizer = load_tokenizer(bundle)
        self.tokenizer = tokenizer
        self._renderer = ChatTokenizer(
            tokenizer, self._chat, self._images.placeholder_id, manifest.tokenizer.max_length
        )
        table = cast("TokenTable", manifest.token_table)
        self._table = MappedTable.open(bundle, table)
        self.decoder = open_graph("decoder")
        # What the vision graph leaves on a GPU holds until it runs again: threads with images take turns.
        self._turn = threading.Lock()
        self.vision = Vision(self._images, table.dim, lambda: open_graph("vision"))

    @classmethod
    def open(
        cls, bundle: Bundle, *, image_limits: ImageLimits, engine: str, device: str, **options: Any
    ) -> QwenVLBackbone:
        """Load tokenizer, table and decoder; the vision graph waits for the first image."""

        def open_graph(name: str) -> Engine:
            loaded = open_engine(bundle, name, engine=engine, device=device, **options)
            check_interface(bundle, name, loaded)
            return loaded

        return cls(bundle, open_graph, image_limits)

    @property
    def max_length(self) -> int:
        """See `Backbone`."""
        return self._manifest.tokenizer.max_length

    def padded_length(self, length: int) -> int:
        """See `Backbone`."""
        return rounded(self.decoder, "length", length)

    def prepare(self, items: Sequence[ParsedItem], side: Side, query_mask: QueryMask) -> Iterator[Prepared]:
        """See `Backbone`."""
        mask = self._manifest.late_mask
        dropped = set(mask.query if side == "query" else mask.document)
        if side == "query" and query_mask == "text-only":
            dropped |= set(mask.visual)
        ids = np.array(sorted(dropped), np.int64)
        for item in items:
            images = self._patches(item)
            rendered = self._renderer.render(item, [image.blocks for image in images], side)
            self._check_pooled(rendered.ids[rendered.pooled_at], rendered.truncated, item)
            keep = ~np.isin(rendered.ids, ids)
            yield Prepared(rendered.ids, keep, rendered.truncated, rendered.pooled_at, images, rendered.image_starts)

    def run(self, batch: Sequence[Prepared]) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """See `Backbone`."""
        ids, _ = pad([item.ids for item in batch], self._manifest.tokenizer.pad_id, "right")
        images = [image for item in batch for image in item.images]
        with self._turn if images else contextlib.nullcontext():
            seen = self.vision.see(images)
            outputs = run_checked(self.decoder, self._feeds(batch, ids, seen))
        states = [row[: len(item.ids)] for row, item in zip(outputs["token_states"], batch, strict=True)]
        return outputs["pooled"], states

    def _feeds(self, batch: Sequence[Prepared], ids: NDArray[np.int64], seen: Seen) -> dict[str, Tensor]:
        """What the decoder takes: each visual token is given its row's number, counted from 1."""
        index, first = np.zeros_like(ids), iter(seen.first)
        for row, item in enumerate(batch):
            for start, image in zip(item.image_starts, item.images, strict=True):
                index[row, start : start + image.blocks] = next(first) + np.arange(1, 1 + image.blocks)
        return {
            "inputs_embeds": self._table[ids],
            "position_ids": self.positions(batch, ids.shape[1]),
            "pooled_index": np.array([item.pooled_at for item in batch], np.int64),
            "visual_index": index,
            **seen.feeds,
        }

    def describe(self, item: Prepared) -> list[str]:
        """See `Backbone`."""
        names = pieces(self.tokenizer, item.ids)
        for number, (start, image) in enumerate(zip(item.image_starts, item.images, strict=True), start=1):
            columns = image.columns // self._images.merge_size
            for block in range(image.blocks):
                names[start + block] = f"image {number}, row {block // columns}, column {block % columns}"
        return [name for name, kept in zip(names, item.keep, strict=True) if kept]

    def close(self) -> None:
        """See `Backbone`."""
        self.decoder.close()
        self.vision.close()

    def _patches(self, item: ParsedItem) -> tuple[Patches, ...]:
        entry = self._images
        if entry.max_images is not None and len(item.images) > entry.max_images:
            raise InputError(
                f"{item.where} has {len(item.images)} images; this model takes {entry.max_images} per item"
            )
        result = []
        for number, source in enumerate(item.images, start=1):
            where = item.where if len(item.images) == 1 else f"{item.where}, image {number}"
            image = decode(source, where, entry.transparency, self._limits)
            sized = resize(image, entry.stages, entry.patch_size * entry.merge_size, where)
            result.append(cut(sized, entry.patch_size, entry.merge_size))
        return tuple(result)

    def _check_pooled(self, found: np.int64, truncated: int, item: ParsedItem) -> None:
        expected = self._manifest.pooled_token_id
        if expected is not None and not truncated and found != expected:
            raise EngineError(
                f"{item.where}: the pooled token is {found}, the manifest says {expected}: "
                "tokenizer and templates do not belong together; export the bundle again"
            )

    def positions(self, batch: Sequence[Prepared], width: int) -> NDArray[np.int64]:
        """Position ids of a batch, ``[3, batch, width]``; padding has any."""
        if self._chat.positions == "sequential":
            return np.ascontiguousarray(np.broadcast_to(sequential(width)[:, None], (3, len(batch), width)))
        positions = np.zeros((3, len(batch), width), np.int64)
        merge = self._images.merge_size
        for row, item in enumerate(batch):
            spans = [
                (start, image.rows // merge, image.columns // merge)
                for start, image in zip(item.image_starts, item.images, strict=True)
            ]
            positions[:, row, : len(item.ids)] = mrope(len(item.ids), spans)
        return positions
