"""`smartrt bench gpu`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.cli.options import json_switch, option, switch
from smartrt.cli.terminal import note, say, say_json
from smartrt.errors import DeviceError
from smartrt.files import writing
from smartrt.machine.readiness import ways
from smartrt.machine.survey import survey

from ..gpu.parts import Workshop
from ..gpu.plan import QUICK, WHOLE
from ..gpu.report import lines
from ..gpu.requirements import evaluate, failed
from ..gpu.suite import Suite
from ..machine import code_sha256, describe
from ..sensors import machine_state

if TYPE_CHECKING:
    import argparse

    from smartrt.machine.survey import Machine

    from ..gpu.plan import Plan

NAME, HELP = "gpu", "everything that needs an NVIDIA GPU, in one run, into one JSON file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    option(parser, "--output", "-o", metavar="JSON", help="file to write, after every part anew", required=True)
    option(parser, "--work", metavar="DIR", help="where checkpoint, bundles and plans are kept (default: OUTPUT.work)")
    parts = ", ".join(part.name for part in Workshop(WHOLE, Path()).parts())
    option(parser, "--only", nargs="+", metavar="PART", help=f"these parts, added to the file: {parts}")
    switch(parser, "--quick", help="a first look: fp16 and its fastest ways alone")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Run the parts, print; 1 if one failed, or a requirement is not met or not known."""
    plan, only = QUICK if args.quick else WHOLE, tuple(args.only or ())
    machine = survey()
    if any(part.needs_gpu and (not only or part.name in only) for part in Workshop(plan, Path()).parts()):
        need_gpu(machine)
    result = measure(plan, Path(args.output), _work(args), only, _gpus(machine))
    if args.json:
        say_json(result)
    else:
        for line in lines(result):
            say(line)
    broken = any(part["status"] == "failed" for part in result["parts"].values())
    return int(broken or failed(result["requirements"], only))


def measure(
    plan: Plan, output: Path, work: Path, only: tuple[str, ...] = (), gpus: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Run a plan, whatever its device: a small one on the CPU is how the tests prove the order of things.

    Args:
        plan: What to do.
        output: The file.
        work: Where checkpoint and bundles are made, and found again.
        only: See `Suite.run`.
        gpus: What is known of the GPUs, each with its ``name``.
    """
    gpus = gpus or []
    identity = {"GPUs": [gpu["name"] for gpu in gpus], "plan": plan.to_json(), "code": code_sha256()}
    suite = Suite(
        Workshop(plan, work).parts(), output, {"machine": describe(), "gpus": gpus}, identity, machine_state,
        functools.partial(evaluate, plan=plan),
    )  # fmt: skip
    suite.check(only)
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    return suite.run(only, report=note)


def need_gpu(machine: Machine) -> None:
    """Refuse a machine on which smartrt runs on no GPU: PyTorch alone would be measured against nothing.

    Raises:
        DeviceError: Neither ONNX Runtime nor TensorRT is ready; the message has the reason of each.
    """
    on_gpu = [way for way in ways(machine) if way.device == "cuda"]
    if not any(way.ready for way in on_gpu):
        reasons = "; ".join(f"{way.engine}@{way.device}: {way.obstacles[0].text}" for way in on_gpu)
        raise DeviceError(
            f"nothing of smartrt runs on a GPU here ({reasons}): see smartrt doctor; --only checkpoint export runs "
            "without one, and smartrt bench latency measures a CPU"
        )


def _work(args: argparse.Namespace) -> Path:
    return Path(args.work) if args.work else Path(args.output).with_suffix(".work")


def _gpus(machine: Machine) -> list[dict[str, Any]]:
    """The GPUs of a machine, JSON-ready."""
    driver = {"driver": machine.driver.version, "cuda": machine.driver.cuda}
    return [driver | dataclasses.asdict(gpu) for gpu in machine.gpus]
