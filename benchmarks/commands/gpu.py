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
from smartrt.machine.survey import survey

from ..gpu.parts import Workshop
from ..gpu.plan import QUICK, WHOLE
from ..gpu.report import lines
from ..gpu.requirements import evaluate
from ..gpu.suite import Suite
from ..machine import describe
from ..sensors import machine_state

if TYPE_CHECKING:
    import argparse

    from ..gpu.plan import Plan

NAME, HELP = "gpu", "everything that needs an NVIDIA GPU, in minutes, into one JSON file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    option(parser, "--output", "-o", metavar="JSON", help="file to write, after every part anew", required=True)
    option(parser, "--work", metavar="DIR", help="where checkpoint, bundles and plans are kept (default: OUTPUT.work)")
    parts = ", ".join(part.name for part in Workshop(WHOLE, Path()).parts())
    option(parser, "--only", nargs="+", metavar="PART", help=f"these parts, added to the file: {parts}")
    switch(parser, "--quick", help="a first look: fp16 and its fastest ways alone")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Run the parts, print; 1 if one failed or a requirement is not met."""
    gpus = _gpus()
    result = measure(QUICK if args.quick else WHOLE, Path(args.output), _work(args), tuple(args.only or ()), gpus)
    if args.json:
        say_json(result)
    else:
        for line in lines(result):
            say(line)
    failed = any(part["status"] == "failed" for part in result["parts"].values())
    return int(failed or any(row["met"] is False for row in result["requirements"]))


def measure(plan: Plan, output: Path, work: Path, only: tuple[str, ...] = (), gpus: Any = None) -> dict[str, Any]:
    """Run a plan, whatever its device: a small one on the CPU is how the tests prove the order of things.

    Args:
        plan: What to do.
        output: The file.
        work: Where checkpoint and bundles are made, and found again.
        only: See `Suite.run`.
        gpus: What is known of the GPUs.
    """
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    about = {"machine": describe(), "gpus": gpus, "plan": plan.to_json()}
    half = tuple(each.name for each in plan.bundles if each.half)
    suite = Suite(Workshop(plan, work).parts(), output, about, machine_state, functools.partial(evaluate, half=half))
    return suite.run(only, report=note)


def _work(args: argparse.Namespace) -> Path:
    return Path(args.work) if args.work else Path(args.output).with_suffix(".work")


def _gpus() -> list[dict[str, Any]]:
    """The GPUs of this machine, JSON-ready.

    Raises:
        DeviceError: There is none.
    """
    machine = survey()
    if machine.gpu is None:
        raise DeviceError(
            f"there is no NVIDIA GPU here (CUDA: {machine.cuda}): run this on a machine that has one; smartrt bench "
            "latency measures a CPU"
        )
    return [
        {"driver": machine.driver.version, "cuda": machine.driver.cuda} | dataclasses.asdict(gpu)
        for gpu in machine.gpus
    ]
