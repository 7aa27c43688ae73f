"""What PyTorch says about the items of the parity check, kept so that the model can be let go before the graph runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from smartrt.manifest import Side
from smartrt.models.qwen_vl.reference import QwenVLReference
from smartrt.models.qwen_vl.rendering import images_of
from smartrt.types import Embeddings

from .pictures import picture_items
from .sentences import DOCUMENTS, QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartrt.models.qwen_vl.reference import Trace
    from smartrt.models.reference import Reference


@dataclass(frozen=True, eq=False)
class Truth:
    """Items, their embeddings, and (Qwen-VL) what passed between the parts on the way.

    The reference runs each item alone, so that padding on either side cannot hide.
    """

    against: str
    items: Mapping[Side, Sequence[Any]]
    embeddings: Mapping[Side, Embeddings]
    traces: Sequence[tuple[Side, Any, Trace]]

    @classmethod
    def of(cls, reference: Reference | QwenVLReference) -> Truth:
        """Run the reference over the items that fit its family."""
        if isinstance(reference, QwenVLReference):
            return cls._of_qwen_vl(reference)
        texts: dict[Side, Sequence[Any]] = {"query": QUERIES, "document": DOCUMENTS}
        embeddings = {
            side: Embeddings.concatenate([reference.encode([text], side) for text in texts[side]]) for side in texts
        }
        against = f"PyTorch float32, each text alone ({type(reference.encoder.backbone).__name__})"
        return cls(against, texts, embeddings, ())

    @classmethod
    def _of_qwen_vl(cls, reference: QwenVLReference) -> Truth:
        items = picture_items(reference.preset.max_images)
        traces = [(side, item, reference.trace(item, side)) for side in get_args(Side) for item in items[side]]
        embeddings = {
            side: reference.embeddings([trace for other, _, trace in traces if other == side]) for side in items
        }
        name = type(reference.backbone.model).__name__
        against = f"PyTorch float32, each item alone ({name}, preset {reference.preset_name})"
        return cls(against, items, embeddings, traces)

    def sha256(self) -> str:
        """Hash over every text and pixel that was compared."""
        digest = hashlib.sha256()
        for side in get_args(Side):
            for item in self.items[side]:
                parts = {"text": item} if isinstance(item, str) else item
                digest.update(repr((side, parts.get("text"), parts.get("instruction"))).encode())
                for image in images_of(parts):
                    digest.update(np.asarray(image).tobytes())
        return digest.hexdigest()
