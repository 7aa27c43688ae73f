"""The compiler process: ``python -m smartrt.tensorrt.compile REQUEST.json``.

One graph becomes one plan, in a process of its own: a compiler that runs out of memory or crashes takes nothing with
it, its memory is given back whole, and graphs are compiled one after another on boards where two at once do not fit.

Standard output holds events and nothing else, one JSON object a line::

    {"event": "started", "tensorrt": "10.3.0"}
    {"event": "phase", "name": "Building engine", "step": 1, "of": 6}
    {"event": "note", "message": "..."}
    {"event": "done", "seconds": 31.2, "plan_bytes": 104857600, "peak_rss": 1073741824, "layers": 620}

or, last, ``{"event": "error", "kind": ..., "message": one line}`` and exit code 1, of the kinds

    missing   TensorRT is not there or lacks a library
    request   the request contradicts itself or the graph
    parse     TensorRT does not know the graph: the message names node and operator
    memory    there was not enough: the message says what to do
    build     anything else

Whoever waits may stop reading: the build is then given up.

The calls are those that TensorRT 10.3 to 11.4 share. Networks are strongly typed: every type is the graph's own, and no
flag makes TensorRT choose another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cuda import Cuda
from ..errors import InputError, MissingDependencyError, PlanError, SmartrtError, StorageError
from ..files import replace_file
from .advice import MEMORY_ADVICE, advice_on
from .library import how_to_get, load_tensorrt
from .listeners import Events, Journal, Kind, Progress, logger_of, monitor_of, one_line
from .request import CompileRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from .listeners import Sink


class CompileError(PlanError):
    """A plan that was not made, and the kind of reason."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(one_line(message))
        self.kind = kind


def compile_plan(request: CompileRequest, events: Events) -> None:
    """Compile the graph of `request` and write its plan and timing cache.

    Args:
        request: What to compile, checked.
        events: Told what happens; its last event is ``done``.

    Raises:
        CompileError: There is no plan; what was at its path before is still there.
        MissingDependencyError: TensorRT is not there.
        StorageError: The disk refuses.
    """
    start = time.monotonic()
    tensorrt = load_tensorrt()
    events.send("started", tensorrt=str(tensorrt.__version__))
    journal = Journal(events)
    logger, monitor = logger_of(tensorrt, journal), monitor_of(tensorrt, Progress(events))
    if request.device:  # TensorRT compiles for the thread's device; without a GPU it can still compile for the first
        Cuda.open(request.device).activate()
    with _calls(journal, "start"):
        builder = tensorrt.Builder(logger)
        network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = tensorrt.OnnxParser(network, logger)  # it owns the weights: it must outlive the build
        config = builder.create_builder_config()
    _parse(parser, Path(request.onnx).resolve(), str(tensorrt.__version__))
    _let_attention_decompose(tensorrt, network)
    _configure(tensorrt, config, request)
    if monitor is not None:
        config.progress_monitor = monitor
    _add_profiles(builder, config, network, request)
    times = _read_timing_cache(config, request.timing_cache, journal)
    with _calls(journal, f"build {Path(request.onnx).name}"):
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError  # the logger knows why
    replace_file(Path(request.plan), plan)  # the plan's own memory: a copy of it may not fit
    _write_timing_cache(times, request.timing_cache, journal)
    seconds, layers = round(time.monotonic() - start, 3), int(network.num_layers)
    events.send("done", seconds=seconds, plan_bytes=memoryview(plan).nbytes, peak_rss=_peak_rss(), layers=layers)


@contextlib.contextmanager
def _calls(journal: Journal, step: str) -> Iterator[None]:
    """Turn what TensorRT's bindings raise into the reason that its logger gave."""
    since = len(journal.errors)
    try:
        yield
    except (RuntimeError, TypeError, MemoryError) as error:  # TypeError: a factory that made nothing
        kind, cause = journal.cause(since)
        cause = cause or str(error) or "it gave no reason"
        if isinstance(error, MemoryError) or kind == "memory":
            raise CompileError("memory", f"there was no memory to {step} ({cause}): {MEMORY_ADVICE}") from error
        if kind == "missing":
            raise CompileError("missing", f"TensorRT's library {cause} does not load: {how_to_get()}") from error
        raise CompileError(kind, f"TensorRT cannot {step}: {cause}{advice_on(cause)}") from error


def _parse(parser: Any, graph: Path, version: str) -> None:
    """Read the graph; the path form finds external data beside it, of any size."""
    if not graph.is_file():
        raise CompileError("request", f"there is no graph {graph}")
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    if not errors:
        raise CompileError("parse", f"TensorRT {version} refuses {graph.name} and gives no reason")
    first, operator = errors[0], str(errors[0].node_operator())
    where = f"node {first.node()}, {operator} {first.node_name()!r}" if operator else "the file"
    more = f" ({len(errors) - 1} more nodes are refused)" if len(errors) > 1 else ""
    reason = str(first.desc()).removeprefix("Assertion failed: ")
    raise CompileError(
        "parse", f"TensorRT {version} refuses {graph.name}, {where}: {reason}{more}{advice_on(reason, operator)}"
    )


def _let_attention_decompose(tensorrt: Any, network: Any) -> None:
    """Let attention for which there is no kernel (float32, unusual heads) be its products and softmax instead.

    TensorRT refuses the graph otherwise. Where it has a kernel it takes it all the same.
    """
    if not hasattr(tensorrt, "IAttentionInputLayer"):  # before 10.14 there is no such operator
        return
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == tensorrt.LayerType.ATTENTION_INPUT:
            layer.__class__ = tensorrt.IAttentionInputLayer  # the bindings' way to a layer's own type
            layer.attention.decomposable = True


def _configure(tensorrt: Any, config: Any, request: CompileRequest) -> None:
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if request.optimization_level is not None:
        config.builder_optimization_level = request.optimization_level
    if not request.tf32:
        config.clear_flag(tensorrt.BuilderFlag.TF32)  # it is set unless cleared


def _add_profiles(builder: Any, config: Any, network: Any, request: CompileRequest) -> None:
    shapes = {}
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shapes[tensor.name] = tuple(tensor.shape)
    dynamic = {name for name, shape in shapes.items() if -1 in shape}
    if dynamic and not request.profiles:
        raise CompileError("request", f"inputs {', '.join(sorted(dynamic))} have dynamic axes and no profile")
    for number, asked in enumerate(request.profiles):
        if unknown := sorted(asked.shapes.keys() - shapes.keys()):
            raise CompileError("request", f"the graph has no input {unknown[0]!r}; it has: {', '.join(sorted(shapes))}")
        if without := sorted(dynamic - asked.shapes.keys()):
            raise CompileError("request", f"profile {number} leaves out input {without[0]!r}, whose axes are dynamic")
        profile = builder.create_optimization_profile()
        for name, bounds in asked.shapes.items():
            if not all(_fits(shapes[name], shape) for shape in bounds):
                raise CompileError("request", f"profile {number}, {name}: the graph has {shapes[name]}, not {bounds}")
            profile.set_shape(name, *bounds)
        if config.add_optimization_profile(profile) < 0:
            raise CompileError("request", f"TensorRT refuses profile {number}: {asked.shapes}")


def _fits(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(a in (-1, b) for a, b in zip(declared, shape, strict=True))


def _read_timing_cache(config: Any, name: str | None, journal: Journal) -> Any | None:
    """Let the build use the times that an earlier one measured, and add its own.

    They hold for one device and one TensorRT alone. The cache that is returned must outlive the build.
    """
    if name is None:
        return None
    try:
        content = Path(name).read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        journal.note(f"the timing cache {name} cannot be read ({error.strerror}): kernels are measured again")
        content = b""
    before = journal.heard
    cache = config.create_timing_cache(content)
    usable = cache is not None and config.set_timing_cache(cache, False)  # do not ignore a mismatch
    if content and (not usable or journal.heard > before):  # some releases give an empty one and only log it
        journal.note(
            f"the timing cache {name} is of another device or TensorRT, or damaged: kernels are measured again"
        )
    if not usable:
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _write_timing_cache(cache: Any | None, name: str | None, journal: Journal) -> None:
    """Keep the times that were measured. Without them the next build is slower and nothing else."""
    if cache is None or name is None:
        return
    try:
        replace_file(Path(name), cache.serialize())
    except StorageError as error:
        journal.note(f"{error}: the next plan is compiled without the times measured now")


def run(arguments: Sequence[str], sink: Sink) -> int:
    """Compile the request that is the one argument; events go to `sink`. Returns the exit code."""
    events = Events(sink)
    try:
        if len(arguments) != 1:
            raise InputError("usage: python -m smartrt.tensorrt.compile REQUEST.json")
        compile_plan(CompileRequest.read(Path(arguments[0])), events)
    except SmartrtError as error:
        events.send("error", kind=_kind_of(error), message=one_line(str(error)))
        return 1
    except MemoryError:
        events.send("error", kind="memory", message=f"there was no memory to compile: {MEMORY_ADVICE}")
        return 1
    return 0


def _peak_rss() -> int:
    """Bytes of the most memory this process held; `getrusage` would count what the process that started it held."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


def _kind_of(error: SmartrtError) -> Kind:
    if isinstance(error, CompileError):
        return error.kind
    if isinstance(error, MissingDependencyError):
        return "missing"
    return "request" if isinstance(error, InputError) else "build"


def _be_a_process() -> None:
    """End at once on Ctrl-C, and be the first to be stopped when the system's memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would wait for TensorRT, for minutes
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _events_alone() -> BinaryIO:
    """Standard output, for events; what libraries write to it goes to standard error from now on."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb", buffering=0)


if __name__ == "__main__":
    _be_a_process()
    with _events_alone() as standard_output:
        sys.exit(run(sys.argv[1:], standard_output))
