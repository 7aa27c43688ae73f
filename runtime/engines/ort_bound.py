"""ONNX Runtime on a GPU: what a graph writes stays there, for the next graph to read.

feeds -> bound where they lie (NumPy: copied to the GPU) -> run -> outputs in the GPU's memory -> NumPy, if asked
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import reshaped
from .captures import CAPTURES
from .ort_session import OrtEngine, run_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .base import Tensor


@dataclass(frozen=True, eq=False)
class OrtTensor:
    """See `base.ResidentTensor`. It owns its memory, with the session that allocated it.

    Attributes:
        value: OrtValue.
        dtype: Of NumPy.
        shape: Contiguous, in C order.
        device: Where it lies, by the name that its engine was opened with.
    """

    value: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    device: str

    @property
    def address(self) -> int:
        """Where it lies on its device."""
        return int(self.value.data_ptr())

    def reshape(self, shape: tuple[int, ...]) -> OrtTensor:
        """The same memory in another shape; one axis may be -1."""
        return replace(self, shape=reshaped(self.shape, shape))

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory."""
        try:
            with CAPTURES.shared():
                array: NDArray[Any] = self.value.numpy()
        except Exception as error:
            raise run_error(error, self.device) from error
        # On a CPU it is ONNX Runtime's own memory.
        return (array if array.flags.owndata else array.copy()).reshape(self.shape)


class BoundEngine(OrtEngine):
    """One graph on one device, any shapes. Calls from several threads run side by side, while no engine records.

    Args:
        session: That loaded the graph.
        device: ``cuda`` or ``cuda:N``. With ``cpu`` and a session of the CPU provider, the host's memory is the
            device's and everything else is the same: so tests run it.
        on_cpu: What `on_cpu` says.

    Attributes:
        on_cpu: Operators that ONNX Runtime left on the CPU, such as arithmetic on shapes, and how many of each; None
            if it does not say.
    """

    def __init__(self, session: Any, device: str, on_cpu: Mapping[str, int] | None = None) -> None:
        super().__init__(session)
        self.device = device
        self.on_cpu = on_cpu
        kind, _, number = device.partition(":")
        self._place = kind, int(number or 0)

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        with CAPTURES.shared():
            return {name: tensor.numpy() for name, tensor in self._run(feeds).items()}

    def run_resident(self, feeds: Mapping[str, Tensor]) -> dict[str, OrtTensor]:
        """See `ResidentEngine.run_resident`. These tensors hold as long as somebody has them."""
        with CAPTURES.shared():
            return self._run(feeds)

    def close(self) -> None:
        """See `Engine.close`."""
        with CAPTURES.shared():
            super().close()

    def _run(self, feeds: Mapping[str, Tensor]) -> dict[str, OrtTensor]:
        session = self._opened()
        held = {name: self._bindable(feed) for name, feed in feeds.items()}  # what is bound must outlive the run
        try:
            binding = session.io_binding()
            for name, feed in held.items():
                self._bind(binding, name, feed)
            for spec in self.outputs:
                binding.bind_output(spec.name, *self._place)
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()  # the next graph reads on a stream of its own
            values = binding.get_outputs()
            return {
                spec.name: OrtTensor(value, np.dtype(spec.dtype), tuple(value.shape()), self.device)
                for spec, value in zip(self.outputs, values, strict=True)
            }
        except Exception as error:
            raise run_error(error, self.device) from error

    def _bindable(self, feed: Tensor) -> NDArray[Any] | OrtTensor:
        if isinstance(feed, OrtTensor) and feed.device == self.device:
            return feed
        return np.ascontiguousarray(feed if isinstance(feed, np.ndarray) else feed.numpy())

    def _bind(self, binding: Any, name: str, feed: NDArray[Any] | OrtTensor) -> None:
        if isinstance(feed, OrtTensor):
            binding.bind_input(name, *self._place, feed.dtype.type, feed.shape, feed.address)
        else:
            binding.bind_cpu_input(name, feed)
