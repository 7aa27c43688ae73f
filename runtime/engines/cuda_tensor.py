"""A tensor in a GPU's memory, as one engine leaves it for the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import EngineError
from .base import reshaped
from .captures import CAPTURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..cuda import Cuda, Stream


@dataclass(frozen=True, eq=False)
class CudaTensor:
    """See `base.ResidentTensor`. The memory belongs to the engine that wrote it and holds until that runs again.

    Attributes:
        cuda: The GPU.
        address: On it.
        dtype: Of NumPy.
        shape: Contiguous, in C order.
    """

    cuda: Cuda
    address: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def reshape(self, shape: tuple[int, ...]) -> CudaTensor:
        """The same memory in another shape; one axis may be -1."""
        return replace(self, shape=reshaped(self.shape, shape))

    def copy_into(self, address: int, shape: tuple[int, ...], stream: Stream) -> None:
        """Enqueue a copy to `address`, where a tensor of a shape with as many or more rows lies.

        What lies behind the rows stays as it was: nobody reads it.

        Raises:
            EngineError: The shapes differ in something else than the last axis but one.
        """
        *outer, rows, width = shape
        *mine_outer, mine, mine_width = self.shape
        if outer != mine_outer or width != mine_width or mine > rows:
            raise EngineError(f"a tensor of shape {self.shape} does not fit into {shape}")
        size = mine * width * self.dtype.itemsize
        step = rows * width * self.dtype.itemsize
        if mine == rows:
            self.cuda.copy(self.address, address, size * math.prod(outer), stream)
            return
        for layer in range(math.prod(outer)):
            self.cuda.copy(self.address + layer * size, address + layer * step, size, stream)

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory."""
        with CAPTURES.shared():
            return self._download()

    def _download(self) -> NDArray[Any]:
        size = math.prod(self.shape) * self.dtype.itemsize
        stream = self.cuda.stream()
        buffer = self.cuda.buffer(size, mapped=False)
        try:
            self.cuda.copy(self.address, buffer.address, size, stream)
            buffer.download(size, stream)
            stream.synchronize()
            host = buffer.host
            assert host is not None  # noqa: S101  (it was asked for)
            return host.view(self.dtype).reshape(self.shape).copy()
        finally:
            buffer.close()
            stream.close()
