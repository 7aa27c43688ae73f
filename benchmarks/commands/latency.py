"""`smartrt bench latency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.bundle import Bundle
from smartrt.cli.options import json_switch, option, positive, switch
from smartrt.cli.terminal import note, progress, say, say_json
from smartrt.engines import ENGINES
from smartrt.errors import InputError, OptionError
from smartrt.scoring.workers import check_threads

from ..accuracy.encoded import EncodedCache, default_directory
from ..kept import Kept
from ..latency import measure as latency
from ..latency.again import check_comparable, moved, reference_of
from ..latency.grid import Contender, Grid, parse_cells
from ..latency.report import lines
from ..latency.ways import Way
from ..machine import describe
from ..pytorch import KINDS
from ..roofline.gpus import Override

if TYPE_CHECKING:
    import argparse

NAME, HELP = "latency", "time, memory and energy of bundles, against PyTorch"

_QUICK = {"starts": 3, "rounds": 1, "corpus": 200}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("bundles", nargs="+", help="bundle directories of one checkpoint")
    option(parser, "--source", help="that checkpoint, for PyTorch; without it bundles are compared with the first")
    option(parser, "--pytorch", nargs="+", help="how PyTorch runs it: fp32 and bf16 unless said", choices=tuple(KINDS))
    option(parser, "--engine", help="what runs the graphs", default="ort", choices=ENGINES)
    option(parser, "--device", help="cpu, cuda or cuda:N, of every contender", default="cpu")
    option(
        parser, "--runs", nargs="+", metavar="ENGINE[@DEVICE][,OPTION=VALUE...]",
        help="run each bundle in each of these ways instead, such as ort@cuda,cuda_graphs=on or trt@cuda",
    )  # fmt: skip
    option(
        parser,
        "--threads",
        nargs="+",
        help="of every contender",
        type=positive,
        default=sorted({1, check_threads(None)}),
    )
    shapes = "batch and tokens of queries, encoded and ranked"
    option(parser, "--queries", nargs="+", metavar="BxT", help=shapes, default=["1x32"])
    shapes = "batch and tokens, or batch, width and height, of documents"
    option(parser, "--documents", nargs="+", metavar="BxT", help=shapes, default=["1x128", "32x128"])
    option(parser, "--corpus", help="documents that a query is ranked against", type=positive, default=Grid.corpus)
    option(parser, "--starts", help="fresh processes of each contender", type=positive, default=Grid.starts)
    option(parser, "--rounds", help="visits of each cell in each process", type=positive, default=Grid.rounds)
    option(parser, "--visit", help="seconds of a visit", type=float, default=Grid.visit)
    switch(
        parser, "--together", default=True, help="all processes at once; --no-together where memory does not hold them"
    )
    option(parser, "--bandwidth-gb", help="of the memory, in 10^9 bytes a second, for the floor", type=float)
    option(parser, "--peak-tflops", help="of the arithmetic, in 10^12 operations a second, for the floor", type=float)
    less = ", ".join(f"{name} {value}" for name, value in _QUICK.items())
    switch(parser, "--quick", help=f"a first look: one thread count, {less}")
    option(parser, "--keep", metavar="DIR", help="keep what is measured, and go on from there when asked again")
    option(parser, "--cache", metavar="DIR", help="where encoded texts are kept", default=str(default_directory()))
    option(parser, "--against", metavar="JSON", help="an earlier result: exit with 1 if intervals do not overlap")
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything, measure, print; 1 if a contender failed, a row is wrong, or a ratio moved."""
    before, override = _earlier(args.against), Override(args.bandwidth_gb, args.peak_tflops)
    grid = grid_of(args)
    if before and grid.starts < 2:
        raise OptionError(f"--against needs intervals, which {grid.starts} start does not give: --starts 3 or more")
    if before:
        check_comparable(before, grid.reference, describe())
    latency.check(grid)
    keep = None if args.keep is None else Kept.open(Path(args.keep))
    result = latency.measure(grid, progress, keep=keep, cache=EncodedCache.open(Path(args.cache)), override=override)
    if args.json:
        say_json(result)
    else:
        for line in lines(result):
            say(line)
    if found := latency.problems(result):
        note(f"smartrt: {len(found)} of the rows cannot be used; first: {found[0]}")
        return 1
    return 0 if before is None else _compare(before, result, quiet=args.json)


def grid_of(args: argparse.Namespace) -> Grid:
    """The grid that the arguments ask for."""
    paths = [Path(bundle) for bundle in args.bundles]
    names = [Bundle.open(path, verify=False).manifest.name for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two bundles are called {name}: rename one's directory and export it there")
    ours = [each for name, path in zip(names, paths, strict=True) for each in _runs_of(args, name, path)]
    if args.pytorch and not args.source:
        raise OptionError("--pytorch says how PyTorch runs a checkpoint: name it with --source")
    kinds = dict.fromkeys(args.pytorch or ("fp32", "bf16")) if args.source else ()
    theirs = [Contender(f"PyTorch {kind}", paths[0], kind=kind, device=args.device) for kind in kinds]
    counts = {name: getattr(args, name) for name in _QUICK}
    if args.quick:
        counts = {name: min(count, _QUICK[name]) for name, count in counts.items()}
    threads = tuple(dict.fromkeys(args.threads))
    return Grid(
        (*theirs, *ours), parse_cells(args.queries, args.documents), threads[:1] if args.quick else threads,
        (theirs or ours)[0].name, args.source, visit=args.visit, together=args.together, **counts,
    )  # fmt: skip


def _runs_of(args: argparse.Namespace, name: str, path: Path) -> list[Contender]:
    """A contender for each way that a bundle runs."""
    if not args.runs:
        return [Contender(name, path, engine=args.engine, device=args.device)]
    ways = [Way.parse(text, args.device) for text in args.runs]
    return [Contender(f"{name}, {way.text}", path, None, way.engine, way.device, way.options) for way in ways]


def _earlier(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        data: dict[str, Any] = strict_json.load(Path(path))
        reference_of(data)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (strict_json.StrictJsonError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
    return data


def _compare(before: dict[str, Any], result: dict[str, Any], *, quiet: bool) -> int:
    compared, found = moved(before, result)
    if not quiet:
        say(f"{compared - len(found)} of {compared} ratios agree with the earlier result")
        for each in found:
            say(f"  {each.where}: {each.before:.2f}x was, {each.after:.2f}x is")
    return int(bool(found))
