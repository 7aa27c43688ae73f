"""Token embeddings beside the graph: a query reads a few rows of a table that may have 600 MB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptBundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..manifest import TokenTable

STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int8": "<i1"}
"""Type on disk; bfloat16 has no NumPy type and lies there as its 16 bits."""


class MappedTable:
    """Rows of a memory-mapped table as float32."""

    def __init__(self, values: NDArray[Any], dtype: str, scales: NDArray[np.float32] | None = None) -> None:
        self._values = values
        self._dtype = dtype
        self._scales = scales

    @classmethod
    def open(cls, bundle: Bundle, entry: TokenTable) -> MappedTable:
        """Map the table of a bundle.

        Raises:
            CorruptBundleError: A file has another size than the manifest says.
        """
        values = _map(bundle, entry.path, entry.dtype, (entry.rows, entry.dim))
        scales = _map(bundle, entry.scales, "float32", (entry.rows, 1)) if entry.scales is not None else None
        return cls(values, entry.dtype, scales)

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of `ids`, float32, one more axis than `ids`. Exact for every stored type."""
        rows = self._values[ids]
        if self._dtype == "bfloat16":
            return (rows.astype(np.uint32) << 16).view(np.float32)
        wide: NDArray[np.float32] = rows.astype(np.float32)
        return wide if self._scales is None else wide * self._scales[ids]


def _map(bundle: Bundle, name: str, dtype: str, shape: tuple[int, int]) -> NDArray[Any]:
    path, stored = bundle.file(name), np.dtype(STORED[dtype])
    expected = shape[0] * shape[1] * stored.itemsize
    if path.stat().st_size != expected:
        raise CorruptBundleError(
            f"{path} has {path.stat().st_size} bytes, {shape[0]} x {shape[1]} {dtype} are {expected}; "
            "export the bundle again"
        )
    return np.memmap(path, stored, "r", shape=shape)
