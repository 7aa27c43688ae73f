"""The study in a sentence: the fastest variant that is nearly as good as the best, and what speaks against it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .panels import where
from .quantities import INTERVAL, significant, span, times

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLERANCE = 0.005
"""What a variant may lie below the best quality and still be as good as that for most uses."""


class Finding(NamedTuple):
    """A sentence in two parts, and what a reader must know before believing it.

    Attributes:
        subject: The variant it is about; empty if there is none.
        predicate: The rest of the sentence; all of it without a subject.
        remarks: Whole sentences.
    """

    subject: str
    predicate: str
    remarks: tuple[str, ...]


def finding(study: dict[str, Any]) -> Finding:
    """What the points of a study say; nothing about variants that failed, are wrong or were not measured."""
    sound = [point for point in study["points"] if point["status"] == "ok" and point["quality"] is not None]
    timed = [point for point in sound if point["p50_ms"] is not None]
    if not timed:
        return Finding("", "No variant has both a quality and a time, so nothing can be concluded.", _left_out(study))
    best = max(point["quality"] for point in sound)
    near = [point for point in timed if point["quality"] >= best - TOLERANCE]
    if not near:
        remark = f"The fastest that was timed lie more than {TOLERANCE} below the best quality, {best:.4f}."
        return Finding(
            "", "The best variants were not timed, so nothing can be concluded.", (remark, *_left_out(study))
        )
    chosen = min(near, key=lambda point: (point["p50_ms"], -point["quality"]))
    remarks = [*_noise(study, chosen), *_significance(study, chosen), *_left_out(study)]
    return Finding(chosen["name"], f" {_quality(chosen, best)}{_speed(study, chosen)}.", tuple(remarks))


def _quality(point: dict[str, Any], best: float) -> str:
    if point["quality"] == best or best <= 0:
        return f"has the best quality, {point['quality']:.4f}"
    # Rounded down: what lost anything does not keep 100 %.
    kept = math.floor(1000 * point["quality"] / best) / 10
    return f"keeps {kept:.1f}\N{NO-BREAK SPACE}% of the best quality, {point['quality']:.4f} of {best:.4f}"


def _speed(study: dict[str, Any], point: dict[str, Any]) -> str:
    reference, ratio, limits = study["reference"], point["ratio"], point["ratio_interval"]
    took = f"{significant(point['p50_ms'])} ms"
    if point["name"] == reference:
        return f", and nothing as good is faster: {took} ({where(study)})"
    if ratio is None:
        return f", in {took} ({where(study)}); there is no time of {reference} to compare with"
    if limits is None:
        return f", at {times(ratio)} the speed of {reference} ({where(study)}; measured once, so without an interval)"
    within = f"{INTERVAL} {span(limits)}; {where(study)}"
    if limits[0] <= 1 <= limits[1]:
        return f", in a time that cannot be told from that of {reference}: {times(ratio)} ({within})"
    return f", at {times(ratio)} the speed of {reference} ({within})"


def _noise(study: dict[str, Any], chosen: dict[str, Any]) -> Iterator[str]:
    if any(point["noisy"] for point in study["points"] if point["name"] in (chosen["name"], study["reference"])):
        yield "The machine was not quiet while this was timed: repeat the measurement before you rely on it."


def _significance(study: dict[str, Any], chosen: dict[str, Any]) -> Iterator[str]:
    compared = chosen["sets"]
    worse, better = (
        [name for name, row in compared.items() if row["significant"] and (row["difference"] < 0) is below]
        for below in (True, False)
    )
    if worse:
        yield f"It is significantly worse than {study['baseline']} on {', '.join(worse)}."
    if better:
        yield f"It is significantly better than {study['baseline']} on {', '.join(better)}."
    if compared and not worse and not better:
        yield f"It does not differ significantly from {study['baseline']} on any set."


def _left_out(study: dict[str, Any]) -> tuple[str, ...]:
    words = {"failed": "failed", "wrong": "gives wrong outputs"}
    out = [f"{point['name']} {words[point['status']]}" for point in study["points"] if point["status"] in words]
    if not out:
        return ()
    return (f"Left out: {'; '.join(out)}.",)
