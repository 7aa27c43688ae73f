"""int8 activations: outlying channels moved into the weights, and where a static scale clips.

``(x / s) @ (s W) = x W`` with ``s_j = max|x_j|^a / max|W_j|^(1 - a)`` (SmoothQuant, Xiao et al., arXiv 2211.10438).
The strength a is the one of two whose product changes least on sampled rows;
with more extreme ones the outputs of all-MiniLM-L6-v2 were farther off on other texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from .rounding import round_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.models.statistics import InputStatistics

_STRENGTHS = (0.5, 0.65)
_CLIPS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.14, 0.1)
_LIMIT = 1e3  # of one factor: a channel that calibration never saw must not be scaled beyond measure
_ROWS = 512
_WORST_ROW = 0.05  # weight of the worst row beside the mean: separators have activations of their own size


@dataclass(frozen=True, eq=False)
class Smoothing:
    """How activations become int8.

    Attributes:
        factors: ``[in]``, of geometric mean 1; None for no smoothing.
        largest: What a static scale maps to 127, behind the factors.
        error: Share of the output's energy that int8 activations and weights change on the sampled rows.
    """

    factors: torch.Tensor | None
    largest: float
    error: float


def choose(
    statistics: InputStatistics,
    weights: Sequence[torch.Tensor],
    activations: Literal["dynamic", "static"],
    *,
    smooth: bool = True,
) -> Smoothing:
    """The smoothing of one activation.

    Args:
        statistics: Of the activation.
        weights: ``[in, out]`` of every product that reads it.
        activations: Whether each row has a scale of its own, or all rows one.
        smooth: Whether factors are allowed.
    """
    step = max(1, len(statistics.sample) // _ROWS)
    sample = statistics.sample[::step]
    truths = [sample @ weight for weight in weights]
    energy = sum(float(truth.square().sum()) for truth in truths)
    found = []
    for strength in _STRENGTHS if smooth else (0.0,):
        factors = _factors(statistics.largest, weights, strength) if strength else torch.ones_like(statistics.largest)
        states, largest = sample / factors, float((statistics.largest / factors).max())
        if activations == "dynamic":
            codes = _by_row(states)
        else:
            largest = _clipped(states, largest)
            codes = _by_tensor(states, largest)
        pairs = zip(truths, weights, strict=True)
        error = sum(_error(truth, codes, weight * factors[:, None]) for truth, weight in pairs)
        found.append(Smoothing(factors if strength else None, largest, error / energy if energy else 0.0))
    return min(found, key=lambda smoothing: smoothing.error)


def _factors(largest: torch.Tensor, weights: Sequence[torch.Tensor], strength: float) -> torch.Tensor:
    weight = torch.stack([part.abs().amax(dim=1) for part in weights]).amax(dim=0)
    floor = 1e-3
    activation = largest.clamp(min=float(largest.mean()) * floor + 1e-12)
    weight = weight.clamp(min=float(weight.mean()) * floor + 1e-12)
    exponent = strength * activation.log() - (1 - strength) * weight.log()
    limit = float(torch.tensor(_LIMIT).log())
    return (exponent - exponent.mean()).clamp(-limit, limit).exp()


def _by_row(states: torch.Tensor) -> torch.Tensor:
    scale = states.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    return (states / scale).round() * scale


def _by_tensor(states: torch.Tensor, largest: float) -> torch.Tensor:
    scale = max(largest / 127, 1e-30)
    return (states / scale).round().clamp(-127, 127) * scale


def _clipped(states: torch.Tensor, largest: float) -> float:
    """The range of least squared error, relative to each row's size: one row of outliers must not decide alone."""
    size = states.square().sum(dim=1).clamp(min=1e-30)
    losses = []
    for clip in _CLIPS:
        rows = (_by_tensor(states, clip * largest) - states).square().sum(dim=1) / size
        losses.append(float(rows.mean() + _WORST_ROW * rows.max()))
    return largest * _CLIPS[losses.index(min(losses))]


def _error(truth: torch.Tensor, states: torch.Tensor, weight: torch.Tensor) -> float:
    codes = round_weight(weight, 8, 0)
    return float((states @ (codes.values * codes.scales) - truth).square().sum())
