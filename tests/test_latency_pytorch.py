"""PyTorch as a contender of `smartrt bench latency`, and bundles that see: the real thing, once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny_checkpoints
from latency_runs import DOCUMENT, QUERY, TINY, cold_of, rows_of, run, small_grid, workers
from smartrt.benchmarks.latency.grid import Contender, Grid, parse_cells
from smartrt.benchmarks.latency.measure import check, problems
from smartrt.errors import OptionError
from smartrt.models.checkpoint import Checkpoint
from support import message_of

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that tiny.smartrt came from."""
    return tiny_checkpoints.build("bert", tmp_path_factory.mktemp("bert") / "checkpoint")


def against(source: Path, *kinds: str, **changes: Any) -> Grid:
    contenders = [Contender(f"PyTorch {kind}", TINY, kind=kind) for kind in kinds]
    return small_grid(*contenders, Contender("tiny", TINY), source=str(source), **changes)


@pytest.fixture(scope="module")
def compared(source: Path, library_read_once: None) -> dict[str, Any]:  # noqa: ARG001  (it reads the library)
    grid = against(source, "fp32")
    check(grid)
    return run(grid)


def test_the_bundle_gives_what_pytorch_gives(compared: dict[str, Any]) -> None:
    assert problems(compared) == []
    for label in (QUERY, DOCUMENT):
        found = rows_of(compared, label)["tiny"]["outputs"]
        assert found["pooled_cosine_min"] > 0.99999
        assert found["token_cosine_min"] > 0.99999
    assert rows_of(compared, QUERY)["tiny"]["outputs"]["score_error"] < 0.01
    assert rows_of(compared, QUERY)["tiny"]["outputs"]["same_best"] == 1


def test_both_have_the_same_stages_and_queries_are_scored(compared: dict[str, Any]) -> None:
    for name in ("PyTorch fp32", "tiny"):
        assert list(rows_of(compared, QUERY)[name]["stages"]) == ["preprocess", "encoder", "score"]
        assert list(rows_of(compared, DOCUMENT)[name]["stages"]) == ["preprocess", "encoder"]


def test_a_bundle_is_there_before_pytorch_is_and_takes_less_memory(compared: dict[str, Any]) -> None:
    cold = cold_of(compared)
    assert cold["tiny"]["ratio"] > 1
    assert cold["tiny"]["peak_rss_mb"] < cold["PyTorch fp32"]["peak_rss_mb"]


def test_a_checkpoint_that_the_bundle_did_not_come_from_is_refused_before_anything_starts(tmp_path: Path) -> None:
    other = tiny_checkpoints.build("mpnet", tmp_path / "other")
    with pytest.raises(OptionError) as caught:
        check(against(other, "fp32"))
    message_of(caught.value, str(other), "tiny")
    assert workers() == {}


def test_the_cold_start_of_pytorch_does_not_hash_its_weights(source: Path) -> None:
    from smartrt.benchmarks import pytorch
    from smartrt.benchmarks.clock import Clock
    from smartrt.benchmarks.latency.theirs import Theirs

    hashed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch, "check_source", lambda given, _: hashed.append(given) or Checkpoint.resolve(given))
        Theirs.open(Contender("PyTorch fp32", TINY, kind="fp32"), str(source), 1, Clock())
    assert hashed == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_every_way_to_run_pytorch_gives_the_same(source: Path) -> None:
    result = run(against(source, "fp32", "bf16", "compile", together=False))
    assert problems(result) == []


@pytest.fixture(scope="module")
def page_stages(page_path: Path, library_read_once: None) -> dict[str, Any]:  # noqa: ARG001
    """A bundle that takes images, asked in text and given pages and texts."""
    grid = small_grid(Contender("page", page_path), cells=parse_cells(["1x64"], ["1x64", "2x64x96"]))
    check(grid)
    return run(grid)


@pytest.mark.slow
def test_a_bundle_that_sees_has_a_stage_for_its_eyes_where_there_is_something_to_see(page_stages: Any) -> None:
    assert problems(page_stages) == []
    stages = {
        label: list(rows_of(page_stages, label)["page"]["stages"])
        for label in ("query 1x64", "document 1x64", "page 2x64x96")
    }
    assert stages == {
        "query 1x64": ["preprocess", "decoder", "score"],
        "document 1x64": ["preprocess", "decoder"],
        "page 2x64x96": ["preprocess", "vision", "decoder"],
    }


@pytest.mark.slow
def test_the_stages_of_a_page_are_within_its_time(page_stages: Any) -> None:
    row = rows_of(page_stages, "page 2x64x96")["page"]
    stages = sum(stage["p50_ms"] for stage in row["stages"].values())
    assert 0.3 * row["p50_ms"] < stages <= 1.1 * max(row["samples_ms"])


@pytest.mark.slow
def test_a_page_that_the_model_refuses_is_refused_before_anything_starts(page_path: Path) -> None:
    with pytest.raises(OptionError):
        check(small_grid(Contender("page", page_path), cells=parse_cells([], ["1x8000x8"])))
