"""ONNX Runtime on a GPU in buckets: each is recorded as a CUDA graph by its first call and replayed by the others.

    feeds -> next bucket -> zero-padded -> copied -> replayed -> copied -> cut

A recording holds for one shape and for the addresses it was made with, so every tensor has memory for its largest
bucket from the first call on, and each bucket a number that ONNX Runtime knows its recording by (``gpu_graph_id``).
Who records is alone in the process (`captures`), who replays is not.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from .bucket_memory import BucketMemory
from .buckets import shape_of, sizes_of
from .captures import CAPTURES
from .ort_session import OrtEngine, run_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ..cuda import Cuda
    from .base import Tensor
    from .buckets import Buckets
    from .cuda_tensor import CudaTensor

    Sizes = dict[str, int]


class GraphEngine(OrtEngine):
    """One graph on one GPU, in the shapes of its buckets. Calls from several threads take turns.

    ONNX Runtime keeps recordings by thread: one that calls for the first time records again, in more memory.

    Args:
        session: That loaded the graph, with ``enable_cuda_graph``.
        device: ``cuda`` or ``cuda:N``. With ``cpu`` and a session of the CPU provider, the addresses of `cuda` must be
            the host's: so tests run it, on a CUDA that is a fake.
        cuda: The GPU; it is closed with the engine.
        buckets: The shapes.
        run_options: Makes RunOptions.
        on_cpu: What `on_cpu` says.

    Attributes:
        on_cpu: As of `BoundEngine`.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        cuda: Cuda,
        buckets: Buckets,
        run_options: Callable[[], Any],
        on_cpu: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(session)
        self.device = device
        self.buckets = buckets
        self.on_cpu = on_cpu
        kind, _, number = device.partition(":")
        self._place = kind, int(number or 0)
        self._cuda = cuda
        self._stream = cuda.stream()
        self._run_options = run_options
        self._memory = BucketMemory(cuda, self._stream, self.inputs, self.outputs, buckets)
        self._recordings: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self._recorded = _Recorded()
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        sizes, padded = self._fitted(feeds)
        with self._lock, self._turn(padded):
            self._launch(feeds, padded)
            return self._memory.download(sizes, padded)

    def run_resident(self, feeds: Mapping[str, Tensor]) -> dict[str, CudaTensor]:
        """See `ResidentEngine.run_resident`."""
        _, padded = self._fitted(feeds)
        with self._lock, self._turn(padded):
            self._launch(feeds, padded)
            return self._memory.resident(padded)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock, CAPTURES.shared():
            if self._session is None:
                return
            self._recordings.clear()
            super().close()
            self._stream.close()  # it waits for what may still be copied
            self._memory.close()
            self._cuda.close()

    def _fitted(self, feeds: Mapping[str, Tensor]) -> tuple[Sizes, Sizes]:
        """The sizes of the feeds and those of their bucket."""
        sizes = sizes_of(self.inputs, feeds)
        return sizes, self.buckets.fit(sizes)[0]

    def _turn(self, padded: Sizes) -> AbstractContextManager[None]:
        """Alone if this thread calls the bucket for the first time: its launches are recorded then."""
        return CAPTURES.shared() if tuple(padded.values()) in self._recorded.buckets else CAPTURES.exclusive()

    def _launch(self, feeds: Mapping[str, Tensor], padded: Sizes) -> None:
        """Upload and run."""
        session, bucket = self._opened(), tuple(padded.values())
        self._memory.upload(feeds, padded)
        self._stream.synchronize()  # ONNX Runtime reads on a stream of its own
        try:
            binding, options = self._recording(session, padded)
            session.run_with_iobinding(binding, options)
            binding.synchronize_outputs()
        except Exception as error:
            raise run_error(error, self.device, records=bucket not in self._recorded.buckets) from error
        self._recorded.buckets.add(bucket)

    def _recording(self, session: Any, padded: Mapping[str, int]) -> tuple[Any, Any]:
        """What a bucket is run with: the bound addresses, and the number of its recording."""
        bucket = tuple(padded.values())
        if bucket not in self._recordings:
            binding, addresses = session.io_binding(), self._memory.addresses
            for bind, specs in ((binding.bind_input, self.inputs), (binding.bind_output, self.outputs)):
                for spec in specs:
                    kind, shape = np.dtype(spec.dtype).type, shape_of(spec, padded)
                    bind(spec.name, *self._place, kind, shape, addresses[spec.name])
            options = self._run_options()
            options.add_run_config_entry("gpu_graph_id", str(len(self._recordings) + 1))
            self._recordings[bucket] = binding, options
        return self._recordings[bucket]


class _Recorded(threading.local):
    """The buckets that the calling thread has recorded; a number of a thread may be that of one that is gone."""

    def __init__(self) -> None:
        self.buckets: set[tuple[int, ...]] = set()
