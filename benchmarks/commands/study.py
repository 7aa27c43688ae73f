"""`smartrt bench study`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.cli.options import json_switch, option, switch
from smartrt.cli.terminal import note, progress, say, say_json, table
from smartrt.files import replace_file, writing

from ..accuracy.encoded import EncodedCache, default_directory
from ..latency.measure import problems
from ..study.config import Config
from ..study.run import Study

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

NAME, HELP = "study", "latency and accuracy of many variants on one page"

_DEFAULT = "minilm"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("config", help=f"CONFIG.toml, or {_DEFAULT} for the default suite")
    option(parser, "--output", "-o", metavar="DIR", required=True, help="where results and bundles are kept")
    switch(parser, "--quick", help="a first look: queries on one thread count, fewer starts, a part of the first set")
    option(parser, "--cache", metavar="DIR", help="where encoded sets are kept", default=str(default_directory()))
    json_switch(parser)


def run(args: argparse.Namespace) -> int:
    """Measure what is not there yet, write study.json, pareto.png and index.html; 1 if a row cannot be used."""
    config = _config(args.config)
    output = Path(args.output)
    study = Study.prepare(config.quick() if args.quick else config, output, progress, note)
    result = study.run(progress, EncodedCache.open(Path(args.cache)))
    write(result, output)
    if args.json:
        say_json(result)
    else:
        for line in _lines(result):
            say(line)
        say(f"{output / 'index.html'}, {output / 'pareto.png'}, {output / 'study.json'}")
    if found := problems(result["latency"]):
        note(f"smartrt: {len(found)} of the rows cannot be used; first: {found[0]}")
    return int(bool(found))


def write(result: dict[str, Any], output: Path) -> None:
    """The page, the picture and what both were made of."""
    from ..study.figure import draw
    from ..study.page import render

    page = render(result).encode()
    with writing(output):  # what was measured first
        replace_file(output / "study.json", strict_json.dumps(result).encode())
        replace_file(output / "index.html", page)
        draw(result, output / "pareto.png")


def _config(name: str) -> Config:
    path = Path(name)
    if name == _DEFAULT and not path.exists():
        with resources.as_file(resources.files("smartrt.benchmarks.study").joinpath(f"{_DEFAULT}.toml")) as shipped:
            return Config.read(shipped)
    return Config.read(path)


def _lines(result: dict[str, Any]) -> Iterator[str]:
    at = result["at"]
    yield f"{result['quality']}; p50 of {at['cell']}, threads {at['threads']}; * on the front of time or bytes"
    rows = [["", "quality", "p50 ms", f"{result['reference']} /", "interval", "bytes/document", ""]]
    for point in result["points"]:
        if point["status"] != "ok":
            rows.append([point["name"], *[""] * 5, f"{point['status'].upper()}: {point['message']}"])
            continue
        limits = point["ratio_interval"]
        rows.append([
            point["name"], f"{point['quality']:.4f}", f"{point['p50_ms']:.2f}",
            "" if point["ratio"] is None else f"{point['ratio']:.2f}x",
            "" if limits is None else f"{limits[0]:.2f}-{limits[1]:.2f}", f"{point['bytes_per_document']:,}",
            " ".join([*("*" for front in point["fronts"] if front != "energy"), *["noisy"] * point["noisy"]]),
        ])  # fmt: skip
    yield from table(rows, right=frozenset(range(1, 6)))
