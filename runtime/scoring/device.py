"""Late scores on a GPU: stored groups are multiplied and reduced by a graph on the engine that encodes.

    codes [groups, 8, D]  ->  float32  ->  products with the query tokens  ->  best match in each group of 8 rows

What is left, a maximum over the groups of a document and a mean over query tokens, is one part in 8 D of the work and
is done where it is done for the CPU (`kernel`). So documents of any length need no padding and no mask, and one that is
larger than a call goes in pieces. A set goes to the device when it is asked for: nothing of an index stays there.

Products and sums are float32 as on the CPU, with the same error: TF32, which keeps 10 bits of a number, would break
the promise of an exact top k, so a device that rounds products further than float32 does is refused.
"""

from __future__ import annotations

import functools
import re
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DeviceError, MissingDependencyError, OptionError
from .choice import Quicker
from .kernel import scan
from .products import Way
from .ragged import GROUP
from .shapes import Shape
from .stored import groups_of, late_of
from .tiles import StoredTiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engines.ort import OrtEngine
    from ..types import TokenStates
    from .choice import LateScorer
    from .storage import Storage, StoredTokens

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

_SENT, _HELD = 16 << 20, 128 << 20
"""Bytes of stored numbers that go to the device at a time, and of float32 that it makes of them: what bounds memory."""

_WIDEST = 1024  # query tokens multiplied at a time

_DEVICE = re.compile(r"cpu|auto|cuda(:[0-9]+)?")


class DeviceScorer:
    """Late scores of stored documents in float32, computed by an engine that holds a ``late_*.onnx``.

    It is called as `stored.late_of` is, from any thread, and scores within the same 2e-6 of float64 for unit vectors.
    """

    def __init__(self, engine: OrtEngine, device: str) -> None:
        self._engine = engine
        self._device = device
        self._lock = threading.Lock()  # an engine may use its buffers on the device again
        self._tried: set[int] = set()

    @classmethod
    def open(cls, storage: Storage, device: str) -> DeviceScorer:
        """Load the graph for `storage` on ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            DeviceError: The device did not load.
            MissingDependencyError: ONNX Runtime is not installed.
        """
        from ..engines.ort import open_file

        with resources.as_file(resources.files(__package__).joinpath(f"late_{storage}.onnx")) as path:
            return cls(open_file(path, device), device)

    def __call__(
        self,
        queries: TokenStates,
        tokens: StoredTokens,
        chosen: Int64 | None = None,
        *,
        threads: int,  # noqa: ARG002  (part of the protocol; the device has its own)
    ) -> Float32:
        """``[n, m]`` float32: every query with every document, or with the chosen ones in the chosen order.

        Raises:
            DeviceError: The device computes with less than float32.
            EngineError: The engine cannot run the graph.
        """
        self._try(tokens.codes.dtype, tokens.dim)
        groups, starts = (None, tokens.starts) if chosen is None else groups_of(tokens.starts, chosen)

        def best_matches(block: Float32) -> _BestMatches:
            return _BestMatches(self, block if tokens.scale is None else block * tokens.scale, tokens.codes.dtype)

        return scan(queries, StoredTiles(tokens.codes, groups), starts, best_matches, threads=1)

    def run(self, codes: NDArray[Any], query: Float32) -> Float32:
        """``[groups, columns]``: for ``codes [groups, 8, D]`` and ``query [D, columns]`` the best of each group."""
        with self._lock:
            best: Float32 = self._engine.run({"codes": codes, "query": query})["best"]
        return best

    def close(self) -> None:
        """Give back the memory of the device."""
        self._engine.close()

    def _try(self, dtype: np.dtype[Any], dim: int) -> None:
        """Refuse a device that rounds numbers of more than 10 bits before it multiplies them; once for each dim."""
        if dim in self._tried:
            return
        code, terms = _UNEVEN_CODES[dtype.name], min(dim, 32)
        query = np.zeros((dim, 32), np.float32)
        query[:terms] = _UNEVEN
        best = self.run(np.full((64, GROUP, dim), code, dtype), query)
        off = float(np.abs(best / (terms * code * _UNEVEN) - 1.0).max())
        if not off < _FLOAT32:
            raise DeviceError(
                f"device {self._device!r} multiplies float32 with an error of {off:.0e} (TF32?), which can change the "
                "order of documents: set NVIDIA_TF32_OVERRIDE=0, or let the CPU do late interaction"
            )
        self._tried.add(dim)


_UNEVEN = 1 + 2.0**-11 - 2.0**-14
"""Exact in float32; 10 bits of a fraction make it 1."""

_UNEVEN_CODES = {"int16": 16391.0, "int8": 127.0, "float16": 1 + 2.0**-10, "float32": _UNEVEN}
_FLOAT32 = 1e-5
"""Relative error that 32 equal products may add up to: float32 has 2e-6 at most, TF32 4e-4 at least."""


class _BestMatches:
    """The device as `kernel.Arithmetic`: its products are best matches already, ``[1, groups, columns]``."""

    dtype: type[np.generic] = np.float32

    def __init__(self, scorer: DeviceScorer, folded: Float32, stored: np.dtype[Any]) -> None:
        self.columns, dim = folded.shape
        width = min(self.columns, _WIDEST)
        sent, held = GROUP * dim * stored.itemsize, 4 * GROUP * (dim + width)
        tile = max(1, min(_SENT // sent, _HELD // held))
        self.shape = Shape(Way(), tile, tile, width)
        self._scorer = scorer
        self._blocks = {
            left: np.ascontiguousarray(folded[left : left + width].T) for left in range(0, self.columns, width)
        }

    def load(self, codes: NDArray[Any]) -> NDArray[Any]:
        """As they are stored; the graph converts them."""
        return np.asarray(codes)

    def multiply(self, tile: NDArray[Any], first: int) -> Float32:
        """See `Arithmetic`."""
        return self._scorer.run(tile, self._blocks[first])[None]

    def finish(self, matches: Float32) -> NDArray[np.float64]:
        """See `Arithmetic`."""
        return matches.astype(np.float64)


@functools.cache
def late_on(device: str, storage: Storage) -> LateScorer:
    """What computes late scores of `storage` on `device`, opened once in this process.

    This is the one place where the name of a device becomes a scorer: whoever brings a scorer of their own, or a test,
    replaces it in `stages`.

    Args:
        device: ``cuda`` or ``cuda:N``, ``cpu``, or ``auto``: the GPU for sets of a size of which it scored the first
            ones faster than the CPU did, where there is one.
        storage: Of the documents.

    Raises:
        DeviceError: A GPU was asked for and did not load; ``auto`` asks for none.
        MissingDependencyError: The same without ONNX Runtime.
    """
    if device == "cpu":
        return late_of
    if device != "auto":
        return DeviceScorer.open(storage, device)
    try:
        return Quicker(late_of, DeviceScorer.open(storage, "cuda"))
    except (DeviceError, MissingDependencyError):
        return late_of


def check_late_device(device: str) -> str:
    """Refuse a device that late interaction never runs on."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise OptionError(f"late interaction runs on cpu, cuda, cuda:N or auto, got {device!r}")
    return device
