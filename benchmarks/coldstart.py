"""`smartrt bench coldstart`: from a new process to the first query's vectors, against PyTorch.

Each contender is a process of its own, started anew each time, in turns and in random order. The clock
covers the whole life of the process: interpreter, imports, opening, one query. Time is wall clock and CPU
time as the kernel counts them (wait4). Memory is the largest resident set, which the contender reads itself
at its end: what wait4 reports includes the parent's pages from before exec.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUERY = "how do I sort a list by a key?"

_SMARTRT = """
import sys, json, smartrt
encoder = smartrt.Encoder.open(sys.argv[1])
vector = encoder.encode_query(sys.argv[3]).pooled[0].tolist()
"""

_PYTORCH = """
import sys, json, logging, warnings
warnings.simplefilter("ignore")
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference
checkpoint = Checkpoint.resolve(sys.argv[2])
reference = Reference.load(checkpoint, Recipe.read(checkpoint.path))
vector = reference.encode([sys.argv[3]], "query").pooled[0].tolist()
"""

_REPORT = """
from smartrt.benchmarks.memory import peak_rss_mb
print(json.dumps({"vector": vector, "peak_rss_mb": peak_rss_mb()}))
"""

CONTENDERS = {"smartrt": _SMARTRT + _REPORT, "pytorch": _PYTORCH + _REPORT}
_AGREE = 1e-4


def measure(bundle: Path, source: str, rounds: int, advance: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Start each contender `rounds` times and compare.

    Args:
        bundle: The bundle that smartrt opens.
        source: The checkpoint that PyTorch loads, as `smartrt export` takes it.
        rounds: Starts per contender; one more start of each warms the disk cache and is not counted.
        advance: Called with 1 after each start.

    Returns:
        JSON-ready: medians and samples per contender, and the medians of the ratios within a round.

    Raises:
        EngineError: A contender fails, or the two vectors of the query differ: then nothing was compared.
    """
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    shuffle = random.Random(0).shuffle  # noqa: S311  (an order, not a secret)
    for number in range(rounds + 1):
        names = list(CONTENDERS)
        shuffle(names)
        vectors = {}
        for name in names:
            sample, vectors[name] = _start(name, str(bundle), source)
            if number:
                samples[name].append(sample)
            advance(1)
        _check(vectors)
    return {
        "query": QUERY,
        "rounds": rounds,
        "contenders": {name: _median(runs) | {"samples": runs} for name, runs in samples.items()},
        "pytorch_over_smartrt": {
            key: statistics.median(
                slow[key] / fast[key] for fast, slow in zip(samples["smartrt"], samples["pytorch"], strict=True)
            )
            for key in ("wall_s", "cpu_s", "peak_rss_mb")
        },
    }


def _start(name: str, bundle: str, source: str) -> tuple[dict[str, float], list[float]]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        command = [sys.executable, "-c", CONTENDERS[name], bundle, source, QUERY]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=complaint)  # noqa: S603  (our own interpreter)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        printed, complained = _last_line(output), _last_line(complaint)
    if process.returncode:
        raise EngineError(f"contender {name} failed: {complained or f'exit code {process.returncode}'}")
    try:
        report = json.loads(printed)
        sample = {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss_mb": float(report["peak_rss_mb"])}
        return sample, report["vector"]
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"contender {name} ended without its report; its last line is {printed[:80]!r}") from None


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _check(vectors: dict[str, list[float]]) -> None:
    ours, theirs = (np.array(vectors[name], np.float64) for name in CONTENDERS)
    worst = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else np.inf
    if not worst <= _AGREE:
        raise EngineError(
            f"the contenders' vectors ({len(ours)} and {len(theirs)} dims) differ by {worst:.1e}, limit {_AGREE:.0e}: "
            "the bundle and the checkpoint do not belong together"
        )


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}
