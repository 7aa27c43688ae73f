"""`smartrt bench precision`: what it measures, and that it cannot hide a slow or wrong contender."""

from __future__ import annotations

import json

import pytest

import tiny_checkpoints
from commandline import call, one_line
from smartrt import Bundle
from smartrt.benchmarks import precision
from smartrt.errors import EngineError, OptionError
from smartrt.export.pipeline import export
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.export.wanted import Wanted

SPEEDS = {"1x32": {
    precision.PYTORCH: {"cpu_ms": 10.0, "ratio": 1.0}, "fp32": {"cpu_ms": 5.0, "ratio": 2.0},
    "w8": {"cpu_ms": 20.0, "ratio": 0.5}, "w8, unpacked": {"cpu_ms": 5.0, "ratio": 2.0},
}}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint and two bundles of it."""
    folder = tmp_path_factory.mktemp("precision")
    checkpoint = tiny_checkpoints.build("bert", folder / "bert")
    for name in ("fp32", "w8"):
        export(str(checkpoint), folder / f"{name}.smartrt", wanted=Wanted(name, rounding=None))
    return folder


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A retrieval set in which document i answers query i."""
    folder = tmp_path_factory.mktemp("answers")
    for name, texts in (("queries", QUERIES), ("corpus", DOCUMENTS)):
        lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = "".join(f"{i}\t{i}\t1\n" for i in range(len(QUERIES)))
    (folder / "qrels.tsv").write_text("query_id\tdoc_id\trelevance\n" + judged, encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", ["", "x", "32", "0x4", "4x0", "-1x4", "1x2x3", "1 x 2", "99999x1"])
def test_a_shape_that_is_none_is_refused(text):
    with pytest.raises(OptionError, match="BATCHxTOKENS"):
        precision.parse_shape(text)


def test_a_shape_is_batch_and_tokens():
    assert precision.parse_shape("32x128") == (32, 128)


@pytest.mark.slow
def test_size_speed_and_loss_of_every_bundle(capsys, made, answers):
    finished = call(
        capsys, "bench", "precision", made / "fp32.smartrt", made / "w8.smartrt", "--source", made / "bert",
        "--data", answers, "--shapes", "2x9", "--rounds", 2, "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    found = finished.json
    assert [bundle["name"] for bundle in found["bundles"]] == ["fp32", "w8"]
    assert found["bundles"][0]["bytes"] > found["bundles"][1]["bytes"]
    speeds = found["speeds"]["2x9"]
    assert set(speeds) == {precision.PYTORCH, "fp32", "w8", "w8, unpacked"}
    assert speeds[precision.PYTORCH]["ratio"] == 1
    assert all(values["cpu_ms"] > 0 for values in speeds.values())
    assert speeds["fp32"]["token_cosine"] == pytest.approx(1, abs=1e-5)
    (entry,) = found["losses"]["w8"]
    assert entry["queries"] == len(QUERIES)
    assert set(entry["losses"]) == {"pooled", "late", "hybrid"}


@pytest.mark.slow
def test_the_table_says_what_was_measured(made):
    described = [precision.describe_bundle(Bundle.open(made / f"{name}.smartrt")) for name in ("fp32", "w8")]
    header, *rows = precision.rows(described, {}, SPEEDS)
    assert header == ["", "MB", "1x32 ms", "1x32"]
    assert [row[0] for row in rows] == [precision.PYTORCH, "fp32", "w8", "w8, unpacked"]
    assert rows[2][2:] == ["20.0", "0.50x"]
    assert rows[3][1] == ""


@pytest.mark.slow
def test_a_measuring_process_that_dies_is_an_error(made):
    with pytest.raises(EngineError, match="measuring the speed failed"):
        precision.measure_speed(str(made / "nowhere"), [made / "fp32.smartrt"], [(1, 4)], 1)


def test_a_shape_that_is_none_is_one_line(capsys, made):
    finished = call(capsys, "bench", "precision", made / "fp32.smartrt", "--source", "x", "--shapes", "seven")
    assert (finished.code, "seven" in one_line(finished.err)) == (2, True)
