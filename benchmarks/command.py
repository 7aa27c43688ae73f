"""`smartrt bench`: the measurements, one sub-command each."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.bundle import Bundle
from smartrt.cli.options import Parser, encoder_options, json_switch, open_encoder, option, positive, switch
from smartrt.cli.terminal import progress, say, say_json, table
from smartrt.errors import MissingDependencyError, TruncationWarning
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.metrics import METRICS

from . import accuracy, coldstart, precision, preprocess
from .machine import describe
from .scoring import measure as scoring
from .scoring.cases import CASES
from .stored import REFERENCE

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    find = actions.add_parser("accuracy", help="what pooled, late, hybrid and BM25 find on a retrieval set")
    find.add_argument("bundle", help="bundle directory")
    option(
        find, "--data", nargs="+", required=True, metavar="DIR", help="each with corpus.jsonl, queries.jsonl, qrels.tsv"
    )
    switch(find, "--stored", help="measure storages, compression and two-stage search as well")
    encoder_options(find)
    json_switch(find)
    start = actions.add_parser("coldstart", help="a new process to its first vectors, against PyTorch")
    start.add_argument("bundle", help="bundle directory")
    option(start, "--source", help="the checkpoint the bundle came from, for PyTorch", required=True)
    option(start, "--rounds", help="starts of each contender", type=positive, default=7)
    json_switch(start)
    score = actions.add_parser("maxsim", help="the scorer, against NumPy, PyTorch and maxsim-cpu")
    option(score, "--cases", nargs="+", help="what is scored", choices=tuple(CASES), default=list(CASES))
    option(score, "--threads", nargs="+", help="of every contender", type=positive, default=[1, os.cpu_count() or 1])
    option(score, "--rounds", help="of all contenders, in random order", type=positive, default=9)
    json_switch(score)
    types = actions.add_parser("precision", help="size, speed and loss of bundles of one text encoder, against PyTorch")
    types.add_argument("bundles", nargs="+", help="bundle directories; losses are against the first")
    option(types, "--source", help="the checkpoint they came from, for PyTorch", required=True)
    option(types, "--data", nargs="+", metavar="DIR", type=Path, help="retrieval sets to measure losses on")
    option(types, "--shapes", nargs="+", help="batch and tokens of a forward pass", default=list(precision.SHAPES))
    option(types, "--rounds", help="of all contenders, in random order", type=positive, default=15)
    json_switch(types)
    pixels = actions.add_parser("preprocess", help="a page's bytes to patches, against transformers' processors")
    pixels.add_argument("bundle", help="bundle directory that takes images")
    option(pixels, "--rounds", help="processes of each contender", type=positive, default=7)
    json_switch(pixels)


def run(args: argparse.Namespace) -> int:
    """Dispatch to the measurement."""
    actions = {
        "accuracy": _accuracy, "coldstart": _coldstart, "maxsim": _maxsim, "precision": _precision,
        "preprocess": _preprocess,
    }  # fmt: skip
    return actions[args.action](args)


def _accuracy(args: argparse.Namespace) -> int:
    sets = [RetrievalSet.read(Path(directory)) for directory in args.data]
    machine = describe()
    results = []
    with open_encoder(args) as encoder, warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # the result counts them
        for data in sets:
            with progress(data.name, len(data.documents) + len(data.queries)) as bar:
                results.append(accuracy.measure(encoder, data, bar.advance, stored=args.stored))
        identity = {"name": encoder.bundle.manifest.name, "identity": encoder.bundle.identity}
    if args.json:
        say_json({"machine": machine, "bundle": identity, "results": results})
        return 0
    for result in results:
        _print_accuracy(result)
    return 0


def _print_accuracy(result: dict[str, Any]) -> None:
    say(f"{result['set']}: {result['documents']:,} documents, {result['queries']:,} queries")
    _print_systems(result["systems"], "ndcg - pooled")
    if "stored" in result:
        say(f"hybrid as an index keeps it, against {REFERENCE} and all documents:")
        _print_systems(result["stored"], f"ndcg - {REFERENCE}")


def _print_systems(systems: dict[str, Any], against: str) -> None:
    sized = any("bytes_per_document" in values for values in systems.values())
    rows = [["", *METRICS, against, "95 % interval", *(["bytes / document"] if sized else [])]]
    for name, values in systems.items():
        low, high = values["interval"]
        metrics = [f"{values[metric]:.4f}" for metric in METRICS]
        size = [f"{values['bytes_per_document']:,}"] if sized else []
        rows.append([name, *metrics, f"{values['difference']:+.4f}", f"[{low:+.4f}, {high:+.4f}]", *size])
    for line in table(rows, right=frozenset(range(1, len(rows[0])))):
        say(f"  {line}")


def _need_pytorch() -> None:
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(f"the PyTorch side needs {name}: pip install 'smartrt[export]'")


def _preprocess(args: argparse.Namespace) -> int:
    _need_pytorch()
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


def _precision(args: argparse.Namespace) -> int:
    _need_pytorch()
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


def _maxsim(args: argparse.Namespace) -> int:
    machine, results = describe(), []
    for threads in dict.fromkeys(args.threads):
        for case in args.cases:
            with progress(f"{case}, {threads} threads", args.rounds + 1) as bar:
                results.append(scoring.measure(case, threads, args.rounds, bar.advance))
    if args.json:
        say_json({"machine": machine, "results": results})
        return 0
    for result in results:
        _print_maxsim(result)
    return 0


def _print_maxsim(result: dict[str, Any]) -> None:
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


def _coldstart(args: argparse.Namespace) -> int:
    _need_pytorch()
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
