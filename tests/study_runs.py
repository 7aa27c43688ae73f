"""A set of six documents and studies of it on the fake engine, for the tests of `smartrt bench study`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latency_runs import TINY, Steps, small_probes
from smartrt.benchmarks.study.config import Config, Entry
from smartrt.benchmarks.study.run import Study

DOCUMENTS = ("sort a list by key", "open a file", "copy a list", "read a file", "join lines", "close a file")
QUERIES = ("how to sort a list", "read a file", "lines")


def write_set(directory: Path, documents: tuple[str, ...] = DOCUMENTS) -> Path:
    """A retrieval set on disk."""
    directory.mkdir()
    for name, texts in (("corpus", documents), ("queries", QUERIES)):
        lines = [json.dumps({"id": f"{name[0]}{i}", "text": text}) for i, text in enumerate(texts)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (directory / "qrels.tsv").write_text("query\tdocument\tgain\nq0\tc0\t2\nq1\tc3\t1\nq2\tc4\t1\n", encoding="utf-8")
    return directory


def entry(name: str, bundle: Path = TINY, **changes: Any) -> Entry:
    """The tiny bundle on the fake engine as a variant."""
    return Entry(**{"name": name, "bundle": str(bundle), "engine": "fake"} | changes)


def small_config(data: Path, *entries: Entry, **changes: Any) -> Config:
    """A study of one set that takes a second."""
    sizes = {"threads": (1,), "queries": ("1x8",), "documents": (), "corpus": 5}
    quick = {"starts": 1, "rounds": 1, "visit": 0.005}
    return Config(**{"variant": entries or (entry("full"),), "sets": (str(data),)} | sizes | quick | changes)


def study(config: Config, output: Path, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Prepare and run it."""
    with small_probes():
        return Study.prepare(config, output, Steps()).run(Steps(on_step))
