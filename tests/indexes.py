"""What the tests of the index share: small indexes, what lies on the disk, and a search by definition."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smartrt import Embeddings, Index, TokenStates, strict_json
from smartrt.index.layout import IndexManifest, write_manifest
from support import embeddings

STORAGES = ("int16", "int8", "float16", "float32")
NOTHING = Embeddings(np.zeros((0, 32), np.float32), TokenStates.from_arrays([], 32), np.zeros(0, np.int64))


def fill(index: Index) -> Index:
    """Two segments of three and two documents: a b c, d e."""
    index.add(["a", "b", "c"], embeddings([2, 3, 1], seed=1), [{"n": i} for i in range(3)])
    index.add(["d", "e"], embeddings([4, 2], seed=2))
    return index


def loud(length: int, seed: int = 0, factor: float = 3.0) -> Embeddings:
    """One document of unit vectors; with a factor above 1 one dimension stands out and needs a scale of its own."""
    quiet = embeddings([length], seed=seed)
    values = quiet.tokens.values.copy()
    values[:, seed % values.shape[1]] += np.float32(2 * (factor - 1))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Embeddings(quiet.pooled, TokenStates(values, quiet.tokens.offsets), quiet.truncated)


def listing(path: Path) -> dict[str, bytes | None]:
    """Everything below `path`, files with their content; the lock file says nothing."""
    return {
        str(entry.relative_to(path)): entry.read_bytes() if entry.is_file() else None
        for entry in path.rglob("*")
        if entry.name != "writer.lock"
    }


def top_ids(index: Index, queries: Embeddings, k: int, **options: Any) -> list[list[str]]:
    """The ids that a search finds."""
    return [[hit.id for hit in hits] for hits in index.search(queries, k=k, **options)]


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let `change` edit `index.json` and give it the checksum that its new content should have."""
    data = strict_json.load(path / "index.json")
    change(data)
    write_manifest(path, strict_json.parse(IndexManifest, data).sealed())


def by_definition(index: Index, queries: Embeddings) -> list[list[tuple[str, float, float]]]:
    """For each query (id, pooled, late) of every document: float64, from what is stored, a document at a time."""
    asked = index.in_store(queries)
    places = [(segment, int(row)) for segment in index.segments for row in segment.alive]
    found = []
    for query in range(len(asked)):
        pooled, rows = asked.pooled[query].astype(np.float64), asked.tokens[query].astype(np.float64)
        pooled /= np.linalg.norm(pooled)
        terms = []
        for segment, row in places:
            stored = segment.documents
            late = (rows @ stored.tokens.exact(row).T).max(axis=1).mean()
            terms.append((segment.document(row).id, float(pooled @ stored.pooled[row].astype(np.float64)), float(late)))
        found.append(terms)
    return found


def assert_true_top(index: Index, queries: Embeddings, k: int, weights: tuple[float, float] = (1, 1), **options: Any):
    """A search finds what sorting all scores by their definition finds; scores closer than 1e-6 in either order."""
    pooled, late = weights
    found = index.search(queries, k=k, pooled=pooled, late=late, candidates="all", **options)
    for hits, terms in zip(found, by_definition(index, queries), strict=True):
        scores = {name: pooled * one + late * other for name, one, other in terms}
        best = sorted(scores.values(), reverse=True)[:k]
        assert len({hit.id for hit in hits}) == len(hits) == len(best)
        np.testing.assert_allclose([hit.score for hit in hits], best, rtol=0, atol=1e-6)
        np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.id] for hit in hits], rtol=0, atol=1e-6)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


WRITES = (
    *((tempfile, "mkdtemp"), (tempfile, "mkstemp"), (os, "fdopen"), (os, "fsync")),
    *((Path, "open"), (Path, "chmod"), (Path, "rename"), (Path, "replace")),
)
REMOVALS = ((os, "unlink"), (os, "rmdir"))


@contextlib.contextmanager
def broken(step: int, action: Callable[[], object], steps: tuple = WRITES) -> Iterator[list[str]]:
    """Call `action` before the given one of the steps that a change consists of; yields the names of all."""
    seen: list[str] = []

    def breaking(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and str([*arguments[1:2], *options.values(), "r"][0]).startswith("r"):
                return original(*arguments, **options)
            seen.append(name)
            if len(seen) - 1 == step:
                action()
            return original(*arguments, **options)

        return call

    originals = [(owner, name, getattr(owner, name)) for owner, name in steps]
    try:
        for owner, name, original in originals:
            setattr(owner, name, breaking(name, original))
        yield seen
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
