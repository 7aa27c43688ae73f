"""What a device does with bundles, in one process without PyTorch: encode, score, index, search, the command line.

    python aarch64_session.py WORK ANSWERS

WORK holds bundles and `work.json`: the name of each bundle, with its queries and documents; an image is a file in
WORK. ANSWERS gets one NAME.npz a bundle and `report.json`. Nothing is judged here. Two machines are given the same
WORK, and `tests/test_aarch64.py` compares what they answer.
"""

from __future__ import annotations

import contextlib
import io
import json
import platform
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import smartrt
from smartrt.cli.main import main as command_line

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_FOR_A_DEVICE = ("torch", "transformers", "onnx")


def answer(bundle: Path, queries: Sequence[Any], documents: Sequence[Any], index: Path) -> dict[str, np.ndarray]:
    """Everything that can differ between two machines.

    Returns:
        Of queries and documents each ``pooled [n, H]``, ``values [total tokens, dim]`` and ``offsets [n + 1]``;
        how many tokens each item lost, ``truncated [n]``; ``scores [queries, documents]`` of `smartrt.score`; and
        what an index of the documents finds for each query, best first: ``hits`` (numbers of documents) and
        ``hit_scores``, both ``[queries, documents]``.
    """
    with smartrt.Encoder.open(bundle, threads=1) as encoder:
        sides = {"query": encoder.encode_query(queries), "document": encoder.encode_document(documents)}
        stored = smartrt.Index.create(index, encoder)
        stored.add([str(i) for i in range(len(documents))], sides["document"])
        found = smartrt.Index.open(index, encoder).search(sides["query"], k=len(documents))
    arrays = {"scores": smartrt.score(sides["query"], sides["document"])}
    for side, embeddings in sides.items():
        arrays[f"{side}_pooled"] = embeddings.pooled
        arrays[f"{side}_values"] = embeddings.tokens.values
        arrays[f"{side}_offsets"] = embeddings.tokens.offsets
        arrays[f"{side}_truncated"] = embeddings.truncated
    arrays["hits"] = np.array([[int(hit.id) for hit in hits] for hits in found])
    arrays["hit_scores"] = np.array([[hit.score for hit in hits] for hits in found])
    return arrays


def ask(*arguments: str) -> dict[str, Any]:
    """Run `smartrt` with these arguments: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def session(work: Path, answers: Path) -> dict[str, Any]:
    """Answer for every bundle of `work`; returns the report."""
    given = json.loads((work / "work.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {"bundles": {}, "doctor": ask("doctor", "--json")}
    for name, items in given.items():
        bundle, start = work / f"{name}.smartrt", time.perf_counter()
        sides = [[_with_image(item, work) for item in items[side]] for side in ("queries", "documents")]
        np.savez(answers / f"{name}.npz", **answer(bundle, *sides, answers / f"{name}.index"))
        report["bundles"][name] = {
            "seconds": round(time.perf_counter() - start, 2),
            "inspect": ask("inspect", str(bundle), "--json"),
            "verify": ask("verify", str(bundle)),
        }
    return report | {
        "machine": platform.machine(),
        "smartrt": smartrt.__file__,
        "libraries": {name: metadata.version(name) for name in ("smartrt", "numpy", "onnxruntime", "pillow")},
        "imported": [name for name in NOT_FOR_A_DEVICE if name in sys.modules],
    }


def _with_image(item: dict[str, str], work: Path) -> dict[str, str]:
    return item | {"image": str(work / item["image"])} if "image" in item else item


def _run(work: Path, answers: Path) -> None:
    answers.mkdir(parents=True)
    with warnings.catch_warnings():
        # Cut texts are compared. An x86 processor without VNNI adds 8-bit products inexactly; the comparison knows.
        for known in (smartrt.TruncationWarning, smartrt.SaturationWarning):
            warnings.simplefilter("ignore", known)
        report = session(work, answers)
    (answers / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]))
