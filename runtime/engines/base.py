"""The engine protocol: four members, and the checks that every engine shares.

An engine runs one graph. It knows nothing of text, padding or ranking, and it never checks its feeds:
`run_checked` does, once for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from ..errors import EngineError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]
    Tensor: TypeAlias = "NDArray[Any] | ResidentTensor"

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy dtype and axes of one input or output; a named axis is dynamic."""

    name: str
    dtype: str
    axes: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.axes))}]"


class Engine(Protocol):
    """Runs one graph on one device."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What `run` must be fed."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What `run` returns."""

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """Run the graph once. The arrays returned belong to the caller."""

    def close(self) -> None:
        """Give back the memory of the device. Closing twice is allowed."""


class ResidentTensor(Protocol):
    """A tensor in a device's memory: what `ResidentEngine.run_resident` returns, and the same engine's kind takes."""

    @property
    def dtype(self) -> Any:
        """As of a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a NumPy array."""

    def reshape(self, shape: tuple[int, ...]) -> ResidentTensor:
        """The same memory in another shape; one axis may be -1."""

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory."""


@runtime_checkable
class ResidentEngine(Protocol):
    """An engine that can leave its outputs where they are, for the next graph to read."""

    def run_resident(self, feeds: Mapping[str, Tensor]) -> dict[str, ResidentTensor]:
        """Run the graph once. The tensors hold until this engine runs again; named axes may be longer than fed."""


def run_checked(engine: Engine, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Check `feeds` against the engine's inputs, run, and check what came back.

    Raises:
        EngineError: An input is missing, unknown, or has the wrong dtype or rank; a named axis has two sizes.
    """
    sizes = _check_feeds(engine, feeds)
    outputs = engine.run(feeds)
    if set(outputs) != {spec.name for spec in engine.outputs}:
        raise EngineError(f"the engine returned {sorted(outputs)}, declared {[spec.name for spec in engine.outputs]}")
    for spec in engine.outputs:
        _check_tensor(spec, outputs[spec.name], sizes)
    return outputs


def run_resident(engine: Engine, feeds: Feeds) -> Mapping[str, Tensor]:
    """As `run_checked`, the outputs staying on the device where the engine can leave them there."""
    if not isinstance(engine, ResidentEngine):
        return run_checked(engine, feeds)
    _check_feeds(engine, feeds)
    return engine.run_resident(feeds)


def build_options(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Build the options dataclass `kind`; a name it does not have is an error that lists those it has."""
    names = list(getattr(kind, "__dataclass_fields__", {}))
    for name in given:
        if name not in names:
            raise OptionError(f"unknown engine option {name!r}; {kind.__name__} has: {', '.join(names) or 'none'}")
    return kind(**given)


def _check_feeds(engine: Engine, feeds: Mapping[str, Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    _check_names(engine, feeds)
    for spec in engine.inputs:
        _check_tensor(spec, feeds[spec.name], sizes)
    return sizes


def _check_names(engine: Engine, feeds: Mapping[str, Tensor]) -> None:
    wanted = {spec.name for spec in engine.inputs}
    if wanted != set(feeds):
        missing, extra = sorted(wanted - set(feeds)), sorted(set(feeds) - wanted)
        raise EngineError(f"the graph takes {sorted(wanted)}; missing {missing}, unknown {extra}")


def _check_tensor(spec: TensorSpec, array: Tensor, sizes: dict[str, int]) -> None:
    if array.dtype != spec.dtype or len(array.shape) != len(spec.axes):
        raise EngineError(f"the graph has {spec}, got {array.dtype} {list(array.shape)}")
    for axis, size in zip(spec.axes, array.shape, strict=True):
        expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
        if size != expected:
            raise EngineError(f"axis {axis!r} of {spec} is {size}, expected {expected}")
