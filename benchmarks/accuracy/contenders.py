"""The encoders of a measurement: what each is called, all that decides its vectors, and how it is opened."""

from __future__ import annotations

import contextlib
import functools
import importlib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import smartrt
from smartrt.encoder import TOKEN_BUDGET, WINDOW, Encoder
from smartrt.engines import ENGINES
from smartrt.errors import OptionError
from smartrt.export.measure import streamed
from smartrt.fusion import Weights

from ..machine import code_sha256, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from smartrt.bundle import Bundle
    from smartrt.evaluation.quality import Encodes
    from smartrt.manifest import Manifest

    Start = Callable[[Callable[[int], None]], Encodes]
    """Takes what is told of each text that is done, gives what encodes."""

_LIBRARIES = ("numpy", "tokenizers", "onnxruntime", "onnxruntime-gpu", "tensorrt")
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class EngineOptions:
    """How the bundles of a measurement run; the arguments of `Encoder.open`."""

    engine: str = "ort"
    device: str = "cpu"
    token_budget: int = TOKEN_BUDGET
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """An encoder to be measured.

    Attributes:
        label: In the names of its systems; no other contender's.
        kind: ``bundle`` or ``pytorch``.
        identity: Of a bundle `Bundle.identity`, of PyTorch the SHA-256 of the weights.
        precision: Of the weights and arithmetic.
        token_dim: Length of a token vector.
        weights: Of the hybrid.
        decides: All that decides a bit of the vectors (`encoded.key_of`); None: never taken from a cache.
        open: Loads it; the context yields a function that takes the progress and returns what encodes.
    """

    label: str
    kind: Literal["bundle", "pytorch"]
    identity: str
    precision: str | None
    token_dim: int
    weights: Weights
    decides: Mapping[str, Any] | None
    open: Callable[[], AbstractContextManager[Start]]

    @classmethod
    def of_bundle(cls, bundle: Bundle, chosen: EngineOptions | None = None, *, checked: bool = True) -> Contender:
        """A bundle on an engine; its graph is loaded when the first text has to be encoded.

        Args:
            bundle: Opened.
            chosen: How it runs.
            checked: Whether its files were compared with their hashes. Only then does its identity say what it is,
                and only then may its vectors come from a cache.

        Raises:
            OptionError: There is no such engine.
            MissingDependencyError: The engine's library is not installed.
        """
        how = chosen or EngineOptions()
        if how.engine not in ENGINES:
            raise OptionError(f"unknown engine {how.engine!r}; there are: {', '.join(ENGINES)}")
        importlib.import_module(f"smartrt.engines.{how.engine}")
        # Batches are made of windows within the budget, and rounding depends on what shares a batch.
        decides = {
            "bundle": bundle.identity, "engine": how.engine, "device": how.device, "options": dict(how.options),
            "token_budget": how.token_budget, "window": WINDOW,
        }  # fmt: skip
        return cls._of(bundle.manifest, decides | circumstances() if checked else None, lambda: _loaded(bundle, how))

    @classmethod
    def of_encoder(cls, encoder: Encoder) -> Contender:
        """An encoder that is open, and stays so. Nobody knows its engine's options: nothing of it is cached."""
        return cls._of(encoder.bundle.manifest, None, lambda: contextlib.nullcontext(_start(encoder)))

    @classmethod
    def _of(
        cls, manifest: Manifest, decides: dict[str, Any] | None, opens: Callable[[], AbstractContextManager[Start]]
    ) -> Contender:
        return cls(
            manifest.name, "bundle", manifest.identity(), manifest.precision.name, manifest.dims.token,
            weights_of(manifest), decides, opens,
        )  # fmt: skip


def weights_of(manifest: Manifest) -> Weights:
    """The weights of the hybrid that a bundle asks for."""
    return Weights(manifest.scoring.pooled_weight, manifest.scoring.late_weight)


def circumstances(libraries: Sequence[str] = _LIBRARIES) -> dict[str, Any]:
    """What decides the last bits of vectors whoever makes them: versions, and processors, whose kernels differ."""
    return {
        "smartrt": smartrt.__version__,
        "code": code_sha256(),
        "libraries": {name: version for name in libraries if (version := _version(name))},
        "cpu": describe()["cpu"],
        "gpus": sorted(path.read_text(encoding="utf-8") for path in _GPUS.glob("*/information")),
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@contextlib.contextmanager
def _loaded(bundle: Bundle, how: EngineOptions) -> Iterator[Start]:
    with Encoder.from_bundle(
        bundle, engine=how.engine, device=how.device, token_budget=how.token_budget, **how.options
    ) as encoder:
        yield _start(encoder)


def _start(encoder: Encoder) -> Start:
    return functools.partial(streamed, encoder)
