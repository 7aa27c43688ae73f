"""`smartrt bench maxsim`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import progress, say, say_json, table

from ..machine import describe
from ..scoring import measure as scoring
from ..scoring.cases import CASES

if TYPE_CHECKING:
    import argparse

NAME, HELP = "maxsim", "the scorer, against NumPy, PyTorch and maxsim-cpu"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    option(parser, "--cases", nargs="+", help="what is scored", choices=tuple(CASES), default=list(CASES))
    option(parser, "--threads", nargs="+", help="of every contender", type=positive, default=[1, os.cpu_count() or 1])
    option(parser, "--rounds", help="of all contenders, in random order", type=positive, default=9)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Score every case and print it."""
    machine, results = describe(), []
    for threads in dict.fromkeys(args.threads):
        for case in args.cases:
            with progress(f"{case}, {threads} threads", args.rounds + 1) as bar:
                results.append(scoring.measure(case, threads, args.rounds, bar.advance))
    if args.json:
        say_json({"machine": machine, "results": results})
        return 0
    for result in results:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    noisy = "; NOISY: a probe moved by more than 15 %" if result["noisy"] else ""
    say(f"{result['label']}: {result['gflop']:.1f} GFLOP, threads {result['threads']}{noisy}")
    rows = [["", "wall ms", "CPU ms", "of sgemm", "CPU ratio", "wall ratio", "max error", "top 10"]]
    for name, values in result["contenders"].items():
        error = "" if values["max_error"] is None else f"{values['max_error']:.0e}"
        times = [f"{values['wall_ms']:.1f}", f"{values['cpu_ms']:.1f}", f"{values['share_of_sgemm']:.0%}"]
        ratios = [f"{values[key]:.2f}x" for key in ("cpu_ratio", "wall_ratio")]
        rows.append([name, *times, *ratios, error, f"{values['top_10']:.2f}"])
    for line in table(rows, right=frozenset(range(1, 8))):
        say(f"  {line}")
    for what in ("crashed", "wrong"):
        for name in result[what]:
            say(f"  {name} {what}" if what == "crashed" else f"  {name} returns wrong scores")
