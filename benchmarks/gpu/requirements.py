"""What the results must show, and whether they do. What was not measured is neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plan import EAGER, PAGE, QUERY, SDPA
from .suite import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Row = dict[str, Any]

FASTER, FLOOR, AT_LEAST, COSINE = 5.0, 2.0, 1.0, 2e-3
"""Times faster than eager fp16 on a query; times its floor; times PyTorch's best on a page; 1 less the cosine."""

_QUERY, _PAGE = f"query {QUERY}", f"page {PAGE}"
WANTED = {
    "query": f"a query ({QUERY}) is encoded at least {FASTER:g} times as fast as by {EAGER}",
    "floor": f"a query takes at most {FLOOR:g} times its floor",
    "page": f"a page ({PAGE}) is encoded at least as fast as by {SDPA}",
    "cosine": f"fp16 bundles are within {COSINE:g} of PyTorch's cosine, pooled and tokens, mean of each cell",
}


@dataclass(frozen=True)
class Measured:
    """A figure that decides a requirement: what it is, whose it is, and whether it is enough."""

    figure: float
    by: str
    met: bool


def evaluate(parts: Mapping[str, Any], half: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every requirement, JSON-ready.

    Args:
        parts: Entries of the file.
        half: Names of the bundles whose products are float16's.
    """
    results = [
        part["result"]["latency"] for part in parts.values()
        if isinstance(part.get("result"), dict) and isinstance(part["result"].get("latency"), dict)
    ]  # fmt: skip
    found = {
        "query": _faster(results, _QUERY, EAGER, FASTER),
        "floor": _floor(results),
        "page": _faster(results, _PAGE, SDPA, AT_LEAST),
        "cosine": _cosine(results, half),
    }
    return [_entry(name, found[name]) for name in WANTED]


def _entry(name: str, measured: Measured | str) -> dict[str, Any]:
    known = None if isinstance(measured, str) else measured
    return {
        "name": name,
        "wanted": WANTED[name],
        "measured": round(known.figure, 6) if known else measured,
        "by": known.by if known else None,
        "met": known.met if known else None,
    }


def _faster(results: list[Any], label: str, baseline: str, wanted: float) -> Measured | str:
    """The fastest of ours against a baseline."""
    theirs = [row["encode_ms"] for row, bundle in _rows(results, label) if row["contender"] == baseline]
    ours = [(row["encode_ms"], row["contender"]) for row, bundle in _rows(results, label) if bundle]
    if not theirs or not ours:
        return NOT_RUN
    best, name = min(ours)
    ratio = min(theirs) / best
    return Measured(ratio, name, ratio >= wanted)


def _floor(results: list[Any]) -> Measured | str:
    floors = [row.get("floor") for row, bundle in _rows(results, _QUERY) if bundle]
    ratios = [
        (row["floor"]["ratio"], row["contender"])
        for row, bundle in _rows(results, _QUERY)
        if bundle and isinstance(row.get("floor"), dict)
    ]
    if not ratios:
        return next((each for each in floors if isinstance(each, str)), NOT_RUN)
    ratio, name = min(ratios)
    return Measured(ratio, name, ratio <= FLOOR)


def _cosine(results: list[Any], half: tuple[str, ...]) -> Measured | str:
    """The worst mean of any cell; a row of other outputs altogether has none and is not met."""
    wanted = {f"{name}.smartrt" for name in half}
    worst: list[tuple[float, str]] = []
    for row, bundle in _rows(results, None, status=("ok", "wrong")):
        if bundle in wanted and row["outputs"] is not None:
            same = row["outputs"]["problem"] is None
            cosine = min(row["outputs"]["pooled_cosine"], row["outputs"]["token_cosine"]) if same else 0.0
            worst.append((cosine, row["contender"]))
    if not worst:
        return NOT_RUN
    cosine, name = min(worst)
    return Measured(1 - cosine, name, 1 - cosine <= COSINE)


def _rows(results: list[Any], label: str | None, status: tuple[str, ...] = ("ok",)) -> Iterator[tuple[Row, str | None]]:
    """Rows of a cell, of all results, and the bundle of each; None for PyTorch."""
    for result in results:
        bundles = {each["name"]: None if each["kind"] else each["bundle"] for each in result["grid"]["contenders"]}
        for group in result["groups"]:
            for cell in group["cells"]:
                for row in cell["rows"]:
                    if row["status"] in status and label in (None, cell["cell"]):
                        yield row, bundles[row["contender"]]
