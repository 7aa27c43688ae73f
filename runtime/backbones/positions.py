"""Position ids of the decoder, and the tables of the vision tower, in NumPy.

Each must equal what transformers 4.57 computes: `get_rope_index` of Qwen3VLModel and Qwen2VLModel,
`rot_pos_emb` and `fast_pos_embed_interpolate` of Qwen3VLVisionModel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def sequential(length: int) -> NDArray[np.int64]:
    """0, 1, 2 … on all three axes, ``[3, length]``."""
    return np.broadcast_to(np.arange(length, dtype=np.int64), (3, length))


def mrope(length: int, images: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Positions on the axes time, height and width, ``[3, length]``.

    Text counts up on all three; the tokens of an image share a time and count rows and columns from where the
    text stopped; the text behind it goes on after the larger side.

    Args:
        length: Tokens.
        images: Per image the position of its first token, and its rows and columns in visual tokens.
    """
    positions = np.empty((3, length), np.int64)
    at, following = 0, 0  # the next token, and the next free position
    for start, rows, columns in images:
        positions[:, at:start] = following + np.arange(start - at)
        following += start - at
        at = start + rows * columns
        row, column = np.divmod(np.arange(rows * columns), columns)
        positions[:, start:at] = following + np.stack([np.zeros_like(row), row, column])
        following += max(rows, columns)
    positions[:, at:] = following + np.arange(length - at)
    return positions


def patch_places(rows: int, columns: int, merge: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of each patch in merge-block order, each ``[blocks, merge * merge]``."""
    grid = np.indices((rows, columns)).reshape(2, rows // merge, merge, columns // merge, merge)
    row, column = grid.transpose(0, 1, 3, 2, 4).reshape(2, -1, merge * merge)
    return row, column


def rotary_angles(rows: int, columns: int, merge: int, dim: int, theta: float) -> NDArray[np.float32]:
    """Angles of the vision tower's rotary embedding, ``[blocks, merge * merge, dim]`` float32.

    The first half of `dim` belongs to the row, the second to the column.
    """
    # Rounded to float32 where PyTorch rounds; the power itself in float64, for NumPy's float32 power is off by units
    # in the last place.
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    inverse = np.float32(1) / (theta ** exponents.astype(np.float64)).astype(np.float32)
    places = np.stack(patch_places(rows, columns, merge), axis=-1).astype(np.float32)
    return (places[..., None] * inverse).reshape(*places.shape[:2], dim)


def position_taps(rows: int, columns: int, merge: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Bilinear interpolation of a learned ``side x side`` table, corners aligned.

    Returns:
        Indices ``[blocks, merge * merge, 4]`` int64 into the flat table, and their weights, float32.
    """
    row, column = patch_places(rows, columns, merge)
    low_row, high_row, row_part = (values[row] for values in _taps_of_axis(rows, side))
    low_column, high_column, column_part = (values[column] for values in _taps_of_axis(columns, side))
    one = np.float32(1)
    corners = (
        (low_row, low_column, (one - row_part) * (one - column_part)),
        (low_row, high_column, (one - row_part) * column_part),
        (high_row, low_column, row_part * (one - column_part)),
        (high_row, high_column, row_part * column_part),
    )
    indices = np.stack([i * side + j for i, j, _ in corners], axis=-1)
    return indices, np.stack([weight for *_, weight in corners], axis=-1)


def _taps_of_axis(count: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Lower and upper table row of each of `count` places, and the part that belongs to the upper one."""
    places = _linspace(side - 1, count)
    low = places.astype(np.int64)
    return low, np.minimum(low + 1, side - 1), places - low.astype(np.float32)


def _linspace(end: int, count: int) -> NDArray[np.float32]:
    """``torch.linspace(0, end, count)`` in float32, bit for bit: it counts from both ends towards the middle.

    Its multiplication and subtraction are fused (one rounding), as PyTorch's vector code has them on any recent
    processor.
    """
    if count == 1:
        return np.zeros(1, np.float32)
    step = np.float32(end) / np.float32(count - 1)
    forward = np.arange(count, dtype=np.float32)
    backward = (end - np.float64(step) * forward[::-1]).astype(np.float32)
    return np.where(np.arange(count) < count // 2, step * forward, backward).astype(np.float32)
