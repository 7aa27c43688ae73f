"""The engine protocol: four members, and the checks that every engine shares.

An engine runs one graph. It knows nothing of text, padding or ranking, and it never checks its feeds:
`run_checked` does, once for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import EngineError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]

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

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run the graph once. The arrays returned belong to the caller."""

    def close(self) -> None:
        """Give back the memory of the device. Closing twice is allowed."""


def run_checked(engine: Engine, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Check `feeds` against the engine's inputs, run, and check what came back.

    Raises:
        EngineError: An input is missing, unknown, or has the wrong dtype or rank; a named axis has two sizes.
    """
    sizes: dict[str, int] = {}
    _check_names(engine, feeds)
    for spec in engine.inputs:
        _check_tensor(spec, feeds[spec.name], sizes)
    outputs = engine.run(feeds)
    if set(outputs) != {spec.name for spec in engine.outputs}:
        raise EngineError(f"the engine returned {sorted(outputs)}, declared {[spec.name for spec in engine.outputs]}")
    for spec in engine.outputs:
        _check_tensor(spec, outputs[spec.name], sizes)
    return outputs


def build_options(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Build the options dataclass `kind`; a name it does not have is an error that lists those it has."""
    names = list(getattr(kind, "__dataclass_fields__", {}))
    for name in given:
        if name not in names:
            raise OptionError(f"unknown engine option {name!r}; {kind.__name__} has: {', '.join(names) or 'none'}")
    return kind(**given)


def _check_names(engine: Engine, feeds: Feeds) -> None:
    wanted = {spec.name for spec in engine.inputs}
    if wanted != set(feeds):
        missing, extra = sorted(wanted - set(feeds)), sorted(set(feeds) - wanted)
        raise EngineError(f"the graph takes {sorted(wanted)}; missing {missing}, unknown {extra}")


def _check_tensor(spec: TensorSpec, array: NDArray[Any], sizes: dict[str, int]) -> None:
    if array.dtype != spec.dtype or array.ndim != len(spec.axes):
        raise EngineError(f"the graph has {spec}, got {array.dtype} {list(array.shape)}")
    for axis, size in zip(spec.axes, array.shape, strict=True):
        expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
        if size != expected:
            raise EngineError(f"axis {axis!r} of {spec} is {size}, expected {expected}")
