"""`smartrt build`: compile a bundle for the GPU of this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..cuda import Cuda
from ..encoder import TOKEN_BUDGET
from ..engines.trt import gpu_number
from ..errors import OptionError
from ..tensorrt.build import build_plan, cache_of, check_compilable, check_precision, key_of, machine_of
from ..tensorrt.options import TrtOptions
from .engine_flags import given_options
from .options import compile_options, json_switch, option, switch
from .terminal import Progress, note, say, say_json, table

if TYPE_CHECKING:
    import argparse

    from ..tensorrt.plans import PlanCache, PlanKey


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    option(parser, "--graph", help="only this one (default: all of the bundle)")
    option(parser, "--device", help="cuda or cuda:N", default="cuda")
    option(parser, "--token-budget", help="padded tokens per engine call", type=int, default=TOKEN_BUDGET)
    compile_options(parser)
    switch(parser, "--prune", help="afterwards remove other plans of the graphs that were built")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Compile what is not there yet."""
    bundle = Bundle.open(args.bundle)
    graphs = list(bundle.manifest.graphs) if args.graph is None else [args.graph]
    if args.graph not in (None, *bundle.manifest.graphs):
        raise OptionError(f"{bundle.path} has no graph {args.graph!r}; there are: {', '.join(bundle.manifest.graphs)}")
    check_precision(bundle)
    options = TrtOptions(batch_tokens=args.token_budget, **given_options(args, "trt"))
    if args.prune and args.plans is not None:
        raise OptionError("--prune is for the directory beside the bundle: remove plans in --plans yourself")
    cuda = Cuda.open(gpu_number(args.device))
    machine = machine_of(cuda)
    cuda.reset()  # the compiler's process needs the memory
    check_compilable(bundle, machine)
    cache = cache_of(bundle, options)
    keys = {graph: key_of(bundle, graph, machine, options) for graph in graphs}
    note(f"smartrt: TensorRT {machine.tensorrt} for {machine.gpu} (SM {machine.capability})")
    built = [_build(bundle, cache, key, cuda.device) for key in keys.values()]
    removed = _prune(cache, keys) if args.prune else []
    if args.json:
        say_json({"machine": machine, "plans": built, "removed": removed})
        return 0
    rows = [(entry["graph"], f"{entry['bytes'] / 1e6:,.1f} MB", entry["state"], entry["path"]) for entry in built]
    for line in table(rows, right=frozenset({1})):
        say(line)
    return 0


def _build(bundle: Bundle, cache: PlanCache, key: PlanKey, device: int) -> dict[str, Any]:
    shown = _Shown(key.graph)
    path = build_plan(bundle, cache, key, shown, device=device).path
    assert path is not None  # noqa: S101  (it was found or compiled)
    return {"graph": key.graph, "state": shown.state, "bytes": path.stat().st_size, "path": str(path)}


class _Shown:
    """The compiler's events, for people."""

    def __init__(self, graph: str) -> None:
        self._graph = graph
        self._bar: Progress | None = None
        self.state = "compiled"

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "phase":
            self._advance(event)
            return
        if self._bar is not None:
            self._bar.clear()
        if kind == "found":
            self.state = "was there"
        elif kind == "missing":
            note(f"smartrt: compiling {self._graph}: {event['reason']}")
        elif kind == "note":
            note(f"smartrt: TensorRT: {event['message']}")
        elif kind == "done":
            self.state = f"compiled in {event['seconds']:,.0f} s"

    def _advance(self, event: dict[str, Any]) -> None:
        """A bar for the phase at hand; there are few of them, one inside the other."""
        self._bar = Progress(f"{self._graph}: {event['name']}", event["of"], visible=sys.stderr.isatty())
        self._bar.advance(event["step"])


def _prune(cache: PlanCache, keys: dict[str, PlanKey]) -> list[str]:
    """Remove the other plans of these graphs."""
    with cache.held():
        others = cache.others(keys, {key.name for key in keys.values()})
        for directory in others:
            cache.remove(directory)
    return list(map(str, others))
