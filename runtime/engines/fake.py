"""An engine without a model: token states are arithmetic on the token id.

Deterministic on every machine, independent of padding and batch, and fast: for the tests of programs
that use smartrt, for examples, and for smartrt's own tests. It ranks by shared tokens, nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError, OptionError
from .base import TensorSpec, build_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from .base import Feeds

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class FakeOptions:
    """Options of the fake engine: it has none."""


class FakeEngine:
    """The interface of a text encoder with arithmetic inside.

    The state of id ``t`` is the unit vector along ``sin((t + 1) (j + 1) golden)``; the pooled vector is
    the normalised mean over valid tokens.
    """

    def __init__(self, inputs: tuple[str, ...], pooled_dim: int, token_dim: int) -> None:
        self.inputs = tuple(TensorSpec(name, "int64", ("batch", "length")) for name in inputs)
        self.outputs = (
            TensorSpec("pooled", "float32", ("batch", pooled_dim)),
            TensorSpec("token_states", "float32", ("batch", "length", token_dim)),
        )
        self._closed = False

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        if self._closed:
            raise EngineError("this engine is closed; open the encoder again")
        ids, mask = feeds["input_ids"], feeds["attention_mask"].astype(bool)
        pooled_dim, token_dim = (int(spec.axes[-1]) for spec in self.outputs)
        pooled = np.stack([_unit(_wave(row[keep], pooled_dim).sum(0)) for row, keep in zip(ids, mask, strict=True)])
        return {"pooled": pooled, "token_states": _unit(_wave(ids, token_dim))}

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True


def open_graph(bundle: Bundle, graph: str, device: str, options: Mapping[str, Any]) -> FakeEngine:
    """An engine with the interface of `graph`. See `open_engine`."""
    build_options(FakeOptions, options)
    if device != "cpu":
        raise OptionError(f"the fake engine runs on cpu only, got device={device!r}")
    dims = bundle.manifest.dims
    return FakeEngine(bundle.manifest.graphs[graph].inputs, dims.pooled, dims.token)


def _wave(ids: NDArray[np.int64], dim: int) -> NDArray[np.float64]:
    waves: NDArray[np.float64] = np.sin((ids[..., None] + 1.0) * (np.arange(dim) + 1.0) * _GOLDEN)
    return waves


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled
