"""A graph to disk, one tensor at a time: `NAME.onnx` with the weights beside it in `NAME.onnx.data`.

Weights may be lazy (`onnx_ir.LazyTensor`): each is made, written and let go, so that a checkpoint of any size
needs the memory of its largest tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from smartrt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

INLINE_BYTES = 1024
"""Smaller tensors stay in the graph file."""

_ALIGNMENT = 4096  # a page: an engine can map a tensor where it lies


class DataFile:
    """The weights of one graph while they are written. Use it as a context manager."""

    def __init__(self, directory: Path, name: str, advance: Callable[[int], None] = lambda _: None) -> None:
        self._directory, self._name = directory, name
        self.advance = advance
        self._location = f"{name}.onnx.data"
        self._file = (directory / self._location).open("wb")

    def put(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """Write the content of `tensor`, which has a name; what is returned stands for it and holds a small one itself.

        Progress is counted in bytes of the float graph: who replaces a weight by something smaller calls `advance`.
        """
        content = tensor.tobytes()
        if len(content) != tensor.nbytes:
            raise ExportError(
                f"the weight {tensor.name} has {len(content)} bytes, its type and shape say {tensor.nbytes}"
            )
        if len(content) < INLINE_BYTES:
            return ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
        self._file.seek(-self._file.tell() % _ALIGNMENT, 1)
        offset = self._file.tell()
        self._file.write(content)
        return ir.ExternalTensor(
            self._location, offset, len(content), tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()), name=tensor.name or "", base_dir=self._directory,
        )  # fmt: skip

    def finish(self, model: ir.Model) -> None:
        """Write the weights of `model` that were not put yet, in its order, and the graph file.

        Raises:
            ExportError: A weight has no value.
        """
        for key, value in model.graph.initializers.items():
            if value.const_value is None:
                raise ExportError(f"the weight {key} of the graph {self._name} has no value")
            if not self._is_here(value.const_value):
                self.advance(value.const_value.nbytes)
                value.const_value = self.put(value.const_value)
                value.const_value.name = key
        self._file.flush()
        path = self._directory / f"{self._name}.onnx"
        ir.save(model, path)
        onnx.checker.check_model(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _is_here(self, tensor: ir.TensorProtocol) -> bool:
        return isinstance(tensor, ir.ExternalTensor) and tensor.base_dir == self._directory


def weight_bytes(model: ir.Model) -> int:
    """What the weights of `model` take, for a progress bar."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
