"""Giving two machines the same work and comparing what they answer: `gates/aarch64_session.py` from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartrt.export.pictures import picture

Arrays = Mapping[str, np.ndarray]

SESSION = Path(__file__).parent / "gates" / "aarch64_session.py"
NATIVE = (sys.executable,)
"""The Python of this machine, with the source tree."""

QUERIES = ("sort a list by key", "open a file for reading", "copy a list")
GOLDEN = Path(__file__).parent / "data" / "tiny_golden.npz"
"""Committed vectors of the tiny bundle, and their texts: a question, letters without a token, a text that is cut."""


@dataclass(frozen=True)
class Answers:
    """What one machine answered: arrays by bundle, and the report."""

    arrays: dict[str, dict[str, np.ndarray]]
    report: dict[str, Any]


def write_work(work: Path, bundles: Mapping[str, Path]) -> Path:
    """Write what both machines are given; `page` gets pictures, every other bundle texts."""
    picture(96, 64, 1).save(work / "lossless.png")
    picture(300, 220, 2).save(work / "photograph.jpg", quality=85)
    with np.load(GOLDEN) as golden:
        documents = [{"text": text} for text in golden["texts"].tolist()]
    texts = {"queries": [{"text": text} for text in QUERIES], "documents": documents}
    pages = {
        "queries": [{"text": "which page has ramps?"}, {"image": "lossless.png", "text": "like this one"}],
        "documents": [
            {"image": "lossless.png"},
            {"image": "photograph.jpg", "text": "a page with ramps"},
            {"text": "no picture"},
        ],
    }
    for name, path in bundles.items():
        (work / f"{name}.smartrt").symlink_to(path.resolve())
    given = {name: pages if name == "page" else texts for name in bundles}
    (work / "work.json").write_text(json.dumps(given), encoding="utf-8")
    return work


def start(python: Sequence[str | Path], work: Path, answers: Path) -> subprocess.Popen[str]:
    """Start the session on the machine that `python` runs on."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMARTRT_")}
    return subprocess.Popen(
        [*map(str, python), "-W", "error", str(SESSION), str(work), str(answers)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_answers(process: subprocess.Popen[str], answers: Path) -> Answers:
    """Wait for a process of `start` and read what it wrote."""
    try:
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    report = json.loads((answers / "report.json").read_text(encoding="utf-8"))
    arrays = {}
    for name in report["bundles"]:
        with np.load(answers / f"{name}.npz") as stored:
            arrays[name] = dict(stored)
    return Answers(arrays, report)


def differences(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """The largest difference of each array of numbers, of hits by document."""
    assert set(ours) == set(theirs)
    values = {name: (ours[name], theirs[name]) for name in ours if ours[name].dtype.kind == "f"}
    values["hit_scores"] = (by_document(ours), by_document(theirs))
    return {name: float(np.abs(a - b).max()) for name, (a, b) in values.items()}


def by_document(answers: Arrays) -> np.ndarray:
    """``hit_scores`` in the order of the documents."""
    return np.take_along_axis(answers["hit_scores"], answers["hits"].argsort(axis=1), axis=1)


def check_same(ours: Arrays, theirs: Arrays, limit: float) -> None:
    """Check that lengths are equal, numbers differ by less than `limit`, and hits stand in the order of our scores.

    Two hits may change places where our scores of them are closer than what two errors of `limit` can turn round.
    """
    for name, array in ours.items():
        if array.dtype.kind == "i" and name != "hits":
            np.testing.assert_array_equal(theirs[name], array, err_msg=name)
    np.testing.assert_array_equal(np.sort(theirs["hits"]), np.sort(ours["hits"]), err_msg="hits")
    found = differences(ours, theirs)
    too_far = {name: difference for name, difference in found.items() if not difference < limit}
    assert not too_far, f"not within {limit:g}: {too_far}"
    rising = np.diff(np.take_along_axis(by_document(ours), theirs["hits"], axis=1), axis=1).max()
    assert rising <= 2 * limit, f"hits in another order: one scores {rising:g} more than the one before it"


def check_golden(answers: Arrays, limit: float) -> None:
    """Check the documents' vectors of the tiny bundle against the committed ones."""
    with np.load(GOLDEN) as stored:
        for name in ("pooled", "values", "offsets", "truncated"):
            np.testing.assert_allclose(answers[f"document_{name}"], stored[name], rtol=0, atol=limit, err_msg=name)
