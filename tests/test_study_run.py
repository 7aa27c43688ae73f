"""A whole study on the fake engine: measured, kept, found again, and never trusted blindly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency_runs import workers
from smartrt.benchmarks.accuracy import measure as accuracy
from smartrt.benchmarks.latency import measure as latency
from smartrt.benchmarks.study.config import Config
from smartrt.errors import EngineError
from study_runs import DOCUMENTS, entry, small_config, study, write_set
from support import message_of, set_key

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "made_up")


@pytest.fixture
def config(data: Path) -> Callable[..., Config]:
    return lambda *entries, **changes: small_config(data, *entries, **changes)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured and not found: ``block`` or ``accuracy``."""
    found: list[str] = []
    block_run, accuracy_measure = latency.Block.run, accuracy.measure

    def counted_run(self: Any, advance: Any) -> Any:
        found.append("block")
        return block_run(self, advance)

    def counted_measure(*given: Any, **options: Any) -> Any:
        found.append("accuracy")
        return accuracy_measure(*given, **options)

    monkeypatch.setattr(latency.Block, "run", counted_run)
    monkeypatch.setattr(accuracy, "measure", counted_measure)
    return found


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory, library_read_once: None) -> tuple[Any, Path, Config]:  # noqa: ARG001
    """The result of a study, its output, and what it was of."""
    output = tmp_path_factory.mktemp("study") / "out"
    config = small_config(
        data, entry("full"), entry("small", kept="int8"), entry("plain", system="pooled"),
        entry("shifted", options={"shift": 1}), entry("slow", options={"delay": 0.03}),
    )  # fmt: skip
    return study(config, output), output, config


def point(result: Any, name: str) -> Any:
    (found,) = [each for each in result["points"] if each["name"] == name]
    return found


def test_every_variant_is_a_point_with_time_quality_and_bytes(finished: tuple[Any, Path, Config]) -> None:
    result = finished[0]
    assert [each["name"] for each in result["points"]] == ["full", "small", "plain", "shifted", "slow"]
    for name in ("full", "small", "plain", "slow"):
        each = point(result, name)
        assert each["status"] == "ok"
        assert each["p50_ms"] > 0
        assert 0 < each["quality"] <= 1
    sizes = [point(result, name)["bytes_per_document"] for name in ("full", "small", "plain")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    json.dumps(result, allow_nan=False)


def test_a_slow_variant_is_slow_and_on_no_front_of_time(finished: tuple[Any, Path, Config]) -> None:
    slow, full = (point(finished[0], name) for name in ("slow", "full"))
    assert slow["p50_ms"] >= 30 > full["p50_ms"]
    assert slow["quality"] == full["quality"]
    assert "time" not in slow["fronts"]


def test_a_variant_whose_outputs_are_wrong_has_no_quality(finished: tuple[Any, Path, Config]) -> None:
    shifted = point(finished[0], "shifted")
    assert (shifted["status"], shifted["quality"], shifted["p50_ms"], shifted["fronts"]) == ("wrong", None, None, [])
    assert shifted["message"].startswith("wrong outputs")


def test_what_was_measured_is_not_measured_again(
    finished: tuple[Any, Path, Config], measured: list[str], data: Path
) -> None:
    result, output, config = finished
    again = study(config, output)
    assert measured == []
    assert again["points"] == result["points"]
    assert data.is_dir()


def test_a_study_that_was_killed_goes_on(config: Any, tmp_path: Path, measured: list[str]) -> None:
    def interrupt(done: int) -> None:
        if done == 3:  # of two steps for each of the starts
            raise KeyboardInterrupt

    asked = config(starts=2)
    with pytest.raises(KeyboardInterrupt):
        study(asked, tmp_path / "out", interrupt)
    assert workers() == {}
    assert measured == ["block", "block"]
    measured.clear()
    study(asked, tmp_path / "out")
    assert measured == ["block", "accuracy"]


def test_another_set_or_storage_is_ranked_anew_and_not_timed_anew_unless_it_has_to_be(
    config: Any, tmp_path: Path, measured: list[str]
) -> None:
    study(config(), tmp_path / "out")
    measured.clear()
    other = write_set(tmp_path / "other", DOCUMENTS[::-1])
    study(config(sets=(str(other),)), tmp_path / "out")
    assert measured == ["accuracy"]
    measured.clear()
    study(config(entry("full", kept="int8")), tmp_path / "out")
    assert measured == ["block", "accuracy"]


def test_a_bundle_with_other_weights_is_ranked_anew(
    config: Any, tiny_copy: Path, tmp_path: Path, measured: list[str]
) -> None:
    asked = config(entry("full", tiny_copy))
    study(asked, tmp_path / "out")
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)
    measured.clear()
    study(asked, tmp_path / "out")
    assert "accuracy" in measured


@pytest.mark.parametrize("content", ["", '{"results"', "{}"], ids=["empty", "truncated", "hollow"])
def test_damaged_accuracy_is_measured_again_and_that_is_said(
    finished: tuple[Any, Path, Config],
    tmp_path: Path,
    content: str,
    measured: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result, output, config = finished
    copied = Path(shutil.copytree(output, tmp_path / "out"))
    (path,) = copied.glob("parts/accuracy-*.json")
    path.write_text(content, encoding="utf-8")
    assert study(config, copied)["points"] == result["points"]
    assert measured == ["accuracy"]
    assert f"{path} is damaged, measuring it again" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["another", "gone"])
def test_queries_of_another_run_are_written_again(
    finished: tuple[Any, Path, Config], tmp_path: Path, measured: list[str], change: str
) -> None:
    _, output, config = finished
    copied = Path(shutil.copytree(output, tmp_path / "out"))
    own = (copied / "queries.jsonl").read_bytes()
    if change == "gone":
        (copied / "queries.jsonl").unlink()
    else:
        (copied / "queries.jsonl").write_text("{}", encoding="utf-8")
    study(config, copied)
    assert measured == ["accuracy"]
    assert (copied / "queries.jsonl").read_bytes() == own


def test_a_variant_that_fails_takes_no_other_along(config: Any, tmp_path: Path) -> None:
    failing = entry("failing", options={"runs": 4})
    points = {point["name"]: point for point in study(config(entry("full"), failing), tmp_path / "out")["points"]}
    assert points["failing"]["status"] == "failed"
    assert points["failing"]["quality"] is None
    assert points["full"]["quality"] > 0


def test_a_study_whose_reference_failed_says_so_in_one_line(config: Any, tmp_path: Path) -> None:
    failing = entry("failing", options={"runs": 4})
    with pytest.raises(EngineError) as caught:
        study(config(failing, entry("full")), tmp_path / "out")
    message_of(caught.value, "the reference failing failed", "after")
