"""PyTorch as a contender: the checkpoint, and late interaction as SMART's evaluation writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smartrt.bundle import Bundle

from ..pytorch import open_pytorch
from .ours import K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.fusion import Weights
    from smartrt.manifest import Side
    from smartrt.types import Embeddings

    from ..clock import Clock
    from ..pytorch import PyTorch
    from .grid import Contender

_CHUNK = 128
"""Candidates that SMART's evaluation script scores at a time by default."""


class Theirs:
    """A model, and the corpus in float32, sorted by length and padded once. Make one with `open`."""

    def __init__(self, contender: Contender, model: PyTorch, weights: Weights, clock: Clock) -> None:
        self._contender = contender
        self._model = model
        self._weights = weights
        self._clock = clock
        self._pooled = torch.empty(0)
        self._places = torch.empty(0, dtype=torch.int64)
        self._chunks: list[tuple[torch.Tensor, torch.Tensor]] = []

    @classmethod
    def open(cls, contender: Contender, source: str | None, threads: int, clock: Clock) -> Theirs:
        """Load the checkpoint; the bundle says prompts and lengths."""
        torch.set_num_threads(threads)
        # float32 means float32 on a GPU, too: PyTorch rounds convolutions to TF32 there unless told otherwise.
        torch.backends.cudnn.allow_tf32 = False
        manifest = Bundle.open(contender.bundle, verify=False).manifest
        # Whether the checkpoint is the bundle's was compared before: hashing it is no part of a cold start.
        model = open_pytorch(
            str(source), str(contender.kind), manifest, device=contender.device, clock=clock, checked=True
        )
        return cls(contender, model, contender.weights(manifest), clock)

    def load(self, corpus: Embeddings) -> None:
        """Put the corpus on the device."""
        device = self._contender.device
        self._pooled = torch.nn.functional.normalize(torch.from_numpy(corpus.pooled), dim=-1).to(device)
        # Shorter ones together: SMART's evaluation pads a chunk as it comes, which would cost PyTorch twice the work.
        order = np.argsort(corpus.tokens.lengths, kind="stable")
        self._places = torch.from_numpy(np.argsort(order)).to(device)
        documents = [torch.from_numpy(corpus.tokens[row]) for row in order]
        for first in range(0, len(documents), _CHUNK):
            chunk = documents[first : first + _CHUNK]
            padded = torch.nn.utils.rnn.pad_sequence(chunk, batch_first=True)
            valid = torch.arange(padded.shape[1])[None] < torch.tensor([len(rows) for rows in chunk])[:, None]
            self._chunks.append((padded.to(device), valid.to(device)))

    def encode(self, items: Sequence[Any], side: Side) -> Embeddings:
        """What the model returns; images by path are opened here, as the published wrappers do."""
        return self._model.encode([_opened(item) for item in items], side)

    @torch.inference_mode()
    def rank(self, queries: Embeddings) -> list[list[tuple[int, float]]]:
        """Positions and scores of the `K` best documents of each query."""
        with self._clock.stage("score"):
            device = self._contender.device
            pooled = torch.nn.functional.normalize(torch.from_numpy(queries.pooled).to(device), dim=-1) @ self._pooled.T
            answers = []
            for row, tokens in enumerate(queries.tokens):
                scores = self._weights.pooled * pooled[row]
                if self._weights.late:
                    scores = scores + self._weights.late * self._late(torch.from_numpy(tokens).to(device))
                best = torch.sort(scores, descending=True, stable=True)
                answers.append(list(zip(best.indices[:K].tolist(), best.values[:K].tolist(), strict=True)))
            return answers

    def close(self) -> None:
        """Nothing: the process ends."""

    def _late(self, query: torch.Tensor) -> torch.Tensor:
        """``[documents]``: einsum, mask, maximum, mean over the query's tokens (SMART, arXiv 2605.24938)."""
        parts = []
        for padded, valid in self._chunks:
            products = torch.einsum("qd,ntd->nqt", query, padded).masked_fill(~valid[:, None], float("-inf"))
            parts.append(products.max(dim=2).values.mean(dim=1))
        return torch.cat(parts)[self._places]


def _opened(item: Any) -> Any:
    if isinstance(item, str):
        return item
    from PIL import Image

    with Image.open(item["image"]) as image:
        image.load()
        return item | {"image": image}
