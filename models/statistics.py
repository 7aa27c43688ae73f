"""What calibration keeps of the inputs of one linear layer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

SAMPLED = 4
"""Rows of each item that are kept."""


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """Over the rows of all calibration items.

    Attributes:
        rows: How many.
        largest: ``[in]`` float32, largest absolute value of each channel.
        moments: ``[in, in]`` float32, sum of ``x x^T``; None if not asked for.
        sample: ``[some, in]`` float32, a few rows of every item.
    """

    rows: int
    largest: torch.Tensor
    moments: torch.Tensor | None
    sample: torch.Tensor

    @classmethod
    def of(cls, states: torch.Tensor, *, moments: bool) -> InputStatistics:
        """Of one item's inputs, ``[.., in]``, every row valid."""
        rows = states.detach().flatten(0, -2).float()
        places = torch.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).long()  # the first and the last are outliers
        sample = rows[places]
        return cls(len(rows), rows.abs().amax(dim=0), rows.T @ rows if moments else None, sample)

    def with_item(self, states: torch.Tensor) -> InputStatistics:
        """And of one item more, ``[.., in]``; the moments are added in place, without a second matrix of their size."""
        rows = states.detach().flatten(0, -2).float()
        moments = None if self.moments is None else self.moments.addmm_(rows.T, rows)
        return dataclasses.replace(self + InputStatistics.of(rows, moments=False), moments=moments)

    def __add__(self, other: InputStatistics) -> InputStatistics:
        """Of both sets of rows; the moments are added in place, they may be large."""
        moments = None if self.moments is None or other.moments is None else self.moments.add_(other.moments)
        largest, sample = torch.maximum(self.largest, other.largest), torch.cat((self.sample, other.sample))
        return InputStatistics(self.rows + other.rows, largest, moments, sample)
