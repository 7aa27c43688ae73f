"""`smartrt bench sets`."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import progress, say, say_json, table
from smartrt.errors import OptionError

from ..sets import SETS, make_set, write_set

if TYPE_CHECKING:
    import argparse

    from smartrt.evaluation.dataset import RetrievalSet

NAME, HELP = "sets", "the retrieval sets that every machine can make, listed or written to disk"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("set", nargs="?", metavar="NAME", help=f"{', '.join(SETS)}; all of them if left out")
    option(parser, "--output", "-o", metavar="DIR", help="new directory for corpus.jsonl, queries.jsonl, qrels.tsv")
    option(parser, "--queries", metavar="N", help="at most (default: the set's own)", type=positive)
    option(parser, "--documents", metavar="N", help="at most, relevant ones included (default: same)", type=positive)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Make what was asked for; write it, or say how large it is."""
    if args.output and not args.set:
        raise OptionError(f"--output {args.output} takes one set, name it: {', '.join(SETS)}")
    names, found = [args.set] if args.set else list(SETS), []
    with progress("sets", len(names)) as bar:
        for name in names:
            data = make_set(name, args.queries, args.documents)
            if args.output:
                write_set(data, Path(args.output))
            found.append(_about(data))
            bar.advance(1)
    if args.json:
        say_json({"python": platform.python_version(), "output": args.output, "sets": found})
    elif args.output:
        say("{}: {queries:,} queries, {documents:,} documents".format(args.output, **found[0]))
    else:
        _list(found)
    return 0


def _about(data: RetrievalSet) -> dict[str, Any]:
    return {
        "set": data.name,
        "queries": len(data.queries),
        "documents": len(data.documents),
        "relevant_documents": len({position for gains in data.gains for position in gains}),
        "description": SETS[data.name].description,
    }


def _list(found: list[dict[str, Any]]) -> None:
    say(f"From the standard library of Python {platform.python_version()}:")
    rows = [["", "queries", "documents", ""]]
    rows += [[each["set"], f"{each['queries']:,}", f"{each['documents']:,}", each["description"]] for each in found]
    for line in table(rows, right=frozenset((1, 2))):
        say(f"  {line}")
