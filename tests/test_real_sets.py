"""MiniLM on real retrieval sets, against figures measured with other code.

The sets are not shipped: point SMARTRT_TEST_DATA at a directory that holds them.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

import smartrt
from smartrt.benchmarks.accuracy import measure
from smartrt.benchmarks.dataset import RetrievalSet
from smartrt.export.pipeline import export

DATA = Path(os.environ.get("SMARTRT_TEST_DATA", "/nonexistent"))
# nDCG@10 of pooled, late and hybrid: max length 256, [CLS], [SEP] and padding dropped, unit weights.
EXPECTED = {
    "xquad_en": (0.9433, 0.9828, 0.9748),
    "cranfield": (0.4996, 0.5346, 0.5326),
    "cosqa_2k": (0.7699, 0.7037, 0.7650),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> smartrt.Encoder:
    return smartrt.Encoder.open(export("minilm", tmp_path_factory.mktemp("minilm") / "minilm.smartrt").path)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_minilm_finds_what_it_was_measured_to_find(encoder: smartrt.Encoder, name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"SMARTRT_TEST_DATA has no {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smartrt.TruncationWarning)
        systems = measure(encoder, RetrievalSet.read(DATA / name))["systems"]
    measured = [systems[system]["ndcg@10"] for system in ("pooled", "late", "hybrid")]
    assert measured == pytest.approx(EXPECTED[name], abs=1e-3)
