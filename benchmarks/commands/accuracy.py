"""`smartrt bench accuracy`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.bundle import Bundle
from smartrt.cli.engine_flags import given_options
from smartrt.cli.options import encoder_options, json_switch, option, switch
from smartrt.cli.terminal import note, progress, say, say_json, table
from smartrt.engines import device_of
from smartrt.errors import OptionError
from smartrt.evaluation.metrics import METRICS, RESAMPLES

from ..accuracy.contenders import Contender, EngineOptions
from ..accuracy.encoded import DEFAULT_LIMIT, EncodedCache, default_directory
from ..accuracy.measure import AccuracyOptions, measure
from ..accuracy.stored import ALL, VARIANTS
from ..pytorch import KINDS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

NAME, HELP = "accuracy", "what pooled, late, hybrid and BM25 find on retrieval sets"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundles", nargs="+", metavar="bundle", help="bundle directories")
    option(
        parser, "--data", nargs="+", required=True, metavar="SET",
        help="directories with corpus.jsonl, queries.jsonl and qrels.tsv, or names of `smartrt bench sets`",
    )  # fmt: skip
    option(
        parser, "--stored", nargs="*", metavar="NAME",
        help=f"rank the hybrid as an index keeps it as well: {ALL} (if no name is given), or some of "
        f"{', '.join(map(repr, VARIANTS))}",
    )  # fmt: skip
    option(
        parser, "--baseline", metavar="NAME", help="what all are compared with (default: pooled of the first bundle)"
    )
    option(parser, "--source", metavar="CHECKPOINT", help="measure it in PyTorch, by the recipe of the first bundle")
    option(parser, "--reference", nargs="+", choices=tuple(KINDS), help="how PyTorch runs --source (default: fp32)")
    option(
        parser, "--per-query", metavar="FILE", type=Path, help="write what each query found, for `smartrt bench wins`"
    )
    option(parser, "--cache", metavar="DIR", help="where encoded sets are kept", default=str(default_directory()))
    switch(parser, "--use-cache", default=True, help="take encoded sets from there, and keep them")
    option(parser, "--cache-gb", type=_gigabytes, default=DEFAULT_LIMIT / 1e9, help="what they may take together")
    encoder_options(parser)
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every set and print it."""
    from ..sets import open_set

    contenders = _contenders(args)
    stored = () if args.stored is None else tuple(args.stored) or (ALL,)
    sets = [open_set(name) for name in args.data]
    options = AccuracyOptions(args.baseline, stored, args.per_query)
    result = measure(contenders, sets, options, cache=_cache(args), bar=progress)
    if args.json:
        say_json(result)
        return 0
    for each in result["results"]:
        _print(each, result["baseline"])
    say(
        f"* differs from {result['baseline']}: p < {result['alpha']:g} by the paired bootstrap over queries "
        f"({RESAMPLES:,} resamples), after Holm's correction over {result['comparisons']} comparisons"
    )
    if result["comparisons"] > result["alpha"] * (RESAMPLES + 1):
        note("so many comparisons that none can be significant: measure fewer systems or sets at a time")
    if hits := result["cache"]["hits"]:
        note(f"{hits} of {hits + result['cache']['misses']} encoded sides came from {args.cache}")
    return 0


def _contenders(args: argparse.Namespace) -> list[Contender]:
    if args.reference and not args.source:
        raise OptionError("--reference says how PyTorch runs a checkpoint: name it with --source")
    bundles = [Bundle.open(path, verify=args.check_hashes) for path in args.bundles]
    device = device_of(args.engine, args.device)
    chosen = EngineOptions(args.engine, device, args.token_budget, given_options(args))
    contenders = [Contender.of_bundle(bundle, chosen, checked=args.check_hashes) for bundle in bundles]
    if args.source:
        from ..accuracy.pytorch_contender import pytorch_contenders

        kinds = args.reference or ("fp32",)
        contenders += pytorch_contenders(args.source, kinds, bundles[0].manifest, device)
    return contenders


def _cache(args: argparse.Namespace) -> EncodedCache | None:
    if not (args.use_cache and args.cache):
        return None
    if not args.check_hashes:
        note("bundles whose hashes are not checked are encoded again, and not cached")
    return EncodedCache.open(Path(args.cache), int(args.cache_gb * 1e9))


def _print(result: dict[str, Any], baseline: str) -> None:
    say(f"{result['set']}: {result['documents']:,} documents, {result['queries']:,} queries")
    for line in table(_rows(result["systems"], baseline), right=frozenset(range(1, 8))):
        say(f"  {line}")
    for label, names in result["left_out"].items():
        say(f"  {label} has too few or too short token vectors for: {', '.join(map(repr, names))}")
    say()


def _rows(systems: Sequence[dict[str, Any]], baseline: str) -> list[list[str]]:
    rows = [["", *METRICS, f"ndcg - {baseline}", "95 % interval", "p (Holm)", "bytes / document"]]
    for each in systems:
        low, high = each["interval"]
        size = each["bytes_per_document"]
        mark = "*" if each["significant"] else " "
        change = (
            [""] * 3
            if each["name"] == baseline
            else [f"{each['difference']:+.4f}{mark}", f"[{low:+.4f}, {high:+.4f}]", _p(each["p_holm"])]
        )
        figures = [f"{each[metric]:.4f}" for metric in METRICS]
        rows.append([each["name"], *figures, *change, "" if size is None else f"{size:,}"])
    return rows


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.0e}"


def _gigabytes(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


_gigabytes.__name__ = "number of gigabytes above 0"
