"""Qwen-VL: ids and patches into the graphs `vision` and `decoder`.

The vision graph is loaded with the first image: a query of text never touches it. Its output goes into a
table of rows, row 0 being zeros; the decoder looks the rows up by index, so that no operator of the graph
depends on where the images are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..batching import pad, plan_batches
from ..engines import open_engine, run_checked
from ..errors import EngineError, InputError
from ..images.decode import decode
from ..images.patches import cut
from ..images.resize import resize
from ..prepared import Prepared
from ..text import load_tokenizer, pieces
from .base import check_interface
from .chat import ChatTokenizer
from .positions import mrope, position_taps, rotary_angles, sequential
from .token_table import MappedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..engines import Engine
    from ..images.limits import ImageLimits
    from ..images.patches import Patches
    from ..items import ParsedItem
    from ..manifest import Chat, Images, QueryMask, Side, TokenTable

PATCH_BUDGET = 8192
"""Padded patches per call of the vision graph; a page of the largest size has 7,000 and travels alone."""


class QwenVLBackbone:
    """A Qwen-VL of one bundle on one engine. See `Backbone`."""

    def __init__(self, bundle: Bundle, open_graph: Callable[[str], Engine], image_limits: ImageLimits) -> None:
        manifest = bundle.manifest
        self._manifest = manifest
        self._chat = cast("Chat", manifest.chat)  # Manifest.problems saw to these
        self._images = cast("Images", manifest.images)
        self._limits = image_limits
        self._open_graph = open_graph
        tokenizer = load_tokenizer(bundle)
        self.tokenizer = tokenizer
        self._renderer = ChatTokenizer(
            tokenizer, self._chat, self._images.placeholder_id, manifest.tokenizer.max_length
        )
        self._table = MappedTable.open(bundle, cast("TokenTable", manifest.token_table))
        self.decoder = open_graph("decoder")
        self.vision: Engine | None = None

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
        rows = self.see([image for item in batch for image in item.images])
        visual = np.zeros(ids.shape, bool)
        for row, item in enumerate(batch):
            for start, image in zip(item.image_starts, item.images, strict=True):
                visual[row, start : start + image.blocks] = True
        index = np.zeros_like(ids)
        index[visual] = np.arange(1, 1 + np.count_nonzero(visual))
        embeds = self._table[ids]
        embeds[visual] = rows["tokens"][1:]
        feeds: dict[str, NDArray[Any]] = {
            "inputs_embeds": embeds,
            "position_ids": self.positions(batch, ids.shape[1]),
            "pooled_index": np.array([item.pooled_at for item in batch], np.int64),
        }
        if "deepstack" in rows:
            feeds |= {"deepstack": rows["deepstack"], "deepstack_index": index}
        outputs = run_checked(self.decoder, feeds)
        states = [row[: len(item.ids)] for row, item in zip(outputs["token_states"], batch, strict=True)]
        return outputs["pooled"], states

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
        if self.vision is not None:
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

    def see(self, images: Sequence[Patches]) -> dict[str, NDArray[np.float32]]:
        """Visual rows of all images one after another, behind a row of zeros; ``deepstack [layers, rows, H]``."""
        hidden = cast("TokenTable", self._manifest.token_table).dim
        found: list[dict[str, NDArray[np.float32]]] = [{}] * len(images)
        for batch in plan_batches([image.blocks * self._images.merge_size**2 for image in images], PATCH_BUDGET):
            outputs = self._run_vision([images[i] for i in batch])
            for row, i in enumerate(batch):
                found[i] = {name: array[..., row, : images[i].blocks, :] for name, array in outputs.items()}
        result = {"tokens": np.concatenate([np.zeros((1, hidden), np.float32), *(rows["tokens"] for rows in found)])}
        if layers := self._images.deepstack_layers:
            zeros = np.zeros((layers, 1, hidden), np.float32)
            result["deepstack"] = np.concatenate([zeros, *(rows["deepstack"] for rows in found)], axis=1)
        return result

    def _run_vision(self, images: Sequence[Patches]) -> dict[str, NDArray[Any]]:
        """One call for images of several sizes, padded to the largest."""
        if self.vision is None:
            self.vision = self._open_graph("vision")
        feeds: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in self.vision.inputs}
        width = max(image.blocks for image in images)
        for image in images:
            for name, array in self._vision_feeds(image).items():
                if name in feeds:
                    padding = [(0, width - image.blocks)] + [(0, 0)] * (array.ndim - 1)
                    feeds[name].append(np.pad(array, padding))
        return run_checked(self.vision, {name: np.stack(arrays) for name, arrays in feeds.items()})

    def _vision_feeds(self, image: Patches) -> dict[str, NDArray[Any]]:
        entry = self._images
        place = image.rows, image.columns, entry.merge_size
        feeds: dict[str, NDArray[Any]] = {
            "patches": image.values,
            "rotary": rotary_angles(*place, entry.rotary_dim, entry.rotary_theta),
            "valid": np.ones(image.blocks, np.int64),
        }
        if entry.position_grid is not None:
            feeds["taps"], feeds["tap_weights"] = position_taps(*place, entry.position_grid)
        return feeds
