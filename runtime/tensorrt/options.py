"""Options of the TensorRT engine: those that a plan is compiled with, and those it is run with."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields

from ..engines.buckets import BucketOptions
from ..errors import OptionError
from .request import MAX_LEVEL

_FLAGS = {
    "max_length": "--gpu-max-length",
    "batch_tokens": "--token-budget",
    "workspace_mb": "--workspace-mb",
    "optimization_level": "--optimization-level",
    "tf32": "--tf32",
    "plans": "--plans",
}


@dataclass(frozen=True)
class TrtOptions(BucketOptions):
    """Options of the TensorRT engine. All but the last two decide the plan: with others it is compiled anew.

    Attributes:
        workspace_mb: Megabytes that one layer's kernel may use for itself; None: all there is.
        optimization_level: 0 compiles fast, 5 searches longest; None: TensorRT's default.
        tf32: Whether float32 products may be rounded to TF32's ten bits of mantissa.
        plans: Directory of the plans; None: ``NAME.plans`` beside the bundle ``NAME.smartrt``.
        compile: Whether a plan that is missing, damaged or made for something else is compiled when the graph is
            opened, with a warning: that takes minutes, once. Otherwise it is an error that names the command.
        cuda_graphs: Whether each bucket's launches are recorded and replayed as one.
    """

    workspace_mb: int | None = None
    optimization_level: int | None = None
    tf32: bool = False
    plans: str | None = None
    compile: bool = True
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workspace_mb is not None and (not isinstance(self.workspace_mb, int) or self.workspace_mb < 1):
            raise OptionError(f"workspace_mb must be a whole number of megabytes from 1 up, got {self.workspace_mb!r}")
        level = self.optimization_level
        if level is not None and (not isinstance(level, int) or not 0 <= level <= MAX_LEVEL):
            raise OptionError(f"optimization_level must be 0 to {MAX_LEVEL}, got {level!r}")

    def as_flags(self) -> str:
        """What `smartrt build` must be told to compile the same plan, such as ``--gpu-max-length 1024``."""
        flags = []
        for field in fields(self):
            flag, value = _FLAGS.get(field.name), getattr(self, field.name)
            if flag and value != field.default:
                flags.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
        return " ".join(flags)

    @property
    def workspace_bytes(self) -> int | None:
        """`workspace_mb` in bytes."""
        return None if self.workspace_mb is None else self.workspace_mb << 20
