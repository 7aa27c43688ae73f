"""`smartrt bench tables`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartrt.cli.options import json_switch, option, switch
from smartrt.cli.terminal import say, say_json

from ..tables.pages import outdated, update

if TYPE_CHECKING:
    import argparse

NAME, HELP = "tables", "write the tables of the documentation from benchmarks/results"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    option(parser, "--root", metavar="DIR", help="of the repository", default=".")
    switch(parser, "--check", help="write nothing; exit with 1 if a page is not as its results are")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Write or compare; say which pages."""
    root = Path(args.root)
    pages = [str(path) for path in (outdated(root) if args.check else update(root))]
    if args.json:
        say_json({"check": args.check, "pages": pages})
    elif pages:
        say(f"{'not up to date' if args.check else 'written'}: {', '.join(pages)}")
    else:
        say("every table is as its results are")
    return int(args.check and bool(pages))
