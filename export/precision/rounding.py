"""Weights to integers: one scale per block of input channels and output channel, symmetric.

``compensated`` rounds one input channel after the other and moves the error of each onto those that are not
rounded yet, so that the product's output changes least on the calibration data (GPTQ, Frantar et al., arXiv
2210.17323). The channels go from the largest second moment to the smallest; scales are fixed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Float32 = NDArray[np.float32]

_DAMPING = 0.01  # of the mean second moment, added to the diagonal: the paper's value
_LAZY = 128  # channels whose error is held back before it is moved to all that follow
_SHRINKS = {4: [1 - 0.02 * step for step in range(25)], 8: [1.0]}


@dataclass(frozen=True, eq=False)
class Codes:
    """Rounded weights.

    Attributes:
        values: ``[in, out]`` int8, between -limit and limit.
        scales: ``[blocks, out]`` float32, all above 0.
        error: Share of the output's energy that the rounding changes on the calibration data; of the weights'
            energy where there is none.
    """

    values: Tensor
    scales: Tensor
    error: float


def limit_of(bits: int) -> int:
    """The largest code; the smallest is its negative, so that 0 is in the middle."""
    return (1 << (bits - 1)) - 1


def round_weight(weight: Tensor, bits: int, block: int, moments: Tensor | None = None) -> Codes:
    """Round ``weight [in, out]`` float32.

    Args:
        weight: Is not changed.
        bits: 8 or 4.
        block: Input channels that share a scale, a divisor of ``in``; 0: all.
        moments: ``[in, in]`` sum of ``x x^T`` over calibration rows; None rounds to the nearest.
    """
    # NumPy from here: elementwise work and small steps, for which PyTorch would wake its threads and wait for them,
    # which takes ten times as long on a machine with other work.
    wide = weight.numpy()
    size = block or len(wide)
    importance = np.ones(len(wide), np.float32) if moments is None else moments.diagonal().numpy().clip(min=0)
    scales = _scales(wide, bits, size, importance)
    spread = scales.repeat(size, axis=0)
    if moments is None:
        codes = _nearest(wide, spread, limit_of(bits))
        difference = wide - codes * spread
        changed, whole = float(np.square(difference).sum()), float(np.square(wide).sum())
    else:
        codes = _compensate(wide, spread, limit_of(bits), moments)
        difference = wide - codes * spread
        changed, whole = (float(np.vdot(moments.numpy() @ part, part)) for part in (difference, wide))
    return Codes(torch.from_numpy(codes.astype(np.int8)), torch.from_numpy(scales), changed / whole if whole else 0.0)


def _scales(weight: Float32, bits: int, size: int, importance: Float32) -> Float32:
    """Per block and output channel the scale of least squared error: clipping an outlier may serve the others."""
    limit = limit_of(bits)
    blocks = weight.reshape(-1, size, weight.shape[1])
    # A block of zeros, or of numbers whose scale would be subnormal: any positive scale holds it.
    largest: Float32 = (np.abs(blocks).max(axis=1) / limit).clip(min=np.finfo(np.float32).tiny)
    if len(_SHRINKS[bits]) == 1:
        return largest
    best: Float32 = largest.copy()
    for block, weights, scales in zip(blocks, importance.reshape(-1, size), best, strict=True):
        least = np.full(len(scales), np.inf, np.float32)
        whole = scales.copy()
        for shrink in _SHRINKS[bits]:
            scale = whole * np.float32(shrink)
            loss = weights @ np.square(_nearest(block, scale, limit) * scale - block)
            better = loss < least
            scales[better], least[better] = scale[better], loss[better]
    return best


def _nearest(weight: Float32, scale: Float32, limit: int) -> Float32:
    codes: Float32 = weight / scale
    np.rint(codes, out=codes).clip(-limit, limit, out=codes)
    return codes


def _compensate(weight: Float32, scale: Float32, limit: int, moments: Tensor) -> Float32:
    order = moments.diagonal().argsort(descending=True, stable=True)
    inverse = _inverse_root(moments[order][:, order]).numpy()
    left, scale = weight[order], scale[order]
    codes = np.empty_like(left)
    for start in range(0, len(left), _LAZY):
        end = min(start + _LAZY, len(left))
        errors = np.empty_like(left[start:end])
        for i in range(start, end):
            codes[i] = _nearest(left[i], scale[i], limit)
            errors[i - start] = error = (left[i] - codes[i] * scale[i]) / inverse[i, i]
            left[i + 1 : end] -= inverse[i, i + 1 : end, None] * error
        left[end:] -= inverse[start:end, end:].T @ errors
    result: Float32 = np.empty_like(codes)
    result[order] = codes
    return result


def _inverse_root(moments: Tensor) -> Tensor:
    """Upper ``U`` with ``U^T U = moments^-1``, damped until it exists."""
    diagonal = moments.diagonal()
    mean = diagonal.mean().clamp(min=torch.finfo(torch.float32).tiny)
    dead = diagonal <= 0
    for damping in (_DAMPING, 10 * _DAMPING, 100 * _DAMPING, 1.0):
        damped = moments / mean
        damped.diagonal().add_(damping + dead)
        root, failed = torch.linalg.cholesky_ex(damped)
        if failed:
            continue
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(root), upper=True)
        if not failed:
            return upper  # type: ignore[no-any-return]  # torch.linalg is not typed
    return torch.eye(len(moments))
