"""`smartrt bench preprocess`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import progress, say, say_json, table

from .. import preprocess
from ..machine import describe
from ..pytorch import need_pytorch

if TYPE_CHECKING:
    import argparse

NAME, HELP = "preprocess", "a page's bytes to patches, against transformers' processors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", help="bundle directory that takes images")
    option(parser, "--rounds", help="processes of each contender", type=positive, default=7)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    need_pytorch()
    machine = describe()
    with progress("preprocessing", args.rounds * len(preprocess.contenders())) as bar:
        result = preprocess.measure(Path(args.bundle), args.rounds, bar.advance)
    if args.json:
        say_json({"machine": machine, "bundle": args.bundle, "result": result})
        return 0
    rows = [["", "one page ms", f"{preprocess.PAGES} pages ms", "their memory MB", "one page", "pages", "memory"]]
    for name, values in result["contenders"].items():
        ratio = result["over_smartrt"][name]
        measured = [f"{values['page_ms']:.1f}", f"{values['pages_ms']:.0f}", f"{values['pages_peak_mb']:.0f}"]
        rows.append([name, *measured, *(f"{ratio[key]:.2f}x" for key in ("page_ms", "pages_ms", "pages_peak_mb"))])
    for line in table(rows, right=frozenset(range(1, 7))):
        say(line)
    if "transformers-fast" not in result["contenders"]:
        say("transformers' fast processor needs torchvision, which is not installed")
    return 0
