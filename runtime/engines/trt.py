"""TensorRT as an engine: a plan per graph, compiled on this machine, run in a few fixed shapes.

    feeds -> next bucket -> zero-padded in pinned or shared memory -> copied -> enqueued -> copied -> cut

Options are `tensorrt.options.TrtOptions`. Nothing here has been run on a GPU yet; the tests run it on a TensorRT and a
CUDA that are fakes.
"""

from __future__ import annotations

import shlex
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cuda import Cuda
from ..errors import EngineError, GraphCaptureWarning, OptionError, PlanError, PlanWarning
from ..tensorrt.build import build_plan, cache_of, check_compilable, key_of, machine_of
from ..tensorrt.options import TrtOptions
from ..tensorrt.plan import Plan
from .axes import axes_of
from .base import TensorSpec, build_options
from .bucket_memory import BucketMemory
from .buckets import buckets_of, shape_of, sizes_of
from .captures import CAPTURES
from .devices import parse_device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..cuda import Stream
    from ..tensorrt.plan import Context
    from ..tensorrt.plans import Found, PlanCache, PlanKey
    from .base import Tensor
    from .buckets import Buckets
    from .cuda_tensor import CudaTensor

__all__ = ["TrtEngine", "TrtOptions", "gpu_number", "open_graph"]


class TrtEngine:
    """One plan on one GPU. Calls from several threads take turns."""

    def __init__(
        self,
        cuda: Cuda,
        plan: Plan,
        specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
        buckets: Buckets,
        *,
        cuda_graphs: bool,
    ) -> None:
        self.inputs, self.outputs = specs
        self.buckets = buckets
        self._cuda = cuda
        self._plan = plan
        self._record = cuda_graphs
        self._stream: Stream = cuda.stream()
        self._memory = BucketMemory(cuda, self._stream, self.inputs, self.outputs, buckets)
        self._contexts: dict[tuple[int, ...], Context] = {}
        self._lock = threading.Lock()
        self._closed = False

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        with self._lock, CAPTURES.shared():
            return self._memory.download(*self._enqueue(feeds))

    def run_resident(self, feeds: Mapping[str, Tensor]) -> dict[str, CudaTensor]:
        """See `ResidentEngine.run_resident`."""
        with self._lock, CAPTURES.shared():
            _, padded = self._enqueue(feeds)
            return self._memory.resident(padded)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock, CAPTURES.shared():
            if self._closed:
                return
            self._closed = True
            self._stream.close()  # it waits for what may still run
            for context in self._contexts.values():
                context.close()
            self._contexts.clear()
            self._plan.close()
            self._memory.close()
            self._cuda.close()

    def _enqueue(self, feeds: Mapping[str, Tensor]) -> tuple[dict[str, int], dict[str, int]]:
        """Upload and launch; the sizes of the feeds and those of their bucket."""
        if self._closed:
            raise EngineError("this engine is closed; open the encoder again")
        sizes = sizes_of(self.inputs, feeds)
        padded, number = self.buckets.fit(sizes)
        self._memory.upload(feeds, padded)
        refused = self._context(padded, number).enqueue(self._stream, record=self._record)
        if refused is not None:
            self._record = False
            warnings.warn(
                f"the launches of a graph could not be recorded as a CUDA graph and are enqueued one by one: {refused}",
                GraphCaptureWarning,
                stacklevel=2,
            )
        return sizes, padded

    def _context(self, padded: Mapping[str, int], number: int) -> Context:
        place = number, *padded.values()
        if place not in self._contexts:
            shapes = {spec.name: shape_of(spec, padded) for spec in self.inputs}
            self._contexts[place] = self._plan.context(number, shapes, self._memory.addresses, self._stream)
        return self._contexts[place]


def open_graph(bundle: Bundle, graph: str, device: str, options: Mapping[str, Any]) -> TrtEngine:
    """Load the plan of a graph, compiling it first where there is none. See `open_engine`."""
    chosen = build_options(TrtOptions, options)
    cuda = Cuda.open(gpu_number(device))
    try:
        plan = _Plans(bundle, cuda, chosen).load(graph)
        specs = _specs(bundle, graph, plan)
        buckets = buckets_of(bundle.manifest, graph, chosen)
        return TrtEngine(cuda, plan, specs, buckets, cuda_graphs=chosen.cuda_graphs)
    except BaseException:
        cuda.close()
        raise


@dataclass(frozen=True)
class _Plans:
    """The plans of a bundle on one GPU."""

    bundle: Bundle
    cuda: Cuda
    options: TrtOptions

    def load(self, graph: str) -> Plan:
        """The plan of one graph, once all graphs of the bundle have theirs: none is compiled beside loaded weights."""
        machine, cache = machine_of(self.cuda), cache_of(self.bundle, self.options)
        keys = {name: key_of(self.bundle, name, machine, self.options) for name in self.bundle.manifest.graphs}
        found = {name: cache.find(key, hashed=False) for name, key in keys.items()}
        ready = {name: was if was.path else self._compile(cache, keys[name], was.reason) for name, was in found.items()}
        try:
            return self._loaded(ready[graph])
        except PlanError as error:
            if found[graph].path is None:  # it was compiled just now: once more would end the same
                raise
            return self._loaded(self._compile(cache, keys[graph], str(error), anew=True))

    def _loaded(self, found: Found) -> Plan:
        assert found.path is not None  # noqa: S101  (it was found or compiled)
        with CAPTURES.shared():
            return Plan.load(found.path, found.sha256, self.cuda)

    def _compile(self, cache: PlanCache, key: PlanKey, reason: str, *, anew: bool = False) -> Found:
        check_compilable(self.bundle, key.machine)
        missing = f"no plan of the graph {key.graph} fits here: {reason}"
        if not self.options.compile:
            remove = f"remove {cache.directory / key.name} and " if anew else ""
            command = f"smartrt build {shlex.quote(str(self.bundle.path))} {self.options.as_flags()}".rstrip()
            raise PlanError(f"{missing}; {remove}compile it: {command}")
        warnings.warn(f"{missing}; it is compiled now, which takes minutes, once", PlanWarning, stacklevel=6)
        return build_plan(self.bundle, cache, key, lambda _: None, device=self.cuda.device, anew=anew)


def _specs(bundle: Bundle, graph: str, plan: Plan) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What the manifest says the graph takes and gives, compared with the plan."""
    entry, axes, found = bundle.manifest.graphs[graph], axes_of(bundle.manifest, graph), plan.tensors()
    if set(found) != set(axes):
        raise PlanError(f"the plan of {graph} has {sorted(found)}, the manifest says {sorted(axes)}: compile it again")
    for name, tensor in axes.items():
        fixed = tuple(axis if isinstance(axis, int) else -1 for axis in tensor)
        if found[name][1] != fixed:
            raise PlanError(f"{name} is {found[name][1]} in the plan of {graph}, the manifest says {fixed}")
    inputs, outputs = (
        tuple(TensorSpec(name, found[name][0], axes[name]) for name in names) for names in (entry.inputs, entry.outputs)
    )
    return inputs, outputs


def gpu_number(device: str) -> int:
    """The number in ``cuda`` (0) or ``cuda:N``. Raises OptionError for anything else."""
    number = parse_device(device)
    if number is None:
        raise OptionError(f"TensorRT runs on a GPU: give device='cuda' or 'cuda:N', not {device!r}")
    return number
