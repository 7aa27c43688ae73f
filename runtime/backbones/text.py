"""Text encoders: ids and mask into the graph `encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..batching import pad
from ..engines import open_engine, run_checked
from ..engines.buckets import rounded
from ..text import TextTokenizer
from .base import check_interface

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..engines import Engine
    from ..items import ParsedItem
    from ..manifest import QueryMask, Side
    from ..prepared import Prepared


class TextBackbone:
    """A text encoder of one bundle on one engine. See `Backbone`."""

    def __init__(self, bundle: Bundle, tokenizer: TextTokenizer, engine: Engine) -> None:
        self.tokenizer = tokenizer
        self.engine = engine
        self._entry = bundle.manifest.tokenizer

    @classmethod
    def open(cls, bundle: Bundle, *, engine: str, device: str, **options: Any) -> TextBackbone:
        """Load tokenizer and graph, and compare both with the manifest."""
        tokenizer = TextTokenizer.open(bundle)
        loaded = open_engine(bundle, "encoder", engine=engine, device=device, **options)
        check_interface(bundle, "encoder", loaded)
        return cls(bundle, tokenizer, loaded)

    @property
    def max_length(self) -> int:
        """See `Backbone`."""
        return self.tokenizer.max_length

    def padded_length(self, length: int) -> int:
        """See `Backbone`."""
        return rounded(self.engine, "length", length)

    def prepare(self, items: Sequence[ParsedItem], side: Side, query_mask: QueryMask) -> Iterator[Prepared]:  # noqa: ARG002  (all tokens are text)
        """See `Backbone`."""
        yield from self.tokenizer([item.text or "" for item in items], side)

    def run(self, batch: Sequence[Prepared]) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """See `Backbone`."""
        ids, mask = pad([item.ids for item in batch], self._entry.pad_id, self._entry.padding_side)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {spec.name for spec in self.engine.inputs}
        outputs = run_checked(self.engine, {name: array for name, array in feeds.items() if name in wanted})
        states = [row[kept] for row, kept in zip(outputs["token_states"], mask.astype(bool), strict=True)]
        return outputs["pooled"], states

    def describe(self, item: Prepared) -> list[str]:
        """See `Backbone`."""
        return self.tokenizer.pieces(item.ids[item.keep])

    def close(self) -> None:
        """See `Backbone`."""
        self.engine.close()
