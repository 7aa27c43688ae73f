"""One group of contenders: those that cannot run here are left out and named, the others are measured."""

from __future__ import annotations

import contextlib
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
from .plan import EXACT
from .suite import PartFailedError, PartSkippedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .plan import Group, Plan
    from .suite import Deadline

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
        deadline: When it is given up.

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
    result = latency.measure(grid, _bar(deadline))
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
    there = [name for name, _ in group.runs if bundle(name).exists()]
    if not there:
        raise SmartrtError("none of its bundles is there: run the parts checkpoint and export first")
    theirs = [
        Contender(f"PyTorch {kind}", bundle(there[0]), kind=kind, device=plan.device)
        for kind in group.kinds
        if _runs(f"PyTorch {kind}", left_out, functools.partial(check_kind, kind, plan.device))
    ]
    ours = []
    for name, text in group.runs:
        way = Way.parse(text, plan.device)
        ours.append(Contender(f"{name}, {text}", bundle(name), None, way.engine, way.device, way.options))
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
    """Those whose bundle is there, from the first that opens: it makes the inputs. Others fail when they start."""
    while ours:
        first = ours[0]
        alone = replace(whole, contenders=(first,), reference=first.name)
        if _runs(first.name, left_out, functools.partial(latency.check, alone)):
            return [each for each in ours if each is first or _is_there(each, left_out)]
        ours = ours[1:]
    return []


def _is_there(contender: Contender, left_out: dict[str, str]) -> bool:
    if not contender.bundle.exists():
        left_out[contender.name] = f"there is no bundle {contender.bundle.name}"
    return contender.name not in left_out


def _runs(name: str, left_out: dict[str, str], check: Callable[[], Any]) -> bool:
    try:
        check()
    except SmartrtError as error:
        left_out[name] = str(error)
    return name not in left_out


def _bar(deadline: Deadline) -> Callable[[str, int], contextlib.AbstractContextManager[Any]]:
    """A progress bar that ends what it measures at the deadline."""

    @contextlib.contextmanager
    def bar(label: str, total: int) -> Iterator[Any]:
        with progress(label, total) as shown:
            yield _Checked(shown, deadline)

    return bar


class _Checked:
    def __init__(self, shown: Any, deadline: Deadline) -> None:
        self._shown = shown
        self._deadline = deadline

    def advance(self, count: int) -> None:
        """Show it, and look at the clock."""
        self._shown.advance(count)
        self._deadline.check()
