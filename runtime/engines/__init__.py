"""Engines: each file beside this one runs a graph in its own way.

base.py   the protocol and the checks they share
ort.py    ONNX Runtime, on CPUs and NVIDIA GPUs
trt.py    TensorRT
fake.py   arithmetic on the ids, no model: for tests and examples
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .base import Engine, TensorSpec, run_checked

if TYPE_CHECKING:
    from ..bundle import Bundle

__all__ = ["ENGINES", "Engine", "TensorSpec", "device_of", "open_engine", "run_checked"]

ENGINES = ("ort", "trt", "fake")
"""Names that `open_engine` takes; each is a module here with an `open_graph` function."""

_DEVICES = {"trt": "cuda"}


def device_of(engine: str, device: str | None) -> str:
    """The device that was asked for, or the one an engine runs on unless told otherwise."""
    return _DEVICES.get(engine, "cpu") if device is None else device


def open_engine(
    bundle: Bundle, graph: str, *, engine: str = "ort", device: str | None = None, **options: Any
) -> Engine:
    """Load one graph of a bundle into an engine.

    Args:
        bundle: The opened bundle.
        graph: Its name in the manifest, such as ``encoder``.
        engine: One of `ENGINES`.
        device: ``cpu`` or ``cuda``, or ``cuda:1`` for the second GPU; None: the CPU, with TensorRT the first GPU.
        options: Fields of the engine's own options dataclass.

    Raises:
        OptionError: There is no such engine or option.
        MissingDependencyError: The engine's library is not installed.
        DeviceError: The device did not load.
    """
    if engine not in ENGINES:
        raise OptionError(f"unknown engine {engine!r}; there are: {', '.join(ENGINES)}")
    module = importlib.import_module(f".{engine}", __name__)
    opened: Engine = module.open_graph(bundle, graph, device_of(engine, device), options)
    return opened
