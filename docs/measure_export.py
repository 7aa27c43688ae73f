"""Time and memory of exporting a large checkpoint, and of loading the bundle and encoding with it.

Appends to a JSON file.

.venv/bin/python docs/measure_export.py RESULTS.json CHECKPOINT BUNDLE [flags of smartrt export …]
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from smartrt.benchmarks.machine import describe
from smartrt.bundle import Bundle

ENCODE = """
import json, sys, time
import numpy as np
from smartrt import Encoder
from smartrt.benchmarks.memory import peak_rss_mb
started = time.perf_counter()
encoder = Encoder.open(sys.argv[1], verify=False)
opened = time.perf_counter()
encoder.encode_query("which page has ramps?")
first = time.perf_counter()
query = encoder.encode_query("which invoice has no date?")
second = time.perf_counter()
page = encoder.encode_document({"image": np.indices((224, 224)).sum(axis=0).astype(np.uint8)})
done = time.perf_counter()
assert np.isfinite(page.tokens.values).all() and np.isfinite(query.tokens.values).all()
print(json.dumps({"open_s": opened - started, "first_query_s": first - opened, "query_s": second - first,
                  "first_picture_s": done - second, "picture_tokens": len(page.tokens.values),
                  "peak_rss_mb": peak_rss_mb()}))
"""


def main(results: Path, checkpoint: str, bundle: Path, flags: list[str]) -> None:
    """Export, encode, write."""
    machine = describe() | {"command": "docs/measure_export.py"}
    started = time.perf_counter()
    program = Path(sys.executable).with_name("smartrt")
    process = subprocess.Popen([program, "export", checkpoint, "-o", bundle, *flags])  # noqa: S603  (our own program)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the export failed with {os.waitstatus_to_exitcode(status)}")
    wall = time.perf_counter() - started
    command = [sys.executable, "-c", ENCODE, bundle]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  (our own interpreter)
    encoded = json.loads(done.stdout)
    manifest = Bundle.open(bundle, verify=False).manifest
    entry = {
        "checkpoint": Path(checkpoint).name,
        "precision": manifest.precision.name,
        "rounding": manifest.precision.rounding,
        "flags": flags,
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_kb": usage.ru_maxrss,
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "token_cosine_mean": manifest.verified.token.mean,
        "encode": {key: round(value, 3) for key, value in encoded.items()},
        "load": machine["load"],
    }
    before = (
        json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"machine": machine, "exports": []}
    )
    before["exports"].append(entry)
    results.write_text(json.dumps(before, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
