"""Which versions of ONNX Runtime take which bundles: the table of docs/engines.md.

    pip install --no-deps --target VERSIONS/1.23.2 onnxruntime==1.23.2      (and so on)
    python docs/measure_engines.py --versions VERSIONS --bundles portable.smartrt fused.smartrt

Each version encodes the same texts in a process of its own; what is printed is the largest difference from the version
that is installed, or why it could not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TEXTS = ["sort a list by a key", "x", "How do I open a file for reading and close it again when something goes wrong?"]

CHILD = """
import json, sys
import numpy as np
import smartrt
try:
    with smartrt.Encoder.open(sys.argv[1]) as encoder:
        found = encoder.encode_document(json.loads(sys.argv[3]))
    np.savez(sys.argv[2], pooled=found.pooled, tokens=found.tokens.values)
except Exception as error:
    sys.exit(" ".join(str(error).split())[:160])
"""


def encode(bundle: Path, output: Path, site: Path | None = None) -> str:
    """Encode in a process of its own, with the libraries in `site` first; why it failed, or nothing."""
    environment = os.environ | ({"PYTHONPATH": str(site)} if site else {})
    finished = subprocess.run(  # noqa: S603  (this interpreter)
        [sys.executable, "-c", CHILD, bundle, output, json.dumps(TEXTS)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return finished.stderr.strip().splitlines()[-1] if finished.returncode else ""


def difference(ours: Path, theirs: Path) -> float:
    """The largest difference of any number."""
    with np.load(ours) as first, np.load(theirs) as second:
        return max(float(np.abs(first[name] - second[name]).max()) for name in first.files)


def main() -> None:
    """Print a line per version and bundle."""
    parser = argparse.ArgumentParser(description="ONNX Runtime's versions against bundles")
    parser.add_argument("--versions", type=Path, required=True, help="folder of folders, one a version")
    parser.add_argument("--bundles", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for bundle in args.bundles:
            reference = Path(scratch) / f"{bundle.name}.npz"
            if problem := encode(bundle, reference):
                sys.exit(f"{bundle}: {problem}")
            for site in sorted(args.versions.iterdir()):
                found = Path(scratch) / f"{bundle.name}-{site.name}.npz"
                problem = encode(bundle, found, site)
                answer = problem or f"{difference(reference, found):.1e}"
                sys.stdout.write(f"{bundle.name}  {site.name}  {answer}\n")


if __name__ == "__main__":
    main()
