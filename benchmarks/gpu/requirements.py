"""What the results must show, and whether they do. What was not measured is neither, and says why.

Speed is judged by the time in the model's graphs, for which both sides wait: what stands in front of them (PyTorch's
side prepares images with transformers' slow processor, on the CPU) says nothing of the GPU. The whole call is told
beside it. fp16 is what is promised; every other precision is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .evidence import Evidence
from .plan import EAGER, PAGE, QUERY, SDPA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .evidence import Row
    from .plan import Group, Plan

    Found = tuple[float, str] | str
    """A figure and whose it is; or why there is none."""

FASTER, FLOOR, AT_LEAST, COSINE = 5.0, 2.0, 1.0, 2e-3
"""Times faster than eager fp16 on a query; times its floor; times PyTorch's best on a page; 1 less the cosine."""

_GRAPHS, _WHOLE = "graphs_ms", "encode_ms"
_QUERY, _PAGE = f"query {QUERY}", f"page {PAGE}"


@dataclass(frozen=True)
class Requirement:
    """A row of the table.

    Attributes:
        name: In the file.
        wanted: For people.
        find: Looks for its figure; given the names of `parts`.
        enough: Whether a figure is; None: it is told and not required.
        parts: Of the run: any of them can tell it.
    """

    name: str
    wanted: str
    find: Callable[[Evidence, tuple[str, ...]], Found]
    enough: Callable[[float], bool] | None
    parts: tuple[str, ...]

    def to_json(self, evidence: Evidence) -> dict[str, Any]:
        """For the result: ``met`` is None where it is not known, or not ``required``."""
        found = self.find(evidence, self.parts)
        figure, by = (None, None) if isinstance(found, str) else found
        return {
            "name": self.name,
            "wanted": self.wanted,
            "measured": found if figure is None else round(figure, 6),
            "by": by,
            "required": self.enough is not None,
            "met": None if figure is None or self.enough is None else self.enough(figure),
            "parts": list(self.parts),
        }


def evaluate(parts: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Every requirement, and what is told beside, JSON-ready.

    Args:
        parts: Entries of the file.
        plan: What was run.
    """
    evidence = Evidence(parts)
    return [each.to_json(evidence) for each in requirements(plan)]


def failed(rows: list[dict[str, Any]], only: tuple[str, ...]) -> bool:
    """Whether a requirement is not met, or not known although a part that tells it was asked for.

    Args:
        rows: Of `evaluate`.
        only: Names of the parts that were asked for; none: all.
    """
    asked = [row for row in rows if row["required"] and (not only or set(only) & set(row["parts"]))]
    return any(row["met"] is False for row in rows) or any(row["met"] is None for row in asked)


def requirements(plan: Plan) -> Iterator[Requirement]:
    """Those of a plan."""
    half, with_half = plan.half, _parts(plan, plan.half)
    yield from _speed(plan, "query", _QUERY, EAGER, FASTER)
    yield Requirement(
        "floor",
        f"{_QUERY}: fp16 with CUDA graphs takes at most {FLOOR:g} times its floor, tokenizing included",
        _floor(half, lambda row: row.found["floor"]["ratio"]),
        lambda ratio: ratio <= FLOOR,
        with_half,
    )
    in_graphs = _floor(half, lambda row: row.found[_GRAPHS] / row.found["floor"]["ms"])
    yield Requirement("floor, graphs", f"{_QUERY}: times its floor, in the graphs", in_graphs, None, with_half)
    yield from _speed(plan, "page", _PAGE, SDPA, AT_LEAST)
    mean = _cosine(half, "pooled_cosine", "token_cosine")
    wanted = f"fp16 bundles are within {COSINE:g} of PyTorch's cosine, pooled and tokens, mean of each cell"
    yield Requirement("cosine", wanted, mean, lambda error: error <= COSINE, with_half)
    wanted = "fp16 bundles: the token that is furthest off, 1 less its cosine"
    yield Requirement("cosine, worst token", wanted, _cosine(half, "token_cosine_min"), None, with_half)
    for name in (each.name for each in plan.bundles if not each.half):
        for what, cell, baseline in (("query", _QUERY, EAGER), ("page", _PAGE, SDPA)):
            wanted = f"{cell}: {name}, times as fast as {baseline} in the graphs"
            only = frozenset({name})
            yield Requirement(
                f"{what}, {name}", wanted, _ratio(only, cell, baseline, _GRAPHS), None, _parts(plan, only)
            )


def _speed(plan: Plan, name: str, cell: str, baseline: str, times: float) -> Iterator[Requirement]:
    parts = _parts(plan, plan.half, lambda group: baseline in [f"PyTorch {kind}" for kind in group.kinds])
    wanted = f"{cell}: fp16 is at least {times:g} times as fast as {baseline} in the graphs"
    find = _ratio(plan.half, cell, baseline, _GRAPHS)
    yield Requirement(name, wanted, find, lambda ratio: ratio >= times, parts)
    wanted = f"{cell}: fp16, times as fast as {baseline}, whole call without ranking"
    yield Requirement(f"{name}, whole call", wanted, _ratio(plan.half, cell, baseline, _WHOLE), None, parts)


def _parts(plan: Plan, bundles: frozenset[str], which: Callable[[Group], bool] = lambda _: True) -> tuple[str, ...]:
    """The groups that run one of these bundles."""
    return tuple(group.name for group in plan.groups if which(group) and any(name in bundles for name, _ in group.runs))


def _ratio(bundles: frozenset[str], cell: str, baseline: str, key: str) -> Callable[..., Found]:
    """The baseline's time over that of the fastest of ours."""

    def find(evidence: Evidence, parts: tuple[str, ...]) -> Found:
        theirs, lost = evidence.find(cell, lambda row: row.name == baseline)
        ours, wrong = evidence.find(cell, lambda row: row.bundle in bundles)
        if not theirs or not ours:
            return (lost if not theirs else None) or (wrong if not ours else None) or evidence.missing(parts)
        best, name = min((row.found[key], row.name) for row in ours)
        return min(row.found[key] for row in theirs) / best, name

    return find


def _floor(bundles: frozenset[str], ratio_of: Callable[[Row], float]) -> Callable[..., Found]:
    def find(evidence: Evidence, parts: tuple[str, ...]) -> Found:
        rows, problem = evidence.find(_QUERY, lambda row: row.bundle in bundles and row.recorded)
        ratios = [(ratio_of(row), row.name) for row in rows if isinstance(row.found.get("floor"), dict)]
        if ratios:
            return min(ratios)
        unknown = next((str(row.found["floor"]) for row in rows if "floor" in row.found), None)
        return unknown or problem or evidence.missing(parts)

    return find


def _cosine(bundles: frozenset[str], *keys: str) -> Callable[..., Found]:
    """The furthest of all cells; a row of other outputs altogether has no cosine, and is as far as can be."""

    def find(evidence: Evidence, parts: tuple[str, ...]) -> Found:
        rows = [row for row in evidence.rows if row.bundle in bundles]
        compared = [(row.found["outputs"], row.name) for row in rows if row.found.get("outputs") is not None]
        errors = [
            (1 - (0.0 if outputs["problem"] else min(outputs[key] for key in keys)), name) for outputs, name in compared
        ]
        lost = next((row.problem for row in rows if row.found.get("outputs") is None), None)
        if errors and (lost is None or max(errors)[0] > COSINE):  # one that is too far needs no other
            return max(errors)
        return lost or evidence.missing(parts)

    return find
