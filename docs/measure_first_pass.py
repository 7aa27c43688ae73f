"""What the 8-bit first pass saves on real vectors: `python docs/measure_first_pass.py BUNDLE SET [THREADS]`.

SET has corpus.jsonl and queries.jsonl. Prints milliseconds per query of an exact top 10 with and without the pass, CPU
time with one thread and wall time with several, and checks that the answers are the same.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path

import smartrt
from smartrt.documents import Documents
from smartrt.jsonl import read_records
from smartrt.scoring.storage import DTYPES, LARGEST
from smartrt.search import SearchOptions, search

QUERIES = 30


def main() -> None:
    """Encode, search, print."""
    warnings.simplefilter("ignore", smartrt.TruncationWarning)
    folder, threads = Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    clock = time.process_time if threads == 1 else time.perf_counter
    with smartrt.Encoder.open(sys.argv[1]) as encoder:
        texts = [[record.text for record in read_records(folder / f"{name}.jsonl")] for name in ("corpus", "queries")]
        documents = encoder.encode_document(texts[0], allow_empty=True)
        queries = encoder.encode_query(texts[1][:QUERIES])
    for storage in (name for name in DTYPES if name in LARGEST):
        stored, answers = [Documents.of(documents, storage)], []
        for rough in ("off", "on"):
            times, found = [], []
            for row in range(len(queries)):
                options, asked = SearchOptions("all", threads=threads, rough=rough), queries.take([row])
                started = clock()
                found.append(search(asked, stored, k=10, options=options))
                times.append(clock() - started)
            answers.append(found)
            sys.stdout.write(f"{storage}, 8 bits first {rough}: {statistics.median(times) * 1e3:.1f} ms\n")
        sys.stdout.write(f"{storage}: answers {'equal' if answers[0] == answers[1] else 'DIFFER'}\n")


if __name__ == "__main__":
    main()
