"""Late scores on a GPU: stored groups are multiplied and reduced by a graph on the engine that encodes.

    codes [groups, 8, D]  ->  float32  ->  products with the query tokens  ->  best match in each group of 8 rows

What is left, a maximum over the groups of a document and a mean over query tokens, is one part in 8 D of the work and
is done where it is done for the CPU (`kernel`). So documents of any length need no padding and no mask, and one that is
larger than a call goes in pieces. A set goes to the device when it is asked for: nothing of an index stays there.

Products and sums are float32 as on the CPU, with the same error: TF32, which keeps 10 bits of a number, would break
the promise of an exact top k, so a device that rounds products further than float32 does is refused.
"""

from __future__ import annotations

import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engines.devices import parse_device
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


class DeviceScorer:
    """Late scores of stored documents in float32, computed by an engine that holds a ``late_*.onnx``.

    It is called as `stored.late_of` is, from any thread, and scores within the same 2e-6 of float64 for unit vectors.
    """

    def __init__(self, engine: OrtEngine, device: str) -> None:
        self._engine = engine
        self._device = device
        self._lock = threading.Lock()  # an engine may use its buffers on the device again
        self._errors: dict[int, float] = {}

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
        self.check(tokens.dim)
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
        with self._lock:
            self._engine.close()

    def check(self, dim: int) -> None:
        """Refuse a device that rounds numbers of more than 10 bits before it multiplies them; tried once for each dim.

        Args:
            dim: Of the vectors: how a device multiplies may depend on it.

        Raises:
            DeviceError: The device computes with less than float32.
        """
        if dim not in self._errors:
            self._errors[dim] = self._error(dim)
        if not (off := self._errors[dim]) < _FLOAT32:
            raise DeviceError(
                f"device {self._device!r} multiplies float32 with an error of {off:.0e} (TF32?), which can change the "
                "order of documents: set NVIDIA_TF32_OVERRIDE=0, or let the CPU do late interaction"
            )

    def _error(self, dim: int) -> float:
        """The largest relative error of a few products of uneven numbers."""
        (dtype,) = (spec.dtype for spec in self._engine.inputs if spec.name == "codes")
        code, terms = _UNEVEN_CODES[dtype], min(dim, 32)
        query = np.zeros((dim, 32), np.float32)
        query[:terms] = _UNEVEN
        best = self.run(np.full((64, GROUP, dim), code, dtype), query)
        return float(np.abs(best / (terms * code * _UNEVEN) - 1.0).max())


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


class _Scorers:
    """The scorers of this process by device and storage: each is opened once, and by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: dict[tuple[int, Storage], DeviceScorer] = {}
        self._quicker: dict[Storage, Quicker] = {}

    def on(self, number: int, storage: Storage) -> DeviceScorer:
        """The one on a GPU."""
        with self._lock:
            return self._opened(number, storage)

    def quicker(self, storage: Storage) -> tuple[Quicker, DeviceScorer]:
        """The one that chooses between the CPU and the first GPU, and the one on that."""
        with self._lock:
            there = self._opened(0, storage)
            return self._quicker.setdefault(storage, Quicker(late_of, there)), there

    def close(self) -> None:
        """Close and forget them."""
        with self._lock:
            for scorer in self._on.values():
                scorer.close()
            self._on.clear()
            self._quicker.clear()

    def _opened(self, number: int, storage: Storage) -> DeviceScorer:
        if (number, storage) not in self._on:
            self._on[number, storage] = DeviceScorer.open(storage, f"cuda:{number}" if number else "cuda")
        return self._on[number, storage]


_SCORERS = _Scorers()


def late_on(device: str, storage: Storage, dim: int | None = None) -> LateScorer:
    """What computes late scores of `storage` on `device`, opened once in this process; see `close_late`.

    This is the one place where the name of a device becomes a scorer: whoever brings a scorer of their own, or a test,
    replaces it in `stages`.

    Args:
        device: ``cuda`` or ``cuda:N``, ``cpu``, or ``auto``: the GPU for sets of a size of which it scored the first
            ones faster than the CPU did, where there is one that multiplies in float32.
        storage: Of the documents.
        dim: Of their vectors: a device's products are tried with it now; None: when the first set is scored.

    Raises:
        DeviceError: A GPU was asked for and did not load, or computes with less than float32; ``auto`` asks for none.
        MissingDependencyError: The same without ONNX Runtime.
    """
    if device == "cpu":
        return late_of
    scorer: LateScorer
    try:
        if device == "auto":
            scorer, there = _SCORERS.quicker(storage)
        else:
            scorer = there = _SCORERS.on(parse_device(device) or 0, storage)
        if dim is not None:
            there.check(dim)
    except (DeviceError, MissingDependencyError):
        if device == "auto":
            return late_of
        raise
    return scorer


def close_late() -> None:
    """Give back what `late_on` holds on devices; searches that run fail, later ones open it again."""
    _SCORERS.close()


def check_late_device(device: str) -> str:
    """Refuse a device that late interaction never runs on."""
    try:
        if device != "auto":
            parse_device(device)
    except OptionError:
        raise OptionError(f"late interaction runs on cpu, cuda, cuda:N or auto, got {device!r}") from None
    return device
