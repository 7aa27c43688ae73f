"""The proof that two pages differ inside the label boxes, in every one of them and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartrt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .layout import Box


def check_only_boxes_differ(one: NDArray[np.uint8], other: NDArray[np.uint8], boxes: Sequence[Box]) -> None:
    """Compare two pages pixel by pixel: a difference elsewhere would give the answer away without reading.

    Args:
        one: ``[height, width, 3]`` uint8.
        other: The same shape.
        boxes: Where they must differ, and only there.

    Raises:
        InputError: The sizes differ, a pixel outside the boxes does, or all pixels of a box are the same.
    """
    if one.shape != other.shape:
        raise InputError(f"the pages are {list(one.shape)} and {list(other.shape)}: draw both at one size")
    differs = (one != other).any(axis=2)
    for number, box in enumerate(boxes):
        inside = differs[box.top : box.bottom, box.left : box.right]
        if not inside.any():
            raise InputError(f"the pages are the same in label box {number}, {box}: their codes must differ")
        inside[:] = False  # a view: what is left lies outside
    if differs.any():
        y, x = np.argwhere(differs)[0]
        raise InputError(f"the pages differ outside the label boxes, in {differs.sum():,} pixels, first at x={x} y={y}")
