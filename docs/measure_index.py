"""A large index: `python docs/measure_index.py BUNDLE DOCUMENTS DIRECTORY`, random vectors of the bundle's dimensions.

Prints the time to open it, and to search it by candidates and exactly, in int8 with 24 token vectors a document.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

import smartrt

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS, BATCH, ROUNDS = 24, 10_000, 7


def made_up(rng: np.random.Generator, count: int, dims: tuple[int, int]) -> smartrt.Embeddings:
    """Random unit vectors."""
    vectors = [rng.normal(size=shape).astype(np.float32) for shape in ((count, dims[0]), (count * TOKENS, dims[1]))]
    pooled, tokens = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    offsets = np.arange(count + 1, dtype=np.int64) * TOKENS
    return smartrt.Embeddings(pooled, smartrt.TokenStates(tokens, offsets), np.zeros(count, np.int64))


def main() -> None:
    """Fill, open, search, print."""
    bundle, count, rng = smartrt.Bundle.open(sys.argv[1]), int(sys.argv[2]), np.random.default_rng(0)
    dims = bundle.manifest.dims.pooled, bundle.manifest.dims.token
    index = smartrt.Index.create(sys.argv[3], bundle, smartrt.IndexOptions("int8"))
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        index.add([str(first + row) for row in range(size)], made_up(rng, size, dims))
    query = made_up(rng, 1, dims)
    _report("open", lambda: smartrt.Index.open(sys.argv[3]))
    opened = smartrt.Index.open(sys.argv[3])
    _report("100 candidates", lambda: opened.search(query))
    _report("exact", lambda: opened.search(query, candidates="all"))


def _report(name: str, work: Callable[[], object]) -> None:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    sys.stdout.write(f"{name}: {statistics.median(times) * 1e3:.1f} ms\n")


if __name__ == "__main__":
    main()
