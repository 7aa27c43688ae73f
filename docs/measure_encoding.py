"""The two measurements of docs/performance.md: token budget, and what spinning threads cost.

    .venv/bin/python docs/measure_encoding.py BUNDLE CORPUS.jsonl

Contenders take turns in random order inside each round; what is compared are medians of ratios within a
round. One thread is measured in CPU time, all cores in wall time.
"""

import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import smartrt
from smartrt.jsonl import read_records

BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
ROUNDS = 4


def budgets(bundle: str, texts: list[str], threads: int) -> None:
    """Time per budget as a ratio to the default's."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    encoders = {
        budget: smartrt.Encoder.open(bundle, threads=threads, token_budget=budget, verify=False) for budget in BUDGETS
    }
    times: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for _ in range(ROUNDS):
        for budget in random.sample(BUDGETS, len(BUDGETS)):
            started = clock()
            encoders[budget].encode_document(texts, allow_empty=True)
            times[budget].append(clock() - started)
    default = smartrt.encoder.TOKEN_BUDGET
    for budget in BUDGETS:
        ratio = statistics.median(a / b for a, b in zip(times[budget], times[default], strict=True))
        print(f"threads={threads or 'all'} token_budget={budget}: {ratio:.2f} of the time of {default}")  # noqa: T201


def spinning(bundle: str, texts: list[str]) -> None:
    """Milliseconds to encode one query and search, threads spinning or not."""
    encoders = {spin: smartrt.Encoder.open(bundle, spin=spin, verify=False) for spin in (False, True)}
    with tempfile.TemporaryDirectory() as directory:
        index = smartrt.Index.create(Path(directory) / "texts.index", encoders[False])
        documents = encoders[False].encode_document(texts, allow_empty=True)
        index.add([str(i) for i in range(len(texts))], documents)
        times: dict[bool, list[float]] = {False: [], True: []}
        for i in range(40):
            for spin in random.sample([False, True], 2):
                time.sleep(0.05)
                started = time.perf_counter()
                index.search(encoders[spin].encode_query(f"boundary layer at mach {i}"), k=10, candidates="all")
                times[spin].append((time.perf_counter() - started) * 1000)
    for spin, samples in times.items():
        print(f"spin={spin}: encode and search one query in {statistics.median(samples):.1f} ms")  # noqa: T201


if __name__ == "__main__":
    warnings.simplefilter("ignore", smartrt.TruncationWarning)
    corpus = [record.text for record in read_records(Path(sys.argv[2]))]
    budgets(sys.argv[1], corpus[:300], 1)
    budgets(sys.argv[1], corpus[:300], 0)
    spinning(sys.argv[1], corpus)
