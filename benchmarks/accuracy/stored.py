"""What storage, compression and two-stage search cost: the hybrid of each, against float32 and all documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartrt.compression.apply import compress
from smartrt.documents import Documents
from smartrt.errors import OptionError
from smartrt.evaluation.metrics import CUT
from smartrt.fusion import unit
from smartrt.index import IndexOptions
from smartrt.scoring.storage import store
from smartrt.search import SearchOptions, search
from smartrt.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartrt.fusion import Weights


_ALL = SearchOptions("all")


@dataclass(frozen=True)
class Variant:
    """One way to keep and search documents."""

    options: IndexOptions
    search: SearchOptions = _ALL


REFERENCE = "float32"
VARIANTS = {
    REFERENCE: Variant(IndexOptions("float32")),
    "float16": Variant(IndexOptions("float16")),
    "int16": Variant(IndexOptions("int16")),
    "int16, 100 candidates": Variant(IndexOptions("int16"), SearchOptions(100)),
    "int16, zscore": Variant(IndexOptions("int16"), SearchOptions("all", "zscore")),
    "int16, rrf": Variant(IndexOptions("int16"), SearchOptions("all", "rrf")),
    "int8": Variant(IndexOptions("int8")),
    "int8, pool 2": Variant(IndexOptions("int8", pooling=2)),
    "int8, pool 4": Variant(IndexOptions("int8", pooling=4)),
    "int16, pca 128": Variant(IndexOptions("int16", projection="pca", dim=128)),
    "int8, pca 128": Variant(IndexOptions("int8", projection="pca", dim=128)),
    "int16, orthogonal 128": Variant(IndexOptions("int16", projection="orthogonal", dim=128)),
    "int8, pool 2, pca 128": Variant(IndexOptions("int8", 2, "pca", 128)),
}


@dataclass(frozen=True)
class Ranking:
    """Positions of the best documents of each query, and what a document takes on disk."""

    positions: list[list[int]]
    bytes_per_document: float


ALL = "all"
"""Where names are asked for: every variant."""


def choose_variants(names: Sequence[str], dims: Sequence[int]) -> tuple[str, ...]:
    """The variants that were asked for, in the order of `VARIANTS`.

    Args:
        names: Some of them, or `ALL`.
        dims: Of the token vectors of each encoder.

    Raises:
        OptionError: There is no such variant, or one asked for by name projects to more dimensions than any encoder
            has.
    """
    for name in names:
        if name != ALL and name not in VARIANTS:
            raise OptionError(f"unknown storage {name!r}; there are: {', '.join(map(repr, (ALL, *VARIANTS)))}")
        wanted = None if name == ALL else VARIANTS[name].options.dim
        if wanted is not None and wanted >= max(dims):
            raise OptionError(
                f"{name!r} projects to {wanted} dimensions, the token vectors have {max(dims)}: leave it out"
            )
    return tuple(name for name in VARIANTS if ALL in names or name in names)


def pools(names: Sequence[str]) -> bool:
    """Whether one of these variants needs scipy."""
    return any(VARIANTS[name].options.pooling > 1 for name in names)


def projects(name: str) -> bool:
    """Whether a variant shortens the vectors, and so may be none for a set or an encoder."""
    return VARIANTS[name].options.dim is not None


def rank_stored(
    queries: Embeddings,
    documents: Embeddings,
    weights: Weights,
    advance: Callable[[int], None] = lambda _: None,
    names: Sequence[str] | None = None,
) -> dict[str, Ranking]:
    """The ranking of every variant that the vectors are long and many enough for.

    Args:
        queries: From the encoder.
        documents: From the encoder.
        weights: Of the two terms.
        advance: Called with 1 after each variant.
        names: Of the variants; None: all.
    """
    rankings = {}
    for name in VARIANTS if names is None else names:
        if _fits(VARIANTS[name].options, documents):
            rankings[name] = _rank(queries, documents, weights, VARIANTS[name])
        advance(1)
    return rankings


def _fits(kept: IndexOptions, documents: Embeddings) -> bool:
    if kept.dim is None:
        return True
    enough = kept.projection == "orthogonal" or len(documents.tokens.values) >= kept.pooling * kept.dim
    return enough and kept.dim < documents.tokens.dim


def _rank(queries: Embeddings, documents: Embeddings, weights: Weights, variant: Variant) -> Ranking:
    kept = variant.options
    tokens, matrix = compress(documents.tokens, kept.pooling, kept.projection, kept.dim)
    stored = Documents(unit(documents.pooled), store(tokens, kept.storage))
    if matrix is not None:
        asked, _ = compress(queries.tokens, 1, kept.projection, kept.dim, matrix)
        queries = Embeddings(queries.pooled, asked, queries.truncated)
    found = search(queries, [stored], k=CUT, weights=weights, options=variant.search)
    size = stored.pooled.nbytes + stored.tokens.codes.nbytes
    return Ranking([[place.position for place in row] for row in found], size / len(documents))
