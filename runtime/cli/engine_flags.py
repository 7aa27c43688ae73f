"""Which flags concern which engine and device.

A flag that was typed and concerns another engine is an error that names it. An environment variable is set once for a
machine, so one that does not concern the engine at hand is left out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines import device_of
from ..errors import OptionError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Concerns = Callable[["Place"], bool]


class Place(NamedTuple):
    """Where a bundle is run: what decides which flags concern it."""

    engine: str
    on_gpu: bool
    recorded: bool


class _Flag(NamedTuple):
    option: str
    concerns: Concerns
    said: str


def _trt(place: Place) -> bool:
    return place.engine == "trt"


def _gpu(place: Place) -> bool:
    return place.engine == "trt" or place.on_gpu


FLAGS = {
    "threads": _Flag("threads", lambda place: not _trt(place), "--engine ort"),
    "gpu_max_length": _Flag(
        "max_length", lambda place: _trt(place) or place.recorded, "--engine trt, or for --device cuda --cuda-graphs"
    ),
    "workspace_mb": _Flag("workspace_mb", _trt, "--engine trt"),
    "optimization_level": _Flag("optimization_level", _trt, "--engine trt"),
    "plans": _Flag("plans", _trt, "--engine trt"),
    "compile": _Flag("compile", _trt, "--engine trt"),
    "tf32": _Flag("tf32", _gpu, "--engine trt or --device cuda"),
    "cuda_graphs": _Flag("cuda_graphs", _gpu, "--engine trt or --device cuda"),
    "mixed": _Flag("mixed", lambda place: place.on_gpu and not _trt(place), "--engine ort --device cuda"),
    "gpu_memory_mb": _Flag(
        "gpu_memory_mb", lambda place: place.on_gpu and not _trt(place), "--engine ort --device cuda"
    ),
}
"""By the name of the flag: the engine's option, whether it concerns a place, and which places it concerns in words."""


def given_options(args: argparse.Namespace, engine: str | None = None) -> dict[str, Any]:
    """The engine options that were given and concern the engine.

    Args:
        args: What was parsed; flags that a command does not have are left out.
        engine: Instead of ``args.engine``.

    Raises:
        OptionError: A flag was typed that concerns another engine or device.
    """
    chosen = engine or args.engine
    on_gpu = str(device_of(chosen, args.device)).startswith("cuda")
    place = Place(chosen, on_gpu, on_gpu and bool(getattr(args, "cuda_graphs", None)))
    found = {}
    for name, flag in FLAGS.items():
        value = getattr(args, name, None)
        if value is None:
            continue
        if flag.concerns(place):
            found[flag.option] = value
        elif f"SMARTRT_{name.upper()}" not in os.environ:
            dashed = ("no-" if value is False else "") + name.replace("_", "-")
            raise OptionError(f"--{dashed} is for {flag.said}; here is {_described(place)}")
    return found


def _described(place: Place) -> str:
    return f"--engine {place.engine}{' on a GPU' if place.on_gpu else ' on the CPU'}"
