"""Arrays on disk: NumPy's own file format, written and mapped without its parser.

A segment knows the dtype and shape of every array it holds, so the header a file must have is known to the
byte. Comparing it is faster than parsing it and has nothing to say to a hostile one.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptIndexError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def save_array(path: Path, array: NDArray[Any], dtype: str) -> None:
    """Write `array` as `dtype` to a ``.npy`` file of version 1.0."""
    save_pieces(path, [array], dtype, array.shape)


def save_pieces(path: Path, pieces: Iterable[NDArray[Any]], dtype: str, shape: tuple[int, ...]) -> None:
    """Write an array of `shape` whose rows come in pieces, so that it need not fit the memory."""
    with path.open("wb") as file:
        file.write(_header(dtype, shape))
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).data.cast("B") if piece.size else b"")


def map_array(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a ``.npy`` file that must hold `shape` numbers of `dtype`, read only.

    Raises:
        CorruptIndexError: The file has another header or length.
    """
    header = _header(dtype, shape)
    size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with path.open("rb") as file:
            found = file.read(len(header))
    except FileNotFoundError:
        raise CorruptIndexError(f"{path} is missing; copy the index again, or build it again") from None
    if found != header or path.stat().st_size != size:
        raise CorruptIndexError(f"{path} is not an array {list(shape)} of {np.dtype(dtype)}; build the index again")
    return np.memmap(path, dtype, "r", len(header), shape)


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
