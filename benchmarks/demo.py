"""`smartrt demo`: everything once, on real weights and a corpus that every machine has."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from smartrt import __version__
from smartrt.bundle import Bundle
from smartrt.cli.options import encoder_options, open_encoder, option, positive
from smartrt.cli.terminal import note, progress, say
from smartrt.errors import BundleError, IndexStoreError, MissingDependencyError, TruncationWarning
from smartrt.evaluation.stdlib_corpus import read_stdlib
from smartrt.index import Index
from smartrt.index.build import fill

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeVar

    from smartrt.encoder import Encoder

    T = TypeVar("T")

QUESTIONS = (
    "remove common leading whitespace from every line",
    "which files differ between two directories",
    "run a command and get what it printed",
    "keep the results of expensive calls in memory",
)

_SYSTEMS = {"pooled": (1.0, 0.0), "late": (0.0, 1.0), "hybrid": (1.0, 1.0)}
_COLUMN = 36


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    option(parser, "--cache", metavar="DIR", help="where bundle and index are kept", default=str(_default_cache()))
    option(parser, "-k", help="hits per column", type=positive, default=3)
    encoder_options(parser)


def run(args: argparse.Namespace) -> int:
    """Export, index, ask; then, on a terminal, let the person ask."""
    cache = Path(args.cache)
    bundle = _timed("bundle", lambda: _bundle(cache))
    with open_encoder(args, bundle) as encoder:
        index = _timed("index", lambda: _index(cache, encoder))
        say(f"{len(index):,} functions, classes and methods of Python {platform.python_version()}'s standard library,")
        say(f"{index.tokens:,} token vectors, {index.truncated:,} long docstrings cut, in {index.path}\n")
        for question in QUESTIONS:
            _ask(index, encoder, question, args.k)
        say(worth())
        if sys.stdin.isatty() and sys.stdout.isatty():
            _converse(index, encoder, args.k)
    return 0


def worth() -> str:
    """One line: what late interaction changes on three real sets, from the committed results."""
    text = resources.files("smartrt.benchmarks").joinpath("results/accuracy_minilm.json").read_text(encoding="utf-8")
    parts = []
    for result in json.loads(text)["results"]:
        first = result["systems"][0]["encoder"]
        rows = [row for row in result["systems"] if row["encoder"] in (first, None) and row["stored"] is None]
        systems = {row["system"]: row for row in rows}
        low, high = systems["hybrid"]["interval"]
        noise = " (hybrid - pooled is noise here)" if low <= 0 <= high else ""
        scores = " / ".join(f"{systems[name]['ndcg@10']:.3f}" for name in (*_SYSTEMS, "bm25"))
        parts.append(f"{result['set']} {scores}{noise}")
    return f"What it is worth, nDCG@10 of this model as pooled / late / hybrid / BM25: {', '.join(parts)}."


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smartrt"


def _timed(label: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = work()
    note(f"{label}: ready in {time.perf_counter() - started:.1f} s")
    return result


def _bundle(cache: Path) -> Bundle:
    path = cache / "minilm.smartrt"
    if path.exists():
        try:
            cached = Bundle.open(path)
            if cached.manifest.exporter.get("smartrt") == __version__:
                return cached
            note("the cached bundle is of another version of smartrt, exporting again")
        except BundleError as error:
            note(f"the cached bundle is not usable, exporting again: {error}")
        shutil.rmtree(path)
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("the demo exports a model: pip install 'smartrt[cpu,export,demo,bench]'")
    from smartrt.export.command import load_pipeline

    bundle: Bundle = load_pipeline().export("minilm", path, report=lambda step: note(f"  {step}"))
    return bundle


def _index(cache: Path, encoder: Encoder) -> Index:
    records = read_stdlib()
    digest = hashlib.sha256("\0".join(record.text for record in records).encode()).hexdigest()
    path = cache / f"stdlib-{platform.python_version()}-{digest[:8]}.index"
    try:
        index = Index.open(path, encoder) if path.exists() else Index.create(path, encoder)
    except IndexStoreError as error:
        note(f"the cached index is not usable, building again: {error}")
        shutil.rmtree(path)
        index = Index.create(path, encoder)
    with progress("indexing", len(records)) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one a window; `run` says how many in all
        fill(index, encoder, records, advance=bar.advance)
    return index


def _ask(index: Index, encoder: Encoder, question: str, k: int) -> None:
    started = time.perf_counter()
    query = encoder.encode_query(question)
    encoded = time.perf_counter()
    times, columns = [f"encode {(encoded - started) * 1000:.0f} ms"], []
    for name, (pooled, late) in _SYSTEMS.items():
        started = time.perf_counter()
        (hits,) = index.search(query, k=k, pooled=pooled, late=late, candidates="all")
        times.append(f"{name} {(time.perf_counter() - started) * 1000:.0f} ms")
        columns.append([f"{hit.score:.3f} {_fit(hit.id)}" for hit in hits])
    say(f"? {question}   ({', '.join(times)})")
    say("  " + "".join(name.ljust(_COLUMN) for name in _SYSTEMS).rstrip())
    for row in zip(*columns, strict=True):
        say("  " + "".join(cell.ljust(_COLUMN) for cell in row).rstrip())
    say()


def _fit(name: str) -> str:
    room = _COLUMN - len("0.000 ") - 2
    return name if len(name) <= room else "…" + name[-room + 1 :]


def _converse(index: Index, encoder: Encoder, k: int) -> None:
    say("\nAsk something (an empty line ends it).")
    while True:
        try:
            question = input("? ").strip()
        except EOFError:
            break
        if not question:
            break
        _ask(index, encoder, question, k)
