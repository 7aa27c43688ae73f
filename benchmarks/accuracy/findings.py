"""What the systems of one encoder find on one set. Its vectors are held here and nowhere else."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.documents import Documents
from smartrt.evaluation.metrics import CUT, METRICS
from smartrt.evaluation.quality import encode_once, rank

from .lexical import bm25
from .names import BM25, HYBRID, system_name
from .stored import rank_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.export.build import Bar
    from smartrt.jsonl import Record
    from smartrt.manifest import Side
    from smartrt.types import Embeddings

    from .contenders import Contender, Start
    from .encoded import EncodedCache


@dataclass(frozen=True, eq=False)
class Found:
    """The rankings of one system on one set.

    Attributes:
        name: See `names`.
        encoder: Its label; None for BM25.
        system: ``pooled``, ``late``, ``hybrid`` or ``bm25``.
        stored: As an index keeps the vectors (`stored.VARIANTS`); None: as they were encoded.
        bytes_per_document: Of the vectors that are ranked by; None for BM25.
        rankings: Per query the positions of the `CUT` best documents, best first.
        metrics: By the names in `METRICS`, ``[queries]`` float64.
    """

    name: str
    encoder: str | None
    system: str
    stored: str | None
    bytes_per_document: int | None
    rankings: Sequence[Sequence[int]]
    metrics: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class EncoderFindings:
    """One encoder on one set.

    Attributes:
        systems: What was ranked.
        left_out: Variants that need longer or more token vectors than there are.
        document_tokens: Token vectors of all documents.
        truncated: Documents that did not fit the model; None for PyTorch, which does not count them.
        seconds: ``encode`` without loading (None where a side came from the cache), ``rank``, and ``stored`` (None
            where nothing of it was asked for).
    """

    systems: tuple[Found, ...]
    left_out: tuple[str, ...]
    document_tokens: int
    truncated: int | None
    seconds: dict[str, float | None]


def find(
    contender: Contender,
    opened: Callable[[], Start],
    data: RetrievalSet,
    stored: Sequence[str],
    cache: EncodedCache | None,
    bar: Bar,
) -> EncoderFindings:
    """Encode a set and rank every document for every query with each system; equal scores keep their order.

    Args:
        contender: What encodes.
        opened: Gives it loaded; called only if a side is not in the cache.
        data: The set; an empty text is encoded as what it is.
        stored: Names of the variants to rank by as well.
        cache: Of encoded sides.
        bar: Shows queries and documents that are done, then variants.
    """
    label = f"{contender.label} on {data.name}"
    with bar(label, len(data.queries) + len(data.documents)) as shown:
        sides = _Sides(contender, opened, cache, shown.advance)
        queries, documents = sides.encode(data.queries, "query"), sides.encode(data.documents, "document")
    encoded = time.perf_counter()
    systems = _unstored(contender, queries, documents, data)
    ranked = time.perf_counter()
    if stored:
        with bar(f"{label}, stored", len(stored)) as shown:
            systems += _stored(contender, queries, documents, data, stored, shown.advance)
    kept = {found.stored for found in systems}
    seconds = {
        "encode": round(sum(sides.seconds), 2) if len(sides.seconds) == 2 else None,
        "rank": round(ranked - encoded, 2),
        "stored": round(time.perf_counter() - ranked, 2) if stored else None,
    }
    return EncoderFindings(
        systems,
        tuple(name for name in stored if name not in kept),
        len(documents.tokens.values),
        int((documents.truncated > 0).sum()) if contender.kind == "bundle" else None,
        seconds,
    )


def find_bm25(data: RetrievalSet) -> tuple[Found, float]:
    """BM25 on a set, and the seconds it took."""
    started = time.perf_counter()
    scores = bm25([record.text for record in data.queries], [record.text for record in data.documents])
    k = min(CUT, len(data.documents))
    rankings = [np.argsort(-row, kind="stable")[:k].tolist() for row in scores]
    found = Found(BM25, None, BM25, None, None, rankings, _metrics(rankings, data))
    return found, round(time.perf_counter() - started, 2)


@dataclass(frozen=True)
class _Sides:
    """Encodes the two sides of a set. `seconds` has those of each side that was encoded, without the loading."""

    contender: Contender
    opened: Callable[[], Start]
    cache: EncodedCache | None
    advance: Callable[[int], None]
    seconds: list[float] = field(default_factory=list)

    def encode(self, records: Sequence[Record], side: Side) -> Embeddings:
        texts = [record.text for record in records]
        done = 0

        def count(number: int) -> None:
            nonlocal done
            done += number
            self.advance(number)

        def encode(distinct: Sequence[str], side: Side) -> Embeddings:
            run = self.opened()(count)
            started = time.perf_counter()
            found = run(distinct, side)
            self.seconds.append(time.perf_counter() - started)
            return found

        if self.cache is None or self.contender.decides is None:
            encoded = encode_once(encode, texts, side)
        else:
            encoded = self.cache.encode(self.contender.decides, encode, texts, side)
        self.advance(len(texts) - done)  # texts that came twice, or from the cache
        return encoded


def _unstored(
    contender: Contender, queries: Embeddings, documents: Embeddings, data: RetrievalSet
) -> tuple[Found, ...]:
    pooled, both = documents.pooled.nbytes, documents.pooled.nbytes + documents.tokens.values.nbytes
    rankings = rank(queries, Documents.of(documents), contender.weights)
    return tuple(
        Found(
            system_name(contender.label, system), contender.label, system, None,
            round((pooled if system == "pooled" else both) / len(documents)), ranking, _metrics(ranking, data),
        )
        for system, ranking in rankings.items()
    )  # fmt: skip


def _stored(
    contender: Contender,
    queries: Embeddings,
    documents: Embeddings,
    data: RetrievalSet,
    names: Sequence[str],
    advance: Callable[[int], None],
) -> tuple[Found, ...]:
    rankings = rank_stored(queries, documents, contender.weights, advance, names)
    return tuple(
        Found(
            system_name(contender.label, HYBRID, name), contender.label, HYBRID, name,
            round(ranking.bytes_per_document), ranking.positions, _metrics(ranking.positions, data),
        )
        for name, ranking in rankings.items()
    )  # fmt: skip


def _metrics(rankings: Sequence[Sequence[int]], data: RetrievalSet) -> dict[str, Any]:
    pairs = list(zip(rankings, data.gains, strict=True))
    return {name: np.array([metric(*pair) for pair in pairs]) for name, metric in METRICS.items()}
