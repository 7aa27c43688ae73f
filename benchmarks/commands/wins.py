"""`smartrt bench wins`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.cli.options import json_switch, option, positive
from smartrt.cli.terminal import say, say_json, table
from smartrt.evaluation.metrics import CUT

from ..accuracy.per_query import read_per_query
from ..accuracy.wins import Duel, compare

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

NAME, HELP = "wins", "the queries that one system gains most on against another, and loses most"

_WIDTH = 100  # characters of a query


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, help="what `smartrt bench accuracy --per-query` wrote")
    option(parser, "--system", metavar="NAME", required=True, help="what may win, such as 'fp32 hybrid'")
    option(parser, "--against", metavar="NAME", required=True, help="what it is compared with, such as 'fp32 pooled'")
    option(parser, "--set", metavar="NAME", help="one set of the file (default: all)")
    option(parser, "-n", type=positive, default=10, help="wins and losses to show")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    found = compare(read_per_query(args.file), Duel(args.system, args.against, args.set, args.n))
    if args.json:
        say_json(found)
        return 0
    say(f"{found['system']} against {found['against']}, nDCG@{CUT}")
    _print_sets(found["sets"])
    for title, cases in (("wins", found["wins"]), ("losses", found["losses"])):
        if cases:
            say(f"\nthe largest {title} of {found['system']}")
        for case in cases:
            _print_case(case, found["system"], found["against"])
    return 0


def _print_sets(sets: Sequence[dict[str, Any]]) -> None:
    counts = ("won", "lost", "tied")
    rows = [["", *counts, "difference"]]
    rows += [[each["set"], *(f"{each[key]:,}" for key in counts), f"{each['difference']:+.4f}"] for each in sets]
    for line in table(rows, right=frozenset(range(1, 5))):
        say(f"  {line}")


def _print_case(case: dict[str, Any], system: str, against: str) -> None:
    ndcg, text = case["ndcg"], " ".join(case["text"].split())
    shown = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    change = f"{case['difference']:+.3f}  {ndcg[against]:.3f} -> {ndcg[system]:.3f}"
    say(f"  {change}  {case['set']} {case['query']}: {shown}")
    missed = 0
    for document in case["relevant"]:
        before, now = document["rank"][against], document["rank"][system]
        if before is None and now is None:
            missed += 1
        else:
            say(f"          {_place(before)} -> {_place(now)}  {document['id']} (gain {document['gain']:g})")
    if missed:
        say(f"          {missed} relevant not in {CUT} of either")


def _place(rank: int | None) -> str:
    return f"not in {CUT}" if rank is None else f"rank {rank}".ljust(len(f"not in {CUT}"))
