"""The engine protocol: four members, and the checks that every engine shares.

An engine runs one graph. It knows nothing of text, padding or ranking, and it never checks its feeds:
`run_checked` does, once for all engines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    get_type_hints,
    runtime_checkable,
)

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
    _check_outputs(engine, outputs, sizes, padded=False)
    return outputs


def run_resident(engine: Engine, feeds: Feeds) -> Mapping[str, Tensor]:
    """As `run_checked`, the outputs staying on the device where the engine can leave them there.

    Named axes of such outputs may be longer than fed: those of the engine's bucket.
    """
    if not isinstance(engine, ResidentEngine):
        return run_checked(engine, feeds)
    sizes = _check_feeds(engine, feeds)
    outputs = engine.run_resident(feeds)
    _check_outputs(engine, outputs, sizes, padded=True)
    return outputs


def build_options(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Build the options dataclass `kind`, whose fields are True or False, numbers, texts or None.

    Raises:
        OptionError: It has no option of this name, or one of another type; what it has, or takes, is said.
    """
    types = get_type_hints(kind)
    for name, value in given.items():
        if name not in types:
            raise OptionError(f"unknown engine option {name!r}; {kind.__name__} has: {', '.join(types) or 'none'}")
        _check_type(name, value, get_args(types[name]) or (types[name],))
    return kind(**given)


def reshaped(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """`wanted` with its -1, if it has one, filled in: another shape for the same memory.

    Raises:
        EngineError: It has another number of places.
    """
    known = math.prod(size for size in wanted if size != -1)
    filled = tuple(math.prod(shape) // max(known, 1) if size == -1 else size for size in wanted)
    if math.prod(filled) != math.prod(shape):
        raise EngineError(f"a tensor of shape {shape} cannot become {wanted}")
    return filled


_IN_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "None",
}


def _check_type(name: str, value: object, types: tuple[type, ...]) -> None:
    if isinstance(value, bool):
        fits = bool in types  # though Python takes it for a whole number
    else:
        fits = isinstance(value, types) or (float in types and isinstance(value, int))
    if not fits:
        taken = " or ".join(_IN_WORDS.get(kind, kind.__name__) for kind in types)
        raise OptionError(f"{name} takes {taken}, got {value!r}")


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


def _check_outputs(engine: Engine, outputs: Mapping[str, Tensor], sizes: dict[str, int], *, padded: bool) -> None:
    if set(outputs) != {spec.name for spec in engine.outputs}:
        raise EngineError(f"the engine returned {sorted(outputs)}, declared {[spec.name for spec in engine.outputs]}")
    for spec in engine.outputs:
        _check_tensor(spec, outputs[spec.name], sizes, padded=padded)


def _check_tensor(spec: TensorSpec, array: Tensor, sizes: dict[str, int], *, padded: bool = False) -> None:
    if array.dtype != spec.dtype or len(array.shape) != len(spec.axes):
        raise EngineError(f"the graph has {spec}, got {array.dtype} {list(array.shape)}")
    for axis, size in zip(spec.axes, array.shape, strict=True):
        expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
        if size != expected and not (padded and isinstance(axis, str) and size > expected):
            raise EngineError(f"axis {axis!r} of {spec} is {size}, expected {expected}")
