"""Token embeddings beside the graph: a query reads a few rows of a table that may have 600 MB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptBundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..manifest import TokenTable

STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
"""Type on disk; bfloat16 has no NumPy type and lies there as its 16 bits."""


class MappedTable:
    """Rows of a memory-mapped table as float32."""

    def __init__(self, values: NDArray[Any], dtype: str) -> None:
        self._values = values
        self._dtype = dtype

    @classmethod
    def open(cls, bundle: Bundle, entry: TokenTable) -> MappedTable:
        """Map the table of a bundle.

        Raises:
            CorruptBundleError: The file has another size than the manifest says.
        """
        path, stored = bundle.file(entry.path), np.dtype(STORED[entry.dtype])
        expected = entry.rows * entry.dim * stored.itemsize
        if path.stat().st_size != expected:
            raise CorruptBundleError(
                f"{path} has {path.stat().st_size} bytes, {entry.rows} x {entry.dim} {entry.dtype} are {expected}; "
                "export the bundle again"
            )
        return cls(np.memmap(path, stored, "r", shape=(entry.rows, entry.dim)), entry.dtype)

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of `ids`, float32, one more axis than `ids`. Exact for every stored type."""
        rows = self._values[ids]
        if self._dtype == "bfloat16":
            return (rows.astype(np.uint32) << 16).view(np.float32)
        return rows.astype(np.float32)
