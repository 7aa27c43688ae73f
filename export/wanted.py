"""Which precision a bundle shall have, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartrt.errors import OptionError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.stdlib_set import stdlib_set

from .precision.scheme import PRECISIONS

if TYPE_CHECKING:
    from pathlib import Path

    from smartrt.price import Wide

    from .precision.scheme import Rounding, Scheme
    from .search import Goal

AUTO = "auto"
"""The precision that is searched for."""


@dataclass(frozen=True)
class Wanted:
    """Which precision a bundle shall have, and what it may cost.

    Attributes:
        precision: A name of `PRECISIONS`, or ``auto``.
        rounding: Instead of the precision's own.
        compute: Instead of the precision's own: ``fp16`` for GPUs.
        calibrate: A JSON Lines file or folder of items that activations are measured on.
        data: Directories of retrieval sets; the bundle is measured on each.
        max_loss: The largest loss of the hybrid's nDCG@10 on any of them; without `data`, on known items of the
            Python standard library.
        keep: Modules that stay wide.
        goal: What ``auto`` makes small, the size if None.
    """

    precision: str = "fp32"
    rounding: Rounding | None = None
    compute: Wide | None = None
    calibrate: Path | None = None
    data: tuple[Path, ...] = ()
    max_loss: float | None = None
    keep: tuple[str, ...] = ()
    goal: Goal | None = None

    def __post_init__(self) -> None:
        if self.precision not in (*PRECISIONS, AUTO):
            raise OptionError(f"unknown precision {self.precision!r}; there are: {', '.join((*PRECISIONS, AUTO))}")
        if self.precision == AUTO and self.max_loss is None:
            raise OptionError("--precision auto needs --max-loss: what may it cost?")
        if self.precision == AUTO and (self.keep or self.rounding or self.compute):
            raise OptionError("--precision auto chooses rounding, arithmetic and what is kept: leave those out")
        if self.goal and self.precision != AUTO:
            raise OptionError(f"--goal {self.goal} is for --precision auto, not {self.precision}")
        if self.max_loss is not None and not 0 <= self.max_loss <= 1:
            raise OptionError(f"--max-loss {self.max_loss:g} must be between 0 and 1: it is nDCG")

    def scheme(self) -> Scheme:
        """The precision with what replaces its own.

        Raises:
            OptionError: The precision has no such choice.
        """
        scheme = PRECISIONS[self.precision]
        if (self.rounding or self.keep) and not scheme.quantized:
            raise OptionError(f"{scheme.name} rounds nothing to integers: leave --rounding and --keep out")
        fixed = not scheme.quantized or scheme.activations == "dynamic"
        if self.compute and self.compute != scheme.compute and fixed:
            raise OptionError(f"{scheme.name} computes in one way: leave --compute out")
        if self.calibrate and not scheme.override(self.rounding, None).calibrated:
            raise OptionError(f"{scheme.name} measures no activations: leave --calibrate out")
        return scheme.override(self.rounding, self.compute)

    def sets(self) -> list[RetrievalSet]:
        """The sets that are measured."""
        if not self.data and self.max_loss is not None:
            return [stdlib_set()]
        return [RetrievalSet.read(directory) for directory in self.data]
