"""`smartrt bench precision`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartrt.bundle import Bundle
from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import progress, say, say_json, table
from smartrt.evaluation.dataset import RetrievalSet

from .. import precision
from ..machine import describe
from ..pytorch import need_pytorch

if TYPE_CHECKING:
    import argparse

NAME, HELP = "precision", "size, speed and loss of bundles of one text encoder, against PyTorch"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundles", nargs="+", help="bundle directories; losses are against the first")
    option(parser, "--source", help="the checkpoint they came from, for PyTorch", required=True)
    option(parser, "--data", nargs="+", metavar="DIR", type=Path, help="retrieval sets to measure losses on")
    option(parser, "--shapes", nargs="+", help="batch and tokens of a forward pass", default=list(precision.SHAPES))
    option(parser, "--rounds", help="of all contenders, in random order", type=positive, default=15)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Measure speed and loss, print both."""
    need_pytorch()
    sets = [RetrievalSet.read(directory) for directory in args.data or ()]
    machine, bundles = describe(), [Bundle.open(path) for path in args.bundles]
    shapes = [precision.parse_shape(shape) for shape in args.shapes]
    speeds = precision.measure_speed(args.source, [bundle.path for bundle in bundles], shapes, args.rounds)
    losses = precision.measure_losses(bundles, sets, progress) if sets else {}
    described = [precision.describe_bundle(bundle) for bundle in bundles]
    if args.json:
        say_json({"machine": machine, "bundles": described, "speeds": speeds, "losses": losses})
        return 0
    rows = precision.rows(described, losses, speeds)
    for line in table(rows, right=frozenset(range(1, len(rows[0])))):
        say(line)
    return 0
