"""An engine without a model: vectors are arithmetic on ids and pixels.

Deterministic on every machine, independent of padding and batch, and fast: for the tests of programs
that use smartrt, for examples, and for smartrt's own tests. It ranks by shared tokens and pixels, nothing more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError, OptionError
from .axes import axes_of
from .base import TensorSpec, build_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from .base import Feeds

_GOLDEN = (5**0.5 - 1) / 2
_WHOLE = (
    "input_ids", "attention_mask", "token_type_ids", "valid", "taps", "position_ids", "pooled_index", "visual_index",
)  # fmt: skip
_DTYPES = dict.fromkeys(_WHOLE, "int64") | {"patches": "uint8"}


@dataclass(frozen=True)
class FakeOptions:
    """Options of the fake engine: what real engines do wrong, for tests of programs that must notice.

    Attributes:
        delay: Seconds that each run takes in addition.
        shift: Places that the numbers of every vector are moved by: another model, so to speak.
        runs: After so many runs the engine fails; None: never.
    """

    delay: float = 0.0
    shift: int = 0
    runs: int | None = None


class FakeEngine:
    """The interface of one graph with arithmetic inside. Subclasses say what is computed."""

    def __init__(
        self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], options: FakeOptions | None = None
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._options = options or FakeOptions()
        self._runs = 0
        self._closed = False

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        if self._closed:
            raise EngineError("this engine is closed; open the encoder again")
        if self._runs == self._options.runs:
            raise EngineError(f"this engine fails after {self._runs} runs, as it was told to")
        self._runs += 1
        time.sleep(self._options.delay)
        return {name: np.roll(values, self._options.shift, axis=-1) for name, values in self._compute(feeds).items()}

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True

    def _compute(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def _dim(self, output: str) -> int:
        return next(int(spec.axes[-1]) for spec in self.outputs if spec.name == output)


class FakeEncoder(FakeEngine):
    """A text encoder.

    The state of id ``t`` is the unit vector along ``sin((t + 1) (j + 1) golden)``; the pooled vector is
    the normalised mean over valid tokens.
    """

    def _compute(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        ids, mask = feeds["input_ids"], feeds["attention_mask"].astype(bool)
        dim = self._dim("pooled")
        pooled = np.stack([_unit(_wave(row[keep], dim).sum(0)) for row, keep in zip(ids, mask, strict=True)])
        return {"pooled": pooled, "token_states": _unit(_wave(ids, self._dim("token_states")))}


class FakeVision(FakeEngine):
    """A vision tower: a visual token is a wave along the sum of its block's pixels."""

    def _compute(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        sums = feeds["patches"].sum(axis=(2, 3), dtype=np.int64)
        tokens = _unit(_wave(sums, self._dim("tokens")))
        return {
            spec.name: tokens if spec.name == "tokens" else np.stack([tokens] * int(spec.axes[0]))
            for spec in self.outputs
        }


class FakeDecoder(FakeEngine):
    """A decoder: a state is the unit vector of its own embedding, the pooled one of the mean up to its place."""

    def _compute(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        index, visual = feeds["visual_index"], feeds["visual"]
        embeds = np.where(index[..., None] > 0, visual[np.maximum(index - 1, 0)], feeds["inputs_embeds"]).astype(
            np.float64
        )
        upto = [row[: int(at) + 1].mean(axis=0) for row, at in zip(embeds, feeds["pooled_index"], strict=True)]
        return {
            "pooled": _unit(_fit(np.stack(upto), self._dim("pooled"))),
            "token_states": _unit(_fit(embeds, self._dim("token_states"))),
        }


def open_graph(bundle: Bundle, graph: str, device: str, options: Mapping[str, Any]) -> FakeEngine:
    """An engine with the interface of `graph`. See `open_engine`."""
    chosen = build_options(FakeOptions, options)
    if device != "cpu":
        raise OptionError(f"the fake engine runs on cpu only, got device={device!r}")
    kinds: dict[str, type[FakeEngine]] = {"encoder": FakeEncoder, "vision": FakeVision, "decoder": FakeDecoder}
    axes, entry = axes_of(bundle.manifest, graph), bundle.manifest.graphs[graph]
    inputs, outputs = (
        tuple(TensorSpec(name, _DTYPES.get(name, "float32"), axes[name]) for name in names)
        for names in (entry.inputs, entry.outputs)
    )
    return kinds[graph](inputs, outputs, chosen)


def _fit(vectors: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """The first `dim` numbers of each vector, from the start again where there are fewer."""
    return vectors[..., np.arange(dim) % vectors.shape[-1]]


def _wave(ids: NDArray[np.int64], dim: int) -> NDArray[np.float64]:
    waves: NDArray[np.float64] = np.sin((ids[..., None] + 1.0) * (np.arange(dim) + 1.0) * _GOLDEN)
    return waves


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled
