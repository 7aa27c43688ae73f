"""A GPU's memory for one graph in buckets: every tensor at its largest, at an address that never changes.

    feeds -> zero-padded in pinned or shared memory -> copied up    |    copied down -> cut -> NumPy, or left there

What is recorded as a CUDA graph holds for the addresses it was recorded with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .buckets import cut, fill, shape_of
from .cuda_tensor import CudaTensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..cuda import Buffer, Cuda, Stream
    from .base import Tensor, TensorSpec
    from .buckets import Buckets


class BucketMemory:
    """Inputs and outputs of one graph on one GPU. It is allocated by the first upload; closing twice is allowed.

    Args:
        cuda: The GPU.
        stream: What copies are enqueued on.
        inputs: Of the graph.
        outputs: Of the graph.
        buckets: Its shapes.
    """

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        buckets: Buckets,
    ) -> None:
        self._cuda = cuda
        self._stream = stream
        self._inputs, self._outputs = inputs, outputs
        self._buckets = buckets
        self._buffers: dict[str, Buffer] = {}

    @property
    def addresses(self) -> dict[str, int]:
        """Name -> where it lies; nothing before the first upload."""
        return {name: buffer.address for name, buffer in self._buffers.items()}

    def upload(self, feeds: Mapping[str, Tensor], padded: Mapping[str, int]) -> None:
        """Enqueue the copies of `feeds`, zero-padded to the sizes of their bucket.

        Raises:
            DeviceMemoryError: The memory cannot be had; none is kept.
        """
        self._reserve()
        for spec in self._inputs:
            self._upload(spec, feeds[spec.name], shape_of(spec, padded))

    def download(self, sizes: Mapping[str, int], padded: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """Wait for everything on the stream; the outputs, cut to `sizes`. They belong to the caller."""
        shapes = {spec.name: shape_of(spec, padded) for spec in self._outputs}
        for spec in self._outputs:
            self._buffers[spec.name].download(_bytes(spec, shapes[spec.name]), self._stream)
        self._stream.synchronize()
        return {
            spec.name: cut(self._view(spec, shapes[spec.name]), shape_of(spec, sizes)).copy() for spec in self._outputs
        }

    def resident(self, padded: Mapping[str, int]) -> dict[str, CudaTensor]:
        """Wait for everything on the stream; the outputs where they are, in the shapes of their bucket."""
        self._stream.synchronize()  # who reads them does so on another stream
        return {
            spec.name: CudaTensor(
                self._cuda, self._buffers[spec.name].address, np.dtype(spec.dtype), shape_of(spec, padded)
            )
            for spec in self._outputs
        }

    def close(self) -> None:
        """Give the memory back."""
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers = {}

    def _reserve(self) -> None:
        if self._buffers:
            return
        largest = [{axis: sizes[2] for axis, sizes in entry.axes.items()} for entry in self._buckets.ranges]
        buffers: dict[str, Buffer] = {}
        try:
            for spec in (*self._inputs, *self._outputs):
                most = max(_bytes(spec, shape_of(spec, sizes)) for sizes in largest)
                buffers[spec.name] = self._cuda.buffer(most)
        except BaseException:
            for buffer in buffers.values():
                buffer.close()
            raise
        self._buffers = buffers

    def _upload(self, spec: TensorSpec, values: Tensor, shape: tuple[int, ...]) -> None:
        buffer = self._buffers[spec.name]
        if isinstance(values, CudaTensor) and values.cuda.device == self._cuda.device:
            values.copy_into(buffer.address, shape, self._stream)
            return
        fill(self._view(spec, shape), values if isinstance(values, np.ndarray) else values.numpy())
        buffer.upload(_bytes(spec, shape), self._stream)

    def _view(self, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
        host = self._buffers[spec.name].host
        assert host is not None  # noqa: S101  (`_reserve` asked for a host side)
        return host[: _bytes(spec, shape)].view(spec.dtype).reshape(shape)


def _bytes(spec: TensorSpec, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
