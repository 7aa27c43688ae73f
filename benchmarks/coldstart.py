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
import time
from typing import TYPE_CHECKING, Any

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
from smartrt.benchmarks.machine import peak_rss_mb
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
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  (our own interpreter and code)
        [sys.executable, "-c", CONTENDERS[name], bundle, source, QUERY],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if process.stdout is None or process.stderr is None:
        raise EngineError(f"contender {name} has no pipes")
    output, complaint = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    process.stdout.close()
    process.stderr.close()
    if process.returncode:
        reason = complaint.strip().splitlines()[-1] if complaint.strip() else f"exit code {process.returncode}"
        raise EngineError(f"contender {name} failed: {reason}")
    report = json.loads(output)
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_rss_mb": report["peak_rss_mb"]}, report["vector"]


def _check(vectors: dict[str, list[float]]) -> None:
    worst = max(abs(left - right) for left, right in zip(vectors["smartrt"], vectors["pytorch"], strict=True))
    if worst > _AGREE:
        raise EngineError(
            f"the contenders' vectors differ by {worst:.1e} (limit {_AGREE:.0e}): "
            "the bundle and the checkpoint do not belong together"
        )


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}
