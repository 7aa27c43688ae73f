"""A grid is refused before anything starts, and what was measured is kept, found again, and never trusted blindly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latency_runs import (
    DOCUMENT,
    QUERY,
    TINY,
    WHILE_STARTING,
    Steps,
    fake,
    rows_of,
    run,
    small_grid,
    small_probes,
    workers,
)
from smartrt.benchmarks.kept import Kept
from smartrt.benchmarks.latency import measure as module
from smartrt.benchmarks.latency.blocks import Block
from smartrt.benchmarks.latency.grid import Contender, parse_cells
from smartrt.benchmarks.latency.measure import check, measure
from smartrt.benchmarks.scoring import probes
from smartrt.errors import (
    BundleError,
    CorruptBundleError,
    EngineError,
    MissingDependencyError,
    OptionError,
    SmartrtError,
)  # fmt: skip
from support import flip_bit, message_of, set_key

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that starts fails the test, but for git, which says what is measured."""
    popen = subprocess.Popen

    def refuse(command: Any, *given: Any, **options: Any) -> Any:
        if command[0] != "git":
            pytest.fail(f"{command} was started")
        return popen(command, *given, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    yield
    assert workers() == {}


def refused(error: type[SmartrtError], *contenders: Contender, mentions: tuple[str, ...], **changes: Any) -> None:
    with pytest.raises(error) as caught:
        check(small_grid(*contenders, **changes))
    message_of(caught.value, *mentions)


def test_a_grid_that_can_be_measured_passes() -> None:
    check(small_grid(fake("a"), Contender("b", TINY)))


@pytest.mark.parametrize(
    ("contender", "error", "mentions"),
    [
        (Contender("b", Path("/nowhere/none.smartrt")), BundleError, ("none.smartrt",)),
        (Contender("b", TINY, engine="warp"), OptionError, ("'warp'", "ort", "fake")),
        (Contender("b", TINY, engine="fake", device="cuda"), OptionError, ("cpu only", "cuda")),
        (fake("b", dleay=1), OptionError, ("'dleay'", "delay")),
        (Contender("b", TINY, options={"treads": 1}), OptionError, ("'treads'", "threads")),
    ],
    ids=["no bundle", "engine", "device", "option of fake", "option of ort"],
)
@pytest.mark.usefixtures("nothing_starts")
def test_a_contender_that_cannot_be_is_refused(
    contender: Contender, error: type[SmartrtError], mentions: tuple[str, ...]
) -> None:
    refused(error, fake("a"), contender, mentions=mentions)


@pytest.mark.parametrize("shape", ["1x2", "1x49"], ids=["too short", "too long"])
@pytest.mark.usefixtures("nothing_starts")
def test_a_length_that_the_bundle_does_not_take_is_refused(shape: str) -> None:
    refused(OptionError, fake("a"), cells=parse_cells([shape], []), mentions=(shape, "3 tokens", "48 at most"))


@pytest.mark.usefixtures("nothing_starts")
def test_images_for_a_bundle_of_texts_are_refused() -> None:
    cells = parse_cells(["1x8"], ["1x64x64"])
    refused(OptionError, fake("a"), cells=cells, mentions=("takes no images", "1x64x64"))


@pytest.mark.usefixtures("nothing_starts")
def test_a_damaged_bundle_is_refused(tiny_copy: Path) -> None:
    flip_bit(tiny_copy / "encoder.onnx.data")
    refused(CorruptBundleError, fake("a"), fake("b", bundle=tiny_copy), mentions=("encoder.onnx.data",))


@pytest.mark.usefixtures("nothing_starts")
def test_bundles_of_different_checkpoints_are_refused(tiny_copy: Path) -> None:
    set_key(tiny_copy / "manifest.json", "source/weights_sha256", "0" * 64)
    refused(OptionError, fake("a"), fake("b", bundle=tiny_copy), mentions=("a and b", "different checkpoints"))


@pytest.mark.usefixtures("nothing_starts")
def test_a_missing_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "smartrt.engines.ort", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    check(small_grid(fake("a")))
    refused(MissingDependencyError, fake("a"), Contender("b", TINY), mentions=("onnxruntime", "pip install"))


def test_a_numpy_without_openblas_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "find_blas", lambda: None)
    with pytest.raises(EngineError) as caught:
        measure(small_grid(fake("a")), Steps())
    message_of(caught.value, "OpenBLAS")
    assert workers() == {}


def test_a_numpy_without_openblas_is_refused_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "find_blas", lambda: None)
    with pytest.raises(EngineError):
        check(small_grid(fake("a")))


@pytest.fixture
def measured_blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Threads and start of each block that was measured and not found."""
    found: list[tuple[int, int]] = []

    class Counted(Block):
        def run(self, advance: Callable[[int], None]) -> dict[str, Any]:
            found.append((self._threads, self._start))
            return super().run(advance)

    monkeypatch.setattr(module, "Block", Counted)
    return found


def interrupt_at(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return on_step


def test_a_run_that_was_killed_goes_on_after_the_blocks_that_were_done(
    tmp_path: Path, measured_blocks: list[tuple[int, int]]
) -> None:
    grid = small_grid(fake("a"), starts=3)
    with small_probes(), pytest.raises(KeyboardInterrupt):
        measure(grid, Steps(interrupt_at(grid.visits // 3 + 2)), keep=Kept.open(tmp_path))
    assert measured_blocks == [(1, 0), (1, 1)]
    (kept,) = tmp_path.iterdir()
    before = kept.read_bytes()
    measured_blocks.clear()
    result = run(grid, tmp_path)
    assert measured_blocks == [(1, 1), (1, 2)]
    assert kept.read_bytes() == before
    assert result["groups"][0]["starts"] == 3
    measured_blocks.clear()
    again = run(grid, tmp_path)
    assert measured_blocks == []
    assert again["groups"][0].pop("kept") == 3
    assert result["groups"][0].pop("kept") == 1
    assert again["groups"] == result["groups"]


@pytest.fixture(scope="module")
def one_block(library_read_once: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A folder in which the one block of `small_grid(fake("a"))` is kept."""
    folder = tmp_path_factory.mktemp("one_block")
    run(small_grid(fake("a")), folder)
    return folder


@pytest.fixture
def kept(one_block: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(one_block, tmp_path / "kept"))


def test_more_starts_measure_those_that_are_missing(kept: Path, measured_blocks: list[tuple[int, int]]) -> None:
    run(small_grid(fake("a"), starts=2), kept)
    assert measured_blocks == [(1, 1)]


def about(threads: int = 1, start: int = 0, **changes: Any) -> dict[str, Any]:
    """What a block is found again by."""
    return module._about(small_grid(*changes.pop("contenders", (fake("a"),)), **changes), threads, start)


@pytest.mark.parametrize(
    "changes",
    [{"corpus": 6}, {"rounds": 2}, {"visit": 0.004}, {"together": False}, {"cells": parse_cells(["1x9"], [])},
     {"contenders": (fake("a", delay=0.001),)}, {"contenders": (fake("a"), fake("b"))},
     {"contenders": (Contender("a", TINY),)}, {"threads": 2}, {"start": 1}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_a_changed_grid_is_measured_anew(changes: dict[str, Any]) -> None:
    assert about(**changes) != about()


def test_more_starts_are_no_other_grid(one_block: Path) -> None:
    assert Kept.open(one_block).get("latency-1-0", about(starts=7)) is not None


def test_a_changed_bundle_is_measured_anew_and_a_moved_one_is_not(tiny_copy: Path) -> None:
    contenders = (fake("a", bundle=tiny_copy),)
    assert about(contenders=contenders) == about()
    set_key(tiny_copy / "manifest.json", "late_mask/query", [0, 2])
    assert about(contenders=contenders) != about()


@pytest.mark.parametrize("key", ["cpu", "cores", "python", "smartrt", "libraries"])
def test_another_machine_or_version_is_measured_anew(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, machine = about(), module.describe()
    monkeypatch.setattr(module, "describe", lambda: machine | {key: "another"})
    assert about() != before


def test_a_block_in_which_a_contender_failed_is_kept_as_well(tmp_path: Path) -> None:
    grid = small_grid(fake("a"), fake("b", runs=WHILE_STARTING))
    one, other = run(grid, tmp_path), run(grid, tmp_path)
    assert rows_of(one, QUERY) == rows_of(other, QUERY)
    assert rows_of(other, QUERY)["b"]["status"] == "failed"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="truncated"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "{}", id="another object"),
        pytest.param(lambda _: "[1]", id="a list"),
        pytest.param(lambda text: text.replace('"failed": null', '"failed": "x"'), id="changed"),
    ],
)
def test_a_damaged_block_is_measured_again_and_that_is_said(
    kept: Path, damage: Callable[[str], str], capsys: pytest.CaptureFixture[str], measured_blocks: list[tuple[int, int]]
) -> None:
    (path,) = kept.iterdir()
    whole = path.read_text(encoding="utf-8")
    path.write_text(damage(whole), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != whole
    result = run(small_grid(fake("a")), kept)
    assert measured_blocks == [(1, 0)]
    assert rows_of(result, DOCUMENT)["a"]["status"] == "ok"
    assert capsys.readouterr().err.splitlines() == [f"{path} is damaged, measuring it again"]
    assert run(small_grid(fake("a")), kept)["groups"][0]["kept"] == 1


def test_a_disk_that_refuses_a_block_is_one_line(tmp_path: Path) -> None:
    keep = tmp_path / "keep"

    def remove(_: int) -> None:
        shutil.rmtree(keep, ignore_errors=True)

    with small_probes(), pytest.raises(SmartrtError) as caught:
        measure(small_grid(fake("a")), Steps(remove), keep=Kept.open(keep))
    message_of(caught.value, "cannot write")
    assert workers() == {}


def test_a_result_is_json_and_says_what_a_number_needs() -> None:
    result = run(small_grid(fake("a"), corpus=7))
    json.dumps(result, allow_nan=False)
    assert set(result) == {"machine", "sensors", "grid", "interval", "corpus", "groups"}
    assert result["corpus"]["documents"] == 7
    assert result["corpus"]["encoded_by"] == "tiny"
    assert "state" in result["machine"]
    assert "95 %" in result["interval"]


def test_a_result_says_how_many_starts_are_from_before(kept: Path) -> None:
    (group,) = run(small_grid(fake("a")), kept)["groups"]
    assert (group["starts"], group["kept"]) == (1, 1)
