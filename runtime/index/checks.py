"""What an index refuses, and in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..fusion import check_embeddings, check_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..types import Embeddings
    from .layout import IndexManifest
    from .segment import Segment


def check_ids(ids: Sequence[str]) -> None:
    """Refuse what is no list of different ids."""
    if isinstance(ids, str) or not hasattr(ids, "__len__"):
        raise InputError(f"ids must be a list with one id per document, got {ids!r:.60}")
    seen: set[str] = set()
    for name in ids:
        if not isinstance(name, str) or not name:
            raise InputError(f"ids must be non-empty strings, got {name!r}")
        if name in seen:
            raise InputError(f"document id {name!r} is given twice; nothing was changed")
        seen.add(name)


def check_batch(ids: Sequence[str], documents: Embeddings, meta: Sequence[Any], manifest: IndexManifest) -> None:
    """Refuse documents that do not fit the index or each other."""
    check_embeddings(documents, "documents")
    if not hasattr(meta, "__len__"):
        raise InputError(f"meta must be a list with one value per document, got {meta!r:.60}")
    if not len(ids) == len(documents) == len(meta):
        raise InputError(f"{len(ids)} ids, {len(documents)} documents and {len(meta)} metadata: give one of each")
    dims = documents.pooled.shape[1], documents.tokens.dim
    expected = manifest.pooled_dim, manifest.token_dim
    if dims != expected:
        raise InputError(f"vectors have dims {dims} (pooled, token), the index has {expected}")
    if not (np.isfinite(documents.pooled).all() and np.isfinite(documents.tokens.values).all()):
        raise InputError("the vectors hold NaN or infinity; nothing was added")
    if not documents.tokens.lengths.all():
        raise InputError("a document has no token vector; an encoder puts the pooled vector there, do the same")
    check_unit(documents.tokens, "documents")


def check_queries(queries: Embeddings, manifest: IndexManifest) -> None:
    """Refuse queries of other dimensions, also where there is no document to compare them with."""
    check_embeddings(queries, "queries")
    dims = queries.pooled.shape[1], queries.tokens.dim
    expected = manifest.pooled_dim, manifest.token_dim
    if dims not in (expected, (manifest.pooled_dim, manifest.stored_dim)):
        raise InputError(f"queries have dims {dims} (pooled, token), the index has {expected}")


def check_tie_keys(keys: Sequence[str], queries: int) -> None:
    """Refuse what is no list with one text for each query."""
    if isinstance(keys, str) or not hasattr(keys, "__len__") or len(keys) != queries:
        raise InputError(f"tie_keys must be a list with one text for each of the {queries} queries, got {keys!r:.60}")
    wrong = [key for key in keys if not isinstance(key, str)]
    if wrong:
        raise InputError(f"tie_keys must be texts, got {wrong[0]!r:.60}")
    try:
        "".join(keys).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"tie_keys hold half a surrogate pair, {error.object[error.start]!a}") from None


def spread_extra(
    extra: NDArray[np.floating[Any]] | None, queries: int, segments: Sequence[Segment]
) -> NDArray[np.float64] | None:
    """A third signal over the documents that count, ``[queries, those]``, over all that are stored."""
    if extra is None:
        return None
    try:
        given = np.asarray(extra)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"extra is no array: {error}") from None
    alive = np.concatenate([_mask(segment) for segment in segments] or [np.zeros(0, bool)])
    shape = (queries, int(alive.sum()))
    if given.shape != shape or given.dtype.kind not in "fiu":
        raise InputError(f"extra must be finite numbers {list(shape)}, got {given.dtype} {list(given.shape)}")
    if not np.isfinite(given).all():
        query, document = np.argwhere(~np.isfinite(given))[0]
        value = given[query, document]
        raise InputError(f"extra must be finite numbers {list(shape)}, query {query} has {value} at {document}")
    spread = np.zeros((queries, len(alive)))
    spread[:, alive] = given
    return spread


def _mask(segment: Segment) -> NDArray[np.bool_]:
    alive = segment.documents.alive
    return np.ones(segment.entry.documents, bool) if alive is None else alive
