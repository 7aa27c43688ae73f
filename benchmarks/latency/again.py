"""Whether two runs of `smartrt bench latency` agree: each ratio of one with the same ratio of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Ratios = dict[str, tuple[float, list[float] | None]]


@dataclass(frozen=True)
class Moved:
    """A ratio whose intervals in two runs do not overlap."""

    where: str
    before: float
    after: float


def moved(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, list[Moved]]:
    """How many ratios both results have, and those of them that do not agree.

    Two ratios agree if their intervals overlap: a run has a hundred ratios, of which some leave an interval of 95 % by
    chance. Without an interval (a single start) they are not compared.

    Raises:
        InputError: One is no result of `smartrt bench latency`, both were measured otherwise, or nothing compares.
    """
    for what, one, other in zip(_CONDITIONS, _conditions(before), _conditions(after), strict=True):
        if one != other:
            raise InputError(f"results with the {what} {one!r} and {other!r} do not compare: measure with the same")
    old, new = dict(_ratios(before)), dict(_ratios(after))
    found, compared = [], 0
    for where, (ratio, limits) in new.items():
        was = old.get(where)
        if was is None or was[1] is None or limits is None:
            continue
        compared += 1
        if limits[0] > was[1][1] or was[1][0] > limits[1]:
            found.append(Moved(where, was[0], ratio))
    if not compared:
        raise InputError("the two results have no ratio with an interval in common: there is nothing to compare")
    return compared, found


def check_comparable(before: dict[str, Any], reference: str, machine: dict[str, Any]) -> None:
    """Refuse, before anything is measured, what `moved` would refuse of the reference and the machine.

    Raises:
        InputError: The earlier result is against another reference, or of another machine.
    """
    was = _conditions(before)
    now = (reference, was[1], machine["cpu"], machine["cores"])
    for what, one, other in zip(_CONDITIONS, was, now, strict=True):
        if one is not None and one != other:
            raise InputError(
                f"the earlier result has the {what} {one!r}, this run {other!r}: their ratios do not compare"
            )


_CONDITIONS = ("reference", "corpus", "processor", "cores")


def _conditions(result: dict[str, Any]) -> tuple[Any, ...]:
    """What two results must share for their ratios to mean the same."""
    machine, corpus = result.get("machine", {}), result.get("corpus", {})
    return reference_of(result), corpus.get("documents"), machine.get("cpu"), machine.get("cores")


def reference_of(result: Any) -> str:
    """What the ratios of a result are against; reads all of them, so that a later comparison cannot fail.

    Raises:
        InputError: It is no result of `smartrt bench latency`.
    """
    try:
        dict(_ratios(result))
        return str(result["grid"]["reference"])
    except (KeyError, TypeError, AttributeError, IndexError):
        raise InputError("this is no result of smartrt bench latency --json") from None


def _ratios(result: dict[str, Any]) -> Iterator[tuple[str, tuple[float, list[float] | None]]]:
    reference = result["grid"]["reference"]
    for group in result["groups"]:
        cells = [("cold start", group["cold"]), *((cell["cell"], cell["rows"]) for cell in group["cells"])]
        for label, rows in cells:
            for row in rows:
                for key in ("ratio", "cpu_ratio"):
                    if key in row and row["contender"] != reference:
                        where = f"{row['contender']}, {label}, {group['threads']} threads, {key.replace('_', ' ')}"
                        yield where, (row[key], row[f"{key}_interval"])
