"""`smartrt bench checkpoint`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from smartrt.cli.options import json_switch, option
from smartrt.cli.terminal import progress, say, say_json

from ..checkpoint.sizes import SEED, SIZES
from ..pytorch import need_pytorch

if TYPE_CHECKING:
    import argparse

NAME, HELP = "checkpoint", "a random Qwen3-VL checkpoint, to measure time and memory where there is no network"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("size", choices=tuple(SIZES), help="how large")
    parser.add_argument("directory", help="where to write it; it must not exist")
    option(parser, "--seed", help="of the weights", type=int, default=SEED)
    option(parser, "--processor", metavar="DIR", help="a Qwen3-VL's tokenizer files, instead of ones made here")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Write it, and say how large it is."""
    need_pytorch()
    write = importlib.import_module("smartrt.benchmarks.checkpoint.write")
    processor = None if args.processor is None else Path(args.processor)
    with progress("weights", write.checkpoint_bytes(args.size)) as bar:
        count = write.write_checkpoint(
            args.size, Path(args.directory), seed=args.seed, processor=processor, advance=bar.advance
        )
    if args.json:
        say_json({"directory": args.directory, "size": args.size, "seed": args.seed, "bytes": count})
    else:
        say(f"{args.directory}: random {args.size}, {count / 1e9:.2f} GB of weights, seed {args.seed}")
    return 0
