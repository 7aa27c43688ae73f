"""One group of contenders: those that cannot run here are left out and named, the others are measured."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartrt.cli.terminal import progress
from smartrt.errors import MissingDependencyError, SmartrtError
from smartrt.tensorrt.library import load_tensorrt

from ..latency import measure as latency
from ..latency.grid import Contender, Grid, parse_cells
from ..latency.ways import Way
from ..machine import cores
from ..pytorch import check_kind
from .bundles import problem_of
from .plan import EXACT
from .suite import PartFailedError, PartSkippedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..deadline import Deadline
    from .plan import Group, Plan

_MOST_THREADS = 8


def contest(
    plan: Plan, group: Group, checkpoint: Path, bundle: Callable[[str], Path], deadline: Deadline
) -> dict[str, Any]:
    """Measure a group.

    Args:
        plan: Its cells and counts.
        group: Its contenders.
        checkpoint: What PyTorch runs.
        bundle: Where the bundle of a name lies.
        deadline: When it ends; contenders that were not done by then are failed, the others are kept.

    Returns:
        ``latency``, the result of `smartrt bench latency`; ``left_out``, by contender why it is not in it; and
        ``problems``.

    Raises:
        PartFailedError: A contender failed or computed something else; all of that is in its result.
        PartSkippedError: It is TensorRT's, which is not installed.
        SmartrtError: Nothing can be measured.
    """
    if all(way.startswith("trt") for _, way in group.runs):
        need_tensorrt()
    left_out: dict[str, str] = {}
    grid = _grid(plan, group, checkpoint, bundle, left_out)
    deadline.check()
    result = latency.measure(grid, progress, deadline=deadline)
    problems = latency.problems(result) + [f"{name}: left out: {why}" for name, why in left_out.items()]
    found = {"left_out": left_out, "problems": problems, "latency": result}
    if problems:
        raise PartFailedError(f"{len(problems)} of the rows are missing; first: {problems[0]}", found)
    return found


def need_tensorrt() -> None:
    """Skip a part that is TensorRT's alone.

    Raises:
        PartSkippedError: It is not installed, or its version is not supported.
    """
    try:
        load_tensorrt()
    except MissingDependencyError as error:
        raise PartSkippedError(str(error)) from None


def _grid(plan: Plan, group: Group, checkpoint: Path, bundle: Callable[[str], Path], left_out: dict[str, str]) -> Grid:
    problems = {name: problem_of(bundle(name), plan.bundle(name)) for name, _ in group.runs}
    there = [name for name, problem in problems.items() if problem is None]
    if not there:
        first = next(iter(problems.values()))
        raise SmartrtError(f"none of its bundles can be used, run the parts checkpoint and export first: {first}")
    theirs = [
        Contender(f"PyTorch {kind}", bundle(there[0]), kind=kind, device=plan.device)
        for kind in group.kinds
        if _runs(f"PyTorch {kind}", left_out, functools.partial(check_kind, kind, plan.device))
    ]
    ours = []
    for name, text in group.runs:
        way = Way.parse(text, plan.device)
        contender = Contender(f"{name}, {text}", bundle(name), None, way.engine, way.device, way.options)
        if (problem := problems[name]) is None:
            ours.append(contender)
        else:
            left_out[contender.name] = problem
    threads = min(_MOST_THREADS, cores())
    whole = Grid(
        (*theirs, *ours), parse_cells(plan.queries, plan.documents), (threads,), (theirs or ours)[0].name,
        str(checkpoint), plan.corpus, plan.starts, plan.rounds, plan.visit, together=False,
    )  # fmt: skip
    able = _able(whole, ours, left_out)
    if not theirs and not able:
        raise SmartrtError(f"nothing of it runs here; first: {next(iter(left_out.values()))}")
    contenders = (*theirs, *able)
    names = [each.name for each in contenders]
    reference = next((each.name for each in reversed(theirs)), names[0])
    return replace(whole, contenders=contenders, reference=reference, truth=EXACT if EXACT in names else None)


def _able(whole: Grid, ours: list[Contender], left_out: dict[str, str]) -> list[Contender]:
    """From the first that opens: it makes the inputs. Others fail when they start."""
    while ours:
        first = ours[0]
        alone = replace(whole, contenders=(first,), reference=first.name)
        if _runs(first.name, left_out, functools.partial(latency.check, alone)):
            break
        ours = ours[1:]
    return ours


def _runs(name: str, left_out: dict[str, str], check: Callable[[], Any]) -> bool:
    try:
        check()
    except SmartrtError as error:
        left_out[name] = str(error)
    return name not in left_out
