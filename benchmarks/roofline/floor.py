"""The time that a call cannot beat: its weights read once, or its products at the peak, whichever is longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .gpus import Roof
    from .work import Work


@dataclass(frozen=True)
class Floor:
    """Milliseconds: to read the weights, to multiply, and the longer of both."""

    read_ms: float
    multiply_ms: float

    @property
    def ms(self) -> float:
        """What cannot be beaten."""
        return max(self.read_ms, self.multiply_ms)


def floor_of(work: Work, roof: Roof, *, tf32: bool = False) -> Floor | str:
    """The floor of a call; the reason why it is not known if it is not.

    Args:
        work: Of the call.
        roof: Of the GPU.
        tf32: Whether float32 products are rounded to TF32, whose peak is another.
    """
    seconds = 0.0
    for arithmetic, count in work.flops.items():
        kind = "tf32" if tf32 and arithmetic == "fp32" else arithmetic
        if kind not in roof.peak_tflops:
            return f"the peak of {roof.name} in {kind} is in no table"
        seconds += count / (roof.peak_tflops[kind] * 1e12)
    return Floor(1e3 * work.weight_bytes / (roof.bandwidth_gb * 1e9), 1e3 * seconds)
