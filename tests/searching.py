"""Documents in pieces, and what a search over them must say, for the tests of search."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from smartrt.documents import Documents
from smartrt.fusion import unit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smartrt import Embeddings
    from smartrt.search import Ranked


def cut(
    documents: Embeddings, cuts: Collection[int] = (), storage: str = "float32", dead: Collection[int] = ()
) -> list[Documents]:
    """The documents in pieces, some of them empty and some documents deleted."""
    bounds = [0, *sorted(min(place, len(documents)) for place in cuts), len(documents)]
    alive = ~np.isin(np.arange(len(documents)), list(dead))
    return [
        replace(Documents.of(documents.take(range(first, last)), storage), alive=alive[first:last] if dead else None)
        for first, last in itertools.pairwise(bounds)
    ]


def alive_in(parts: Sequence[Documents]) -> np.ndarray:
    """Positions of the documents that count."""
    return np.flatnonzero(np.concatenate([np.ones(len(p), bool) if p.alive is None else p.alive for p in parts]))


def terms_of(queries: Embeddings, row: int, parts: Sequence[Documents]) -> dict[str, np.ndarray]:
    """Pooled and late terms of one query with everything that is stored, in float64, one product at a time."""
    pooled, late = [], []
    asked = unit(queries.pooled)[row].astype(np.float64), queries.tokens[row].astype(np.float64)
    for part in parts:
        for i in range(len(part)):
            products = (asked[1][:, None] * part.tokens.exact(i)[None]).sum(axis=2)
            pooled.append((asked[0] * part.pooled[i].astype(np.float64)).sum())
            late.append(products.max(axis=1).mean())
    return {"pooled": np.array(pooled), "late": np.array(late)}


def check_ranked(
    got: list[Ranked], wanted: np.ndarray, terms: dict[str, np.ndarray], among: np.ndarray, k: int, tolerance: float
) -> None:
    """`got` is the k best of the documents `among` by the scores `wanted`, which stand for the same documents."""
    order = sorted(range(len(among)), key=lambda at: (-wanted[at], at))[:k]
    assert [place.position for place in got] == [among[at] for at in order]
    for place, at in zip(got, order, strict=True):
        assert place.score == pytest.approx(wanted[at], rel=tolerance, abs=tolerance)
        assert place.pooled == pytest.approx(terms["pooled"][place.position], abs=1e-12)
        assert place.late == pytest.approx(terms["late"][place.position], abs=1e-12)
