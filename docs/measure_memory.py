"""The memory figures of docs/performance.md: the peak after each step of a cold start, and what prepacking does.

    .venv/bin/python docs/measure_memory.py BUNDLE

Each line of the second part is a process of its own.
"""

import statistics
import subprocess
import sys
import time

QUERY = "how do I sort a list by a key?"


def steps(bundle: str) -> None:
    """Peak memory after importing, and after opening, and after one query."""
    import numpy as np  # noqa: F401
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401

    from smartrt.benchmarks.memory import peak_rss_mb

    _say("NumPy, tokenizers and ONNX Runtime imported", peak_rss_mb())
    import smartrt
    from smartrt.text import TextTokenizer

    opened = smartrt.Bundle.open(bundle)
    TextTokenizer.open(opened)
    _say("smartrt imported, hashes compared, tokenizer loaded", peak_rss_mb())
    encoder = smartrt.Encoder.from_bundle(opened)
    _say("graph loaded", peak_rss_mb())
    encoder.encode_query(QUERY)
    _say("one query encoded", peak_rss_mb())


def prepacking(bundle: str, prepack: str) -> None:
    """Peak memory after one query, and the median time of a query, with one thread."""
    import smartrt
    from smartrt.benchmarks.memory import peak_rss_mb

    encoder = smartrt.Encoder.open(bundle, prepack=prepack == "True", threads=1)
    encoder.encode_query(QUERY)
    peak, times = peak_rss_mb(), []
    for _ in range(100):
        started = time.thread_time()
        encoder.encode_query(QUERY)
        times.append((time.thread_time() - started) * 1000)
    _say(f"prepack={prepack}, a query in {statistics.median(times):.2f} ms of one thread", peak)


def _say(label: str, peak: float) -> None:
    print(f"{peak:4.0f} MiB  {label}")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) > 2:
        prepacking(*sys.argv[1:])
    else:
        steps(sys.argv[1])
        for choice in ("True", "False"):
            subprocess.run([sys.executable, __file__, sys.argv[1], choice], check=True)  # noqa: S603
