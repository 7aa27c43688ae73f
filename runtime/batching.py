"""Cutting many texts of many lengths into a few padded engine calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[NDArray[np.int64]]:
    """Group items of similar length so that no padded batch holds more than `token_budget` tokens.

    Args:
        lengths: Tokens per item.
        token_budget: Bound on rows times longest row. An item longer than this travels alone.

    Returns:
        Indices per batch, longest items first, each item in exactly one batch. Longest first so that
        an engine allocates its largest buffers once, and a machine too small fails at once.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, token_budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def pad(rows: Sequence[NDArray[np.int64]], pad_id: int, side: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stack ids into ``[rows, longest]`` int64 and the attention mask that goes with it."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        where = slice(width - len(row), None) if side == "left" else slice(len(row))
        ids[i, where] = row
        mask[i, where] = 1
    return ids, mask
