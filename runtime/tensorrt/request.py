"""What the compiler process is asked: one graph, the shapes that its plan shall serve, and where the plan goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import strict_json
from ..errors import InputError
from ..files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shape = tuple[int, ...]

MAX_LEVEL = 5
"""TensorRT's own range of optimization levels ends here."""


@dataclass(frozen=True)
class Profile:
    """Shapes that one optimization profile serves.

    Attributes:
        shapes: Per input with a dynamic axis its least shape, the one that kernels are chosen for, and its largest.
    """

    shapes: dict[str, tuple[Shape, Shape, Shape]]

    def problems(self) -> Iterator[str]:
        """What contradicts itself, one line each."""
        for name, bounds in self.shapes.items():
            if len(bounds) != 3 or len({len(shape) for shape in bounds}) != 1:
                yield f"{name}: expected three shapes of one rank, got {_spell(bounds)}"
            elif not all(0 <= low <= usual <= high for low, usual, high in zip(*bounds, strict=True)):
                yield f"{name}: expected 0 <= least <= usual <= largest on every axis, got {_spell(bounds)}"


@dataclass(frozen=True)
class CompileRequest:
    """One plan to make.

    Attributes:
        onnx: The graph; its external data lies beside it.
        plan: File that the plan is written to.
        timing_cache: File that holds the measured times of kernels, read if it is there and written; None for none.
        profiles: What shapes the plan serves, in the order in which the engine numbers them.
        workspace_bytes: Most memory that one layer's kernel may use for itself; None for all there is.
        optimization_level: 0 compiles fast, 5 searches longest; None for TensorRT's default.
        tf32: Whether float32 products may be rounded to TF32's ten bits of mantissa.
        device: The number of the GPU that it is compiled on and for.
    """

    onnx: str
    plan: str
    timing_cache: str | None
    profiles: tuple[Profile, ...]
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    tf32: bool = False
    device: int = 0

    @classmethod
    def read(cls, path: Path) -> CompileRequest:
        """Read a request that `write` wrote.

        Raises:
            InputError: The file cannot be read, or what it asks for contradicts itself.
        """
        try:
            request = strict_json.parse(cls, strict_json.load(path))
        except OSError as error:
            raise InputError(f"cannot read the request {path}: {error.strerror}") from error
        except strict_json.StrictJsonError as error:
            raise InputError(f"{path} is no request of this smartrt: {error}") from error
        if problem := next(request.problems(), None):
            raise InputError(f"{path} asks for what cannot be: {problem}")
        return request

    def write(self, path: Path) -> None:
        """Write the request for `python -m smartrt.tensorrt.compile`.

        Raises:
            StorageError: The disk refuses.
        """
        replace_file(path, strict_json.dumps(self).encode())

    def problems(self) -> Iterator[str]:
        """What contradicts itself, one line each."""
        for name in ("onnx", "plan", "timing_cache"):
            if getattr(self, name) == "":
                yield f"{name} is empty"
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            yield f"workspace_bytes {self.workspace_bytes} must be positive"
        if self.optimization_level is not None and not 0 <= self.optimization_level <= MAX_LEVEL:
            yield f"optimization_level {self.optimization_level} must be between 0 and {MAX_LEVEL}"
        for i, profile in enumerate(self.profiles):
            yield from (f"profiles[{i}].{problem}" for problem in profile.problems())
            if profile.shapes.keys() != self.profiles[0].shapes.keys():
                yield f"profiles[{i}] names other inputs than profiles[0]"


def _spell(bounds: tuple[Shape, ...]) -> str:
    return ", ".join("x".join(map(str, shape)) or "a scalar" for shape in bounds)
