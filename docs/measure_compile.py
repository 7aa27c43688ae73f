"""What TensorRT's compiler makes of a bundle without a GPU: seconds, memory and plan of each graph.

    make test-tensorrt                                   (once: it prepares build/tensorrt)
    python docs/measure_compile.py page.smartrt

The profiles are those that `smartrt build` asks for by default; kernels are not timed where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from smartrt import Bundle
from smartrt.tensorrt.build import key_of
from smartrt.tensorrt.options import TrtOptions
from smartrt.tensorrt.plans import Machine
from smartrt.tensorrt.request import CompileRequest

PYTHON = Path(__file__).parent.parent / "build" / "tensorrt" / "python"
NO_GPU = Machine("11.4", "none", "0.0", "none")


def compile_graph(bundle: Bundle, graph: str, directory: Path) -> str:
    """One line about one graph."""
    key = key_of(bundle, graph, NO_GPU, TrtOptions())
    onnx = bundle.file(bundle.manifest.graphs[graph].path).resolve()
    request = directory / f"{graph}.json"
    CompileRequest(str(onnx), str(directory / f"{graph}.plan"), None, key.profiles).write(request)
    finished = subprocess.run(  # noqa: S603  (the gate's own interpreter)
        [PYTHON, "-m", "smartrt.tensorrt.compile", request], capture_output=True, text=True, check=False
    )
    last = json.loads(finished.stdout.splitlines()[-1])
    if last["event"] != "done":
        return f"{graph}: exit code {finished.returncode}, {last.get('message', 'no more was said')}"
    return (
        f"{graph}: {len(key.profiles)} profiles, {last['seconds']:.0f} s, {last['peak_rss'] / 1e9:.1f} GB of memory, "
        f"plan {last['plan_bytes'] / 1e6:,.0f} MB"
    )


def main() -> None:
    """Print a line per graph."""
    parser = argparse.ArgumentParser(description="a bundle through TensorRT's compiler, without a GPU")
    parser.add_argument("bundle", type=Path)
    bundle = Bundle.open(parser.parse_args().bundle)
    with tempfile.TemporaryDirectory() as scratch:
        for graph in bundle.manifest.graphs:
            sys.stdout.write(compile_graph(bundle, graph, Path(scratch)) + "\n")


if __name__ == "__main__":
    main()
