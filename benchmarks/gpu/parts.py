"""The parts of a plan. What is on disk from an earlier run is used again: checkpoint, bundles, plans."""

from __future__ import annotations

import functools
import importlib.util
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smartrt
from smartrt.bundle import Bundle
from smartrt.errors import SmartrtError

from ..latency.ways import Way
from ..machine import cores
from .bundles import problem_of
from .children import run_together
from .contest import contest, need_tensorrt
from .suite import Part, PartFailedError, PartSkippedError

if TYPE_CHECKING:
    from ..deadline import Deadline
    from .children import Finished
    from .plan import Exported, Plan

_NO_TESTS = 5
"""pytest's exit code where it found none."""

_CORES_OF_AN_EXPORT = 4
"""Most of an export is one thread, but not all of it: more at a time would make the first one late."""

_SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|error|errors|deselected|xfailed)\b")


@dataclass(frozen=True)
class Workshop:
    """A plan, and the directory that its files are made in."""

    plan: Plan
    work: Path

    @property
    def checkpoint(self) -> Path:
        """The random checkpoint."""
        return self.work / f"random-{self.plan.size}"

    def bundle(self, name: str) -> Path:
        """An exported bundle."""
        return self.work / f"{name}.smartrt"

    def parts(self) -> list[Part]:
        """All parts, in their order: what costs little and says most comes first."""
        budgets, made = self.plan.budgets, []
        for name, run in (("checkpoint", make_checkpoint), ("export", export)):
            made.append(Part(name, budgets[name], functools.partial(run, self), needs_gpu=False))
        if self.plan.tests:
            made.insert(0, Part("tests", budgets["tests"], functools.partial(tests, self)))
        for group in self.plan.groups:
            if "plans" not in [part.name for part in made] and any("trt" in way for _, way in group.runs):
                made.append(Part("plans", budgets["plans"], functools.partial(compile_plans, self)))
            run_group = functools.partial(contest, self.plan, group, self.checkpoint, self.bundle)
            made.append(Part(group.name, group.budget_s, run_group))
        return made


def tests(shop: Workshop, deadline: Deadline) -> dict[str, Any]:
    """Run pytest on what is marked: counts, a line for each test that failed, and the reason of each that was skipped.

    Raises:
        PartFailedError: A test failed, or none passed: tests that are all skipped say nothing.
        PartSkippedError: There are no tests here.
    """
    root = Path(smartrt.__file__).resolve().parent.parent
    if not (root / "tests" / "conftest.py").is_file():
        raise PartSkippedError("there are no tests here: smartrt runs from a wheel, not from a checkout")
    if importlib.util.find_spec("pytest") is None:
        raise PartSkippedError("pytest is not installed")
    done = run_together({"tests": ["-m", "pytest", *shop.plan.tests]}, deadline, cores=cores(), at=root)["tests"]
    lines = done.text.splitlines()
    counts = {name: int(count) for count, name in _SUMMARY.findall(lines[-1] if lines else "")}
    found = {
        "code": done.code,
        "counts": counts,
        "lines": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "skipped": [line for line in lines if line.startswith("SKIPPED")],
    }
    if done.code not in (0, _NO_TESTS):
        raise PartFailedError(done.reason, found)
    if not counts.get("passed"):
        raise PartFailedError(f"no test passed, {counts.get('skipped', 0)} were skipped", found)
    return found


def make_checkpoint(shop: Workshop, deadline: Deadline) -> dict[str, Any]:
    """Write the random checkpoint."""
    found = shop.checkpoint.exists()
    if not found:
        command = ["-m", "smartrt", "bench", "checkpoint", shop.plan.size, str(shop.checkpoint)]
        done = run_together({"checkpoint": command}, deadline, cores=cores())["checkpoint"]
        if done.code != 0:
            raise SmartrtError(done.reason)
    size = sum(path.stat().st_size for path in shop.checkpoint.glob("*.safetensors"))
    return {"size": shop.plan.size, "bytes": size, "was_there": found}


def export(shop: Workshop, deadline: Deadline) -> dict[str, Any]:
    """Export every bundle that is not there, in the plan's order, as many at a time as the cores are enough for.

    Raises:
        PartFailedError: Some failed or were not done in time; the others are kept, and found by the next run.
        SmartrtError: There is no checkpoint.
    """
    if not shop.checkpoint.exists():
        raise SmartrtError("there is no checkpoint: run the part checkpoint first")
    commands = {
        each.name: ["-m", "smartrt", "export", str(shop.checkpoint), "-o", str(shop.bundle(each.name)), *each.flags]
        for each in shop.plan.bundles
        if not shop.bundle(each.name).exists()
    }
    count = cores()
    done = run_together(commands, deadline, cores=count, at_once=max(1, count // _CORES_OF_AN_EXPORT))
    found = {each.name: _exported(shop.bundle(each.name), each, done.get(each.name)) for each in shop.plan.bundles}
    _check_each(found)
    return found


def _exported(path: Path, wanted: Exported, finished: Finished | None) -> dict[str, Any]:
    if finished is not None and finished.code != 0:
        return {"failed": finished.reason}
    if problem := problem_of(path, wanted):
        return {"failed": problem}
    manifest = Bundle.open(path, verify=False).manifest
    return {
        "failed": None,
        "seconds": None if finished is None or finished.seconds is None else round(finished.seconds, 1),
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "token_cosine": manifest.verified.token.mean,
    }


def _check_each(found: dict[str, Any]) -> None:
    """Fail a part with all that it found if one of its entries failed."""
    if failed := [name for name, entry in found.items() if entry["failed"]]:
        raise PartFailedError(f"{', '.join(failed)}: {found[failed[0]]['failed']}", found)


def compile_plans(shop: Workshop, deadline: Deadline) -> dict[str, Any]:
    """Compile the TensorRT plans that the groups' ways need, one graph after another.

    Raises:
        PartFailedError: Some failed, or were not done in time.
        PartSkippedError: TensorRT is not installed.
    """
    need_tensorrt()
    found: dict[str, Any] = {}
    for name, text in dict.fromkeys(run for group in shop.plan.groups for run in group.runs):
        way = Way.parse(text, shop.plan.device)
        if way.engine == "trt":
            try:
                found[name] = {"failed": None, "graphs": _compile(shop.bundle(name), way, deadline)}
            except SmartrtError as error:
                found[name] = {"failed": str(error)}
    _check_each(found)
    return found


def _compile(path: Path, way: Way, deadline: Deadline) -> dict[str, Any]:
    """The compiler's last event by graph, with the options that the contender will be opened with."""
    from smartrt.cuda import Cuda
    from smartrt.engines.base import build_options
    from smartrt.tensorrt import build
    from smartrt.tensorrt.options import TrtOptions

    deadline.check()
    bundle = Bundle.open(path)
    given = {key: value for key, value in way.options.items() if key != "token_budget"}
    options = build_options(TrtOptions, given)
    number = int(way.device.partition(":")[2] or 0)
    cuda = Cuda.open(number)
    try:
        machine = build.machine_of(cuda)
    finally:
        cuda.reset()  # the compiler's process needs the memory
    build.check_compilable(bundle, machine)
    events: dict[str, Any] = {}
    for graph in bundle.manifest.graphs:
        said: list[Any] = []
        with warnings.catch_warnings(), deadline.interrupting():
            warnings.simplefilter("ignore")
            key = build.key_of(bundle, graph, machine, options)
            build.build_plan(bundle, build.cache_of(bundle, options), key, said.append, device=number)
        events[graph] = said[-1:]
    return events
