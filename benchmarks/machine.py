"""What a measurement was made on: without it a number means nothing."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import smartrt
from smartrt.scoring.blas import find_blas

_LIBRARIES = (
    "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tokenizers", "pillow", "torch", "transformers",
    "bm25s", "scipy",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """The machine, its load, the versions, and the command line."""
    return {
        "command": shlex.join(["smartrt", *sys.argv[1:]]),
        "smartrt": smartrt.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": cores(),
        "blas_kernels": blas.kernels if (blas := find_blas()) else None,
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(load, 2) for load in os.getloadavg()],
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def cores() -> int:
    """Processors that this process may run on: fewer than the machine's under taskset or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def code_sha256() -> str:
    """Of every Python file of smartrt that is installed: whether two measurements ran the same program."""
    root = Path(smartrt.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _commit() -> str | None:
    """Of the checkout that runs, ``-dirty`` behind it if files were changed; None for a smartrt from a wheel."""
    here = Path(smartrt.__file__).parent
    root = _git("rev-parse", "--show-toplevel", at=here)
    # Any repository may have a virtual environment in it: it is ours if it says so.
    if root is None or 'name = "smartrt"' not in _text(Path(root, "pyproject.toml")):
        return None
    return _git("describe", "--always", "--abbrev=12", "--dirty", "--exclude=*", at=here)


def _git(*arguments: str, at: Path) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  (our own arguments)
            ["git", "--no-optional-locks", "-C", str(at), *arguments],  # noqa: S607  (whichever git there is)
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


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
