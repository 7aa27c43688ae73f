"""A bundle's graphs to plans: each is compiled in a process of its own.

So its memory is given back before the next graph needs it, and a compiler that crashes or is killed is an error of one
line. What a plan is compiled for is decided here; `compile` is the process, `plans` the cache.
"""

from __future__ import annotations

import contextlib
import json
import platform
import signal
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import sha256_of
from ..engines.axes import axes_of
from ..engines.buckets import buckets_of
from ..errors import CorruptBundleError, PlanError
from ..files import writing
from ..machine.board import board_model, l4t_release
from ..machine.choice import FIRST_FUSED_TENSORRT
from ..machine.reading import SensorError
from ..machine.versions import at_least
from .advice import MEMORY_ADVICE, is_memory_trouble
from .library import load_tensorrt
from .plans import Found, Machine, PlanCache, PlanKey
from .request import CompileRequest, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..bundle import Bundle
    from ..cuda import Cuda
    from ..engines.axes import Axes
    from ..engines.buckets import Buckets, Range
    from .options import TrtOptions

    Event = dict[str, Any]
    Report = Callable[[Event], None]

_COMMAND = (sys.executable, "-m", "smartrt.tensorrt.compile")
_LAST_LINES = 20


def machine_of(cuda: Cuda, root: Path = Path("/")) -> Machine:
    """What plans compiled here are bound to.

    Raises:
        MissingDependencyError: TensorRT is not installed, or of a version that is not supported.
    """
    system = f"{platform.system()} {platform.machine()}"
    with contextlib.suppress(SensorError):  # not a Jetson; its GPU has one name on boards of several sizes
        system += f", L4T {l4t_release(root)}, {board_model(root)}"
    major, minor = cuda.properties.capability
    return Machine(str(load_tensorrt().__version__), cuda.properties.name, f"{major}.{minor}", system)


def cache_of(bundle: Bundle, options: TrtOptions) -> PlanCache:
    """The plan cache of a bundle: where the options say, or beside it."""
    if options.plans is not None:
        return PlanCache(Path(options.plans))
    path = bundle.path.resolve()
    return PlanCache(path.with_name(path.name.removesuffix(".smartrt") + ".plans"))


def check_precision(bundle: Bundle) -> None:
    """Refuse a precision that no TensorRT compiles.

    Raises:
        PlanError: Activations are rounded with scales that are found while it runs.
    """
    manifest = bundle.manifest
    if manifest.precision.activations == "dynamic":
        raise PlanError(
            f"{bundle.path} is {manifest.precision.name}, which finds the scales of activations while it runs: "
            "TensorRT cannot. Export with --precision fp16, or with --compute fp16 and int8-static, w8 or int4"
        )


def check_compilable(bundle: Bundle, machine: Machine) -> None:
    """Refuse what this TensorRT cannot compile, before minutes are spent on it.

    Raises:
        PlanError: The precision or the dialect does not fit.
    """
    check_precision(bundle)
    manifest = bundle.manifest
    if manifest.dialect == "fused" and not at_least(machine.tensorrt, FIRST_FUSED_TENSORRT):
        raise PlanError(
            f"{bundle.path} is in the dialect fused, which TensorRT takes from {FIRST_FUSED_TENSORRT} on; here is "
            f"{machine.tensorrt}: export with --dialect portable"
        )


def key_of(bundle: Bundle, graph: str, machine: Machine, options: TrtOptions) -> PlanKey:
    """All that decides the plan of one graph."""
    manifest = bundle.manifest
    path = manifest.graphs[graph].path
    return PlanKey(
        graph=graph,
        files={name: entry.sha256 for name, entry in manifest.files.items() if name.startswith(path)},
        machine=machine,
        profiles=profiles_of(buckets_of(manifest, graph, options), _inputs(bundle, graph)),
        workspace_bytes=options.workspace_bytes,
        optimization_level=options.optimization_level,
        tf32=options.tf32,
    )


def profiles_of(buckets: Buckets, inputs: Axes) -> tuple[Profile, ...]:
    """One optimization profile for each range of shapes."""

    def shapes(axes: Range, place: int) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(axis if isinstance(axis, int) else axes.axes[axis][place] for axis in tensor)
            for name, tensor in inputs.items()
        }

    profiles = []
    for axes in buckets.ranges:
        least, best, most = (shapes(axes, place) for place in range(3))
        profiles.append(Profile({name: (least[name], best[name], most[name]) for name in inputs}))
    return tuple(profiles)


def build_plan(
    bundle: Bundle, cache: PlanCache, key: PlanKey, report: Report, *, device: int = 0, anew: bool = False
) -> Found:
    """The plan for `key`: the one in the cache, or one that is compiled now.

    Args:
        bundle: Where the graph is.
        cache: Where plans are kept.
        key: What is wanted.
        report: Called with each event of the compiler (`compile`); ``{"event": "found"}`` is a plan that was there.
        device: The number of the GPU.
        anew: Compile in any case: TensorRT does not take the one that is there.

    Raises:
        CorruptBundleError: The graph's files are not those of the manifest.
        PlanError: The compiler refused the graph, ran out of memory or was killed.
    """
    graph = key.graph
    with cache.held():
        found = Found(None, "it is compiled anew") if anew else cache.find(key)
        if found.path is not None:
            report({"event": "found", "plan": str(found.path)})
            return found
        report({"event": "missing", "reason": found.reason})

        def compile_to(plan: Path) -> float:
            _check_files(bundle, key)
            request = CompileRequest(
                onnx=str(bundle.file(bundle.manifest.graphs[graph].path).resolve()),
                plan=str(plan.resolve()),
                timing_cache=str(cache.timing_cache(key.machine).resolve()),
                profiles=key.profiles,
                workspace_bytes=key.workspace_bytes,
                optimization_level=key.optimization_level,
                tf32=key.tf32,
                device=device,
            )
            return _compile(graph, request, report)

        return cache.add(key, compile_to)


def _check_files(bundle: Bundle, key: PlanKey) -> None:
    """What is compiled is what the key says, also where the bundle was opened without comparing hashes."""
    for name, wanted in key.files.items():
        if sha256_of(bundle.file(name)) != wanted:
            raise CorruptBundleError(f"{bundle.file(name)} is not the file of the manifest: copy the bundle again")


def _inputs(bundle: Bundle, graph: str) -> Axes:
    axes = axes_of(bundle.manifest, graph)
    return {name: axes[name] for name in bundle.manifest.graphs[graph].inputs}


def _compile(graph: str, request: CompileRequest, report: Report) -> float:
    """Run the compiler process; seconds it took, by its own account."""
    with tempfile.TemporaryDirectory(prefix="smartrt-") as scratch, writing(Path(scratch)):
        asked = Path(scratch) / "request.json"
        request.write(asked)
        log = Path(scratch) / "stderr"
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603  (our own module, by this interpreter)
                [*_COMMAND, str(asked)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                cwd=scratch,  # python -m imports from the working directory: the user's may hold a tensorrt.py
            )  # fmt: skip
        with process:
            try:
                last = _follow(process.stdout or (), report)
            except BaseException:
                process.kill()  # or the end of the block would wait for it
                raise
        if last.get("event") == "done" and process.returncode == 0:
            return float(last["seconds"])
        raise PlanError(f"TensorRT could not compile the graph {graph}: {_reason(last, process.returncode, log)}")


def _follow(lines: Iterable[str], report: Report) -> Event:
    """Hand on the compiler's events; the last one. Lines that are none are what libraries print."""
    last: Event = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            last = event
            report(event)
    return last


def _reason(last: Event, code: int, log: Path) -> str:
    if last.get("event") == "error":
        return str(last.get("message"))
    said = deque(log.read_text(encoding="utf-8", errors="replace").splitlines(), _LAST_LINES)
    tail = f" ({said[-1].strip()[:200]})" if said else ""
    if code == -signal.SIGKILL:
        return f"the system killed the compiler, most likely for want of memory: {MEMORY_ADVICE}{tail}"
    if trouble := next(filter(is_memory_trouble, said), None):  # a Jetson's driver says it here, not to TensorRT
        return f"not enough memory ({trouble.strip()[:200]}): {MEMORY_ADVICE}"
    if code < 0:
        return f"the compiler was ended by {signal.Signals(-code).name}{tail}"
    return f"the compiler ended with exit code {code} and said no more{tail}"
