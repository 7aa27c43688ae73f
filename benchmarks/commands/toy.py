"""`smartrt bench toy`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from smartrt.bundle import Bundle
from smartrt.cli.options import encoder_options, json_switch, open_encoder, option, positive
from smartrt.cli.terminal import progress, say, say_json, table
from smartrt.errors import InputError, TruncationWarning
from smartrt.fusion import Weights

from ..machine import describe
from ..toy.bindings import Toy
from ..toy.content import Modality
from ..toy.measure import check, measure
from ..toy.scoring import CHANCE
from ..toy.written import write

if TYPE_CHECKING:
    import argparse

NAME, HELP = "toy", "pages that differ only in which code labels which marker: who reads them together?"

_ENOUGH = 10  # pairs


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle directories to measure")
    option(
        parser, "--modality", default="text", choices=get_args(Modality),
        help="pages as a line of text a panel, or drawn",
    )  # fmt: skip
    option(parser, "--seed", help="of the set", type=int, default=0)
    option(parser, "--pairs", help="of pages; 25 decisions each", type=positive, default=40)
    option(parser, "--output", "-o", metavar="DIR", help="write the set into this new directory")
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Write the set, let every bundle decide, print."""
    if not args.bundles and not args.output:
        raise InputError("give bundles to measure, or -o DIR to write the set, or both")
    machine, toy = describe(), Toy.make(args.seed, args.pairs)
    bundles = [Bundle.open(path, verify=args.check_hashes) for path in args.bundles]
    for bundle in bundles:  # all of them first: a refusal must not come after hours
        check(bundle, toy, args.modality)
    written = _write(args, toy) if args.output else None
    results = [_measure(args, bundle, toy) for bundle in bundles]
    if args.json:
        say_json({"machine": machine, "written": written, "results": results})
        return 0
    if written:
        say(f"{written['directory']}: {_what(written)}")
    for result in results:
        _print(result)
    return 0


def _write(args: argparse.Namespace, toy: Toy) -> dict[str, Any]:
    with progress("writing", len(toy.pairs)) as bar:
        return {"directory": args.output, **write(toy, args.modality, Path(args.output), bar.advance)}


def _measure(args: argparse.Namespace, bundle: Bundle, toy: Toy) -> dict[str, Any]:
    manifest = bundle.manifest
    weights = Weights(manifest.scoring.pooled_weight, manifest.scoring.late_weight)
    with (
        open_encoder(args, bundle) as encoder,
        warnings.catch_warnings(),
        progress(manifest.name, len(toy.pairs)) as bar,
    ):
        warnings.simplefilter("ignore", TruncationWarning)  # the result counts them
        result = measure(encoder, toy, args.modality, weights, bar.advance)
    return {"bundle": {"name": manifest.name, "identity": bundle.identity}, **result}


def _what(summary: dict[str, Any]) -> str:
    return (
        f"{summary['modality']} pages, seed {summary['seed']}, {summary['pairs']:,} pairs, "
        f"{summary['decisions']:,} decisions, sha256 {summary['sha256']['shown'][:12]}"
    )


def _print(result: dict[str, Any]) -> None:
    say(f"{result['bundle']['name']}: {_what(result)}")
    rows = [["", "accuracy", "95 % interval", "chance (0.5)", "ties"]]
    for name, values in result["systems"].items():
        low, high = values["interval"]
        side = "at" if values["at_chance"] else "above" if values["accuracy"] > CHANCE else "below"
        rows.append([name, f"{values['accuracy']:.3f}", f"[{low:.3f}, {high:.3f}]", side, f"{values['ties']:,}"])
    for line in table(rows, right=frozenset({1, 4})):
        say(f"  {line}")
    if result["pairs"] < _ENOUGH:
        say(f"  of {result['pairs']} pairs nothing can be concluded: resampling so few gives too narrow intervals")
    cut = [f"{result[f'truncated_{what}']:,} {what}" for what in ("pages", "queries") if result[f"truncated_{what}"]]
    if cut:
        say(f"  cut to the bundle's length, and not seen whole: {' and '.join(cut)}")
