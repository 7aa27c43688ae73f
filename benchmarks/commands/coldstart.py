"""`smartrt bench coldstart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartrt.bundle import Bundle
from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import progress, say, say_json, table

from .. import coldstart
from ..machine import describe
from ..pytorch import need_pytorch

if TYPE_CHECKING:
    import argparse

NAME, HELP = "coldstart", "a new process to its first vectors, against PyTorch"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory")
    option(parser, "--source", help="the checkpoint the bundle came from, for PyTorch", required=True)
    option(parser, "--rounds", help="starts of each contender", type=positive, default=7)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Start both, compare, print."""
    need_pytorch()
    bundle = Bundle.open(args.bundle)
    machine = describe()
    with progress("cold start", (args.rounds + 1) * len(coldstart.CONTENDERS)) as bar:
        result = coldstart.measure(bundle.path, args.source, args.rounds, bar.advance)
    if args.json:
        say_json({"machine": machine, "bundle": args.bundle, "result": result})
        return 0
    rows = [["", "wall s", "CPU s", "peak MB"]]
    for name, values in result["contenders"].items():
        rows.append([name, f"{values['wall_s']:.2f}", f"{values['cpu_s']:.2f}", f"{values['peak_rss_mb']:.0f}"])
    ratio = result["pytorch_over_smartrt"]
    rows.append(["ratio", f"{ratio['wall_s']:.1f}x", f"{ratio['cpu_s']:.1f}x", f"{ratio['peak_rss_mb']:.1f}x"])
    for line in table(rows, right=frozenset({1, 2, 3})):
        say(line)
    return 0
