"""What a measurement was made on: without it a number means nothing."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import smartrt
from smartrt.scoring.blas import find_blas

_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tokenizers", "torch", "transformers", "bm25s", "scipy")


def describe() -> dict[str, Any]:
    """The machine, its load, the versions, and the command line."""
    return {
        "command": shlex.join(["smartrt", *sys.argv[1:]]),
        "smartrt": smartrt.__version__,
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "blas_kernels": blas.kernels if (blas := find_blas()) else None,
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(load, 2) for load in os.getloadavg()],
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
