"""Where one system beats another, query by query, and where it loses: what the mean of a metric hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .per_query import QueryResult

_TIED = 1e-12
"""A difference of nDCG below this is rounding."""


@dataclass(frozen=True)
class Duel:
    """What is compared.

    Attributes:
        system: What may win.
        against: What it is compared with.
        data: Name of a set; None: all sets of the file.
        largest: How many wins, and how many losses, to show.
    """

    system: str
    against: str
    data: str | None = None
    largest: int = 10


def compare(results: Sequence[QueryResult], duel: Duel) -> dict[str, Any]:
    """The largest wins and losses of one system against another.

    Args:
        results: The lines of a file (`per_query.read_per_query`).
        duel: What is compared.

    Returns:
        JSON-ready: ``system``, ``against``; ``sets``: per set the queries that were won, lost and tied and the mean
        ``difference`` of nDCG@10; ``wins`` and ``losses``, the largest first, equal ones in the order of the file: the
        query, ``ndcg`` of both, their ``difference``, and per relevant document its gain and its ``rank`` in both, null
        where it is not among the ten best.

    Raises:
        InputError: There is no such set or system, a set lacks one of the two, or they are the same one.
    """
    chosen = _of_sets(results, duel)
    differences = [_difference(result, duel) for result in chosen]
    order = sorted(range(len(chosen)), key=differences.__getitem__)
    lost = [i for i in order if differences[i] < -_TIED]
    won = sorted((i for i in order if differences[i] > _TIED), key=lambda i: (-differences[i], i))
    return {
        "system": duel.system,
        "against": duel.against,
        "sets": [_summary(name, chosen, differences) for name in dict.fromkeys(each.set for each in chosen)],
        "wins": [_case(chosen[i], duel) for i in won[: duel.largest]],
        "losses": [_case(chosen[i], duel) for i in lost[: duel.largest]],
    }


def _of_sets(results: Sequence[QueryResult], duel: Duel) -> list[QueryResult]:
    names = list(dict.fromkeys(result.set for result in results))
    if duel.data is not None and duel.data not in names:
        raise InputError(f"the file has no set {duel.data!r}; there are: {', '.join(names)}")
    if duel.system == duel.against:
        raise InputError(f"{duel.system!r} cannot win against itself: name another with --against")
    chosen = [result for result in results if duel.data in (None, result.set)]
    known = list(dict.fromkeys(name for result in chosen for name in result.systems))
    for name in (duel.system, duel.against):
        if name not in known:
            raise InputError(f"the file has no system {name!r}; there are: {', '.join(map(repr, known))}")
        # A variant that projects may be none for a short set.
        if without := next((result.set for result in chosen if name not in result.systems), None):
            raise InputError(f"{name!r} was not measured on {without}: choose another set with --set")
    return chosen


def _difference(result: QueryResult, duel: Duel) -> float:
    return result.systems[duel.system].ndcg - result.systems[duel.against].ndcg


def _summary(name: str, results: Iterable[QueryResult], differences: Iterable[float]) -> dict[str, Any]:
    own = [value for result, value in zip(results, differences, strict=True) if result.set == name]
    won, lost = sum(value > _TIED for value in own), sum(value < -_TIED for value in own)
    return {"set": name, "won": won, "lost": lost, "tied": len(own) - won - lost, "difference": sum(own) / len(own)}


def _case(result: QueryResult, duel: Duel) -> dict[str, Any]:
    both = {name: result.systems[name] for name in (duel.system, duel.against)}
    best_first = sorted(result.relevant.items(), key=lambda entry: -entry[1])
    return {
        "set": result.set,
        "query": result.query,
        "text": result.text,
        "ndcg": {name: found.ndcg for name, found in both.items()},
        "difference": _difference(result, duel),
        "relevant": [
            {"id": document, "gain": gain, "rank": {name: _rank(document, each.best) for name, each in both.items()}}
            for document, gain in best_first
        ],
    }


def _rank(document: str, best: Sequence[str]) -> int | None:
    return best.index(document) + 1 if document in best else None
