"""A bundle as a contender: what a user calls, with a clock at the stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartrt.compression.apply import compress
from smartrt.documents import Documents
from smartrt.encoder import Encoder
from smartrt.fusion import unit
from smartrt.scoring.storage import store
from smartrt.search import search
from smartrt.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from smartrt.backbones import Backbone
    from smartrt.engines import Engine
    from smartrt.items import ParsedItem
    from smartrt.manifest import QueryMask, Side
    from smartrt.prepared import Prepared

    from ..clock import Clock
    from .grid import Contender

K = 10
"""Documents that a query is answered with."""


class Ours:
    """An encoder, and the corpus as an index would keep it. Make one with `open`."""

    def __init__(self, contender: Contender, encoder: Encoder, threads: int, clock: Clock) -> None:
        self._contender = contender
        self._encoder = encoder
        self._weights = contender.weights(encoder.bundle.manifest)
        self._threads = threads
        self._clock = clock
        self._documents: Documents | None = None
        self._matrix: NDArray[np.float32] | None = None

    @classmethod
    def open(cls, contender: Contender, source: str | None, threads: int, clock: Clock) -> Ours:  # noqa: ARG003  (PyTorch's)
        """Open the bundle as `Encoder.open` does, hashes and all."""
        encoder = Encoder.open(
            contender.bundle, engine=contender.engine, device=contender.device, **_options(contender, threads)
        )
        encoder.backbone = _Watched(encoder.backbone, clock)
        return cls(contender, encoder, threads, clock)

    def load(self, corpus: Embeddings) -> None:
        """Keep the corpus in the contender's storage."""
        kept = self._contender.stored
        tokens, self._matrix = compress(corpus.tokens, kept.pooling, kept.projection, kept.dim)
        self._documents = Documents(unit(corpus.pooled), store(tokens, kept.storage))

    def encode(self, items: Sequence[Any], side: Side) -> Embeddings:
        """What the public encoder returns."""
        return self._encoder.encode_query(items) if side == "query" else self._encoder.encode_document(items)

    def rank(self, queries: Embeddings) -> list[list[tuple[int, float]]]:
        """Positions and scores of the `K` best documents of each query."""
        kept = self._contender.stored
        if self._documents is None:
            raise RuntimeError("rank comes after load")
        with self._clock.stage("score"):
            if self._matrix is not None:
                tokens, _ = compress(queries.tokens, 1, kept.projection, kept.dim, self._matrix)
                queries = Embeddings(queries.pooled, tokens, queries.truncated)
            options = self._contender.search_with(self._threads)
            found = search(queries, [self._documents], k=K, weights=self._weights, options=options)
            return [[(place.position, place.score) for place in row] for row in found]

    def close(self) -> None:
        """Give the engine back."""
        self._encoder.close()


def _options(contender: Contender, threads: int) -> dict[str, Any]:
    return contender.engine_options | ({"threads": threads} if contender.engine == "ort" else {})


class _Watched:
    """A backbone whose stages are timed: `preprocess`, then each graph by its name."""

    def __init__(self, backbone: Backbone, clock: Clock) -> None:
        self._backbone: Any = backbone
        self._clock = clock
        for name, graph in (("engine", "encoder"), ("decoder", "decoder")):
            if hasattr(backbone, name):
                setattr(backbone, name, _WatchedEngine(getattr(backbone, name), graph, clock))
        vision: Any = getattr(backbone, "vision", None)
        if vision is not None:
            see, timed = vision.see, clock.timed("vision", vision.see)
            # Texts pass through `see` too, where it has nothing to do: no stage of theirs.
            vision.see = lambda images: (timed if images else see)(images)

    def prepare(self, items: Sequence[ParsedItem], side: Side, query_mask: QueryMask) -> Iterator[Prepared]:
        """Each item is prepared when its turn comes: the clock runs while it is."""
        prepared = self._backbone.prepare(items, side, query_mask)
        while True:
            with self._clock.stage("preprocess"):
                item = next(prepared, None)
            if item is None:
                return
            yield item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)


class _WatchedEngine:
    """An engine whose runs are timed; whatever else it has (buckets) is its own."""

    def __init__(self, engine: Engine, graph: str, clock: Clock) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.run, self.close = clock.timed(graph, engine.run), engine.close
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
