"""`smartrt export --precision …` and what `smartrt inspect` says of the result."""

from __future__ import annotations

import json

import pytest

from calibrating import loud_checkpoint, write_items
from commandline import call, one_line
from smartrt import Bundle
from smartrt.export import measure
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.price import Loss, SetLoss

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return loud_checkpoint("bert", tmp_path_factory.mktemp("bert") / "checkpoint")


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return write_items(tmp_path_factory.mktemp("items") / "items.jsonl")


@pytest.fixture(scope="module")
def retrieval_set(tmp_path_factory):
    """Queries and the document that answers each: the first of the parity check's."""
    directory = tmp_path_factory.mktemp("sets") / "answers"
    directory.mkdir()
    for name, side in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"id": f"{name}{i}", "text": text}) for i, text in enumerate(side)]
        (directory / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rows = ["query_id\tdoc_id\trelevance", *(f"queries{i}\tcorpus{i}\t1" for i in range(len(QUERIES)))]
    (directory / "qrels.tsv").write_text("".join(f"{row}\n" for row in rows))
    return directory


def losing(monkeypatch, *losses):
    """Let each bundle that is measured lose this much; the last value stays."""
    left = list(losses)

    def compare(*_):
        lost = left.pop(0) if len(left) > 1 else left[0]
        loss = Loss(0.5, 0.5 - lost, -lost, -lost - 0.01, -lost + 0.01)
        return SetLoss(
            "answers", "0" * 64, len(QUERIES), len(DOCUMENTS), dict.fromkeys(("pooled", "late", "hybrid"), loss)
        )

    monkeypatch.setattr(measure, "compare", compare)


def nothing_left(directory):
    assert list(directory.iterdir()) == []  # hidden files too


def test_int8_calibrated_on_given_items(capsys, checkpoint, items, tmp_path):
    output = tmp_path / "x.smartrt"
    finished = call(capsys, "export", checkpoint, "-o", output, "--precision", "int8", "--calibrate", items)
    assert finished.code == 0, finished.err
    assert f"{output}: int8, " in finished.out
    assert "token cosine mean 0.99" in finished.out
    about = Bundle.open(output).manifest.precision
    assert (about.name, about.calibration, about.rounding) == ("int8", "items.jsonl", "compensated")
    assert [path.name for path in tmp_path.iterdir()] == ["x.smartrt"]
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("precision", "says"), [
    ("fp16", ("fp16, products otherwise fp16", "100% fp16, multiplied as 100% fp16")),
    ("int8", ("int8, dynamic int8 activations, products otherwise fp32, rounding compensated",
              "100% int8, multiplied as 100% int8", "calibrated on docstrings of the Python standard library")),
    ("int4", ("int4, products otherwise fp32, rounding compensated", "% int4, ", "% int8, multiplied as 100% fp32")),
])  # fmt: skip
def test_inspect_prints_the_proof(capsys, checkpoint, tmp_path, precision, says):
    call(capsys, "export", checkpoint, "-o", tmp_path / "x.smartrt", "--precision", precision)
    finished = call(capsys, "inspect", tmp_path / "x.smartrt")
    assert finished.code == 0
    for line in says:
        assert line in finished.out
    data = call(capsys, "inspect", tmp_path / "x.smartrt", "--json").json
    assert data["manifest"]["precision"]["name"] == precision
    assert sum(data["manifest"]["precision"]["graphs"]["encoder"]["weights"].values()) == 16384


def test_a_retrieval_set_is_measured_and_printed(capsys, checkpoint, items, retrieval_set, tmp_path):
    finished = call(
        capsys, "export", checkpoint, "-o", tmp_path / "x.smartrt", "--precision", "w8", "--calibrate", items,
        "--data", retrieval_set, "--max-loss", 1,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    (entry,) = Bundle.open(tmp_path / "x.smartrt").manifest.verified.sets
    assert (entry.name, entry.queries, entry.documents) == ("answers", len(QUERIES), len(DOCUMENTS))
    assert set(entry.losses) == {"pooled", "late", "hybrid"}
    for system, loss in entry.losses.items():
        assert 0 < loss.reference <= 1
        assert loss.difference == pytest.approx(loss.found - loss.reference)
        assert f"answers {system} nDCG@10 {loss.found:.4f} against {loss.reference:.4f}" in finished.out
    inspected = call(capsys, "inspect", tmp_path / "x.smartrt").out
    assert "answers hybrid nDCG@10" in inspected


def test_more_loss_than_allowed_leaves_nothing(capsys, checkpoint, items, retrieval_set, tmp_path, monkeypatch):
    losing(monkeypatch, 0.02)
    finished = call(
        capsys, "export", checkpoint, "-o", tmp_path / "x.smartrt", "--precision", "int4", "--calibrate", items,
        "--data", retrieval_set, "--max-loss", 0.01,
    )  # fmt: skip
    assert (finished.code, finished.out) == (2, "")
    last = finished.err.splitlines()[-1]
    for mention in ("loses 0.0200 nDCG@10 on answers", "0.5000 to 0.4800", "more than 0.01", "nothing was written"):
        assert mention in last
    nothing_left(tmp_path)


def test_auto_takes_the_smallest_that_the_loss_allows(capsys, checkpoint, items, retrieval_set, tmp_path, monkeypatch):
    losing(monkeypatch, 0.3, 0.2, 0.004)  # int4, int4 with one product wide, with two
    finished = call(
        capsys, "export", checkpoint, "-o", tmp_path / "x.smartrt", "--precision", "auto", "--calibrate", items,
        "--data", retrieval_set, "--max-loss", 0.01,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    bundle = Bundle.open(tmp_path / "x.smartrt")
    assert bundle.manifest.precision.name == "int4"
    assert bundle.manifest.precision.graphs["encoder"].weights["fp16"] > 0
    for line in ("int4: ", "too much", "int4, 2 products wide: ", "loses +0.0040 of 0.01: taken"):
        assert line in finished.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.smartrt"]
    names = {path.name for path in (tmp_path / "x.smartrt").iterdir()}
    assert names == {"manifest.json", *bundle.manifest.files}


def test_auto_that_finds_nothing_leaves_nothing(capsys, checkpoint, items, retrieval_set, tmp_path, monkeypatch):
    losing(monkeypatch, 0.3)
    finished = call(
        capsys, "export", checkpoint, "-o", tmp_path / "x.smartrt", "--precision", "auto", "--goal", "time",
        "--calibrate", items, "--data", retrieval_set, "--max-loss", 0.01,
    )  # fmt: skip
    assert (finished.code, finished.out) == (2, "")
    assert "no precision loses at most 0.01: the least was 0.3000" in finished.err.splitlines()[-1]
    assert "int8: " in finished.err
    assert "int4" not in finished.err
    nothing_left(tmp_path)


@pytest.mark.parametrize(("given", "says"), [
    (("--precision", "int3"), "int3"),
    (("--precision", "auto"), "--precision auto needs --max-loss"),
    (("--precision", "fp16", "--keep", "a"), "fp16 rounds nothing to integers"),
    (("--precision", "int8", "--compute", "fp16"), "int8 computes in one way"),
    (("--precision", "int8", "--max-loss", "2"), "--max-loss 2 must be between 0 and 1"),
    (("--precision", "int8", "--calibrate", "nowhere.jsonl"), "nowhere.jsonl"),
    (("--precision", "int8", "--data", "nowhere"), "nowhere"),
])  # fmt: skip
def test_what_cannot_be_is_one_line_and_leaves_nothing(capsys, checkpoint, tmp_path, monkeypatch, given, says):
    (tmp_path / "work").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    finished = call(capsys, "export", checkpoint, "-o", tmp_path / "out" / "x.smartrt", *given)
    assert (finished.code, finished.out) == (2, "")
    one_line("".join(finished.err.splitlines(keepends=True)[-1:]), says)
    assert "Traceback" not in finished.err
    nothing_left(tmp_path / "out")
    nothing_left(tmp_path / "work")


def test_calibration_items_that_are_too_few_are_refused_and_nothing_is_left(capsys, checkpoint, tmp_path):
    few = write_items(tmp_path / "few.jsonl", count=3)
    (tmp_path / "out").mkdir()
    finished = call(
        capsys, "export", checkpoint, "-o", tmp_path / "out" / "x.smartrt", "--precision", "int8", "--calibrate", few
    )
    assert (finished.code, finished.out) == (2, "")
    assert "few.jsonl has 3 items with 900 characters" in finished.err
    nothing_left(tmp_path / "out")
