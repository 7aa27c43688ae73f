"""`smartrt bench latency` as a user meets it: exit codes, JSON, one line for every mistake, before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commandline import FAKE, Finished, call, finish, one_line, refused, start
from latency_runs import DOCUMENT, QUERY, SHAPES, TINY, rows_of, small_probes, workers
from smartrt.benchmarks.commands import latency as command
from support import flip_bit, set_key

Bench = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("library_read_once")


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bench:
    """Runs the smallest measurement of bundles on the fake engine, with a cache of its own."""

    def run(*more: Any, bundles: tuple[Path, ...] = (TINY,)) -> Finished:
        with small_probes():
            return call(capsys, "bench", "latency", *bundles, *FAKE, *SHAPES, "--cache", tmp_path / "cache", *more)

    return run


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that starts fails the test, but for git, which says what is measured."""
    popen = subprocess.Popen

    def refuse(arguments: Any, *given: Any, **options: Any) -> Any:
        return popen(arguments, *given, **options) if arguments[0] == "git" else pytest.fail(f"started {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    yield
    assert workers() == {}


@pytest.fixture
def twin(tiny_copy: Path) -> Path:
    """The tiny bundle under another name."""
    set_key(tiny_copy / "manifest.json", "name", "twin")
    return tiny_copy


@pytest.fixture
def wrong(twin: Path) -> Path:
    """A twin that keeps other tokens."""
    set_key(twin / "manifest.json", "late_mask/document", [0])
    return twin


def test_json_is_the_result_and_nothing_else(bench: Bench) -> None:
    finished = bench("--json")
    assert (finished.code, finished.err) == (0, "")
    result = finished.json
    assert result["grid"]["reference"] == "tiny"
    assert result["machine"]["command"].startswith("smartrt")
    for label in (QUERY, DOCUMENT):
        assert rows_of(result, label)["tiny"]["p50_ms"] > 0


def test_without_json_it_is_a_table(bench: Bench, twin: Path) -> None:
    finished = bench(bundles=(TINY, twin))
    assert (finished.code, finished.err) == (0, "")
    for words in (QUERY, DOCUMENT, "cold start", "ratios are tiny / contender", "  twin "):
        assert words in finished.out


def test_wrong_outputs_are_an_error_beside_the_table(bench: Bench, wrong: Path) -> None:
    finished = bench(bundles=(TINY, wrong))
    assert finished.code not in (0, None)
    assert "WRONG: wrong outputs: 2 items of" in finished.out
    one_line(finished.err, "1 of the rows", f"twin, {DOCUMENT}, 1 threads", "wrong outputs")


REPLAYED = """
import json, pathlib, sys
from smartrt.benchmarks.latency import measure
result = json.loads(pathlib.Path(sys.argv.pop(1)).read_text())
measure.measure = lambda *_, **__: result
from smartrt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_table_is_there_in_a_pipe_although_a_row_is_wrong(bench: Bench, wrong: Path, tmp_path: Path) -> None:
    replayed = tmp_path / "result.json"
    replayed.write_text(bench("--json", bundles=(TINY, wrong)).out, encoding="utf-8")
    arguments = ("bench", "latency", TINY, *FAKE, *SHAPES, "--cache", tmp_path / "cache")
    finished = finish(start(replayed, *arguments, script=REPLAYED))
    assert finished.code != 0
    assert "wrong outputs" in finished.err
    assert "wrong outputs" in finished.out


def test_the_same_measurement_agrees_with_itself_and_a_faster_past_does_not(
    bench: Bench, tmp_path: Path, twin: Path
) -> None:
    keep, earlier = tmp_path / "keep", tmp_path / "earlier.json"
    again = ("--starts", 2, "--keep", keep)
    earlier.write_text(bench("--json", *again, bundles=(TINY, twin)).out, encoding="utf-8")
    finished = bench(*again, "--against", earlier, bundles=(TINY, twin))
    assert finished.code == 0
    assert finished.out.splitlines()[-1].endswith("ratios agree with the earlier result")

    past = json.loads(earlier.read_text(encoding="utf-8"))
    row = rows_of(past, QUERY)["twin"]
    row |= {"ratio": 1e6, "ratio_interval": [0.9e6, 1.1e6]}
    earlier.write_text(json.dumps(past), encoding="utf-8")
    finished = bench(*again, "--against", earlier, bundles=(TINY, twin))
    assert finished.code == 1
    assert f"twin, {QUERY}, 1 threads, ratio: 1000000.00x was, " in finished.out.splitlines()[-1]
    assert bench(*again, "--against", earlier, "--json", bundles=(TINY, twin)).code == 1


def test_one_start_has_no_interval_to_compare(bench: Bench, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.json"
    earlier.write_text(bench("--json").out, encoding="utf-8")
    finished = bench("--against", earlier)
    assert finished.code == 2
    one_line(finished.err, "--against", "--starts")


@pytest.mark.parametrize(
    ("given", "mentions"),
    [
        (["--threads", "0"], ["--threads", "from 1 up"]),
        (["--threads", "two"], ["--threads"]),
        (["--starts", "0"], ["--starts"]),
        (["--rounds", "-1"], ["--rounds"]),
        (["--corpus", "0"], ["--corpus"]),
        (["--visit", "0"], ["visit", "got 0.0"]),
        (["--visit", "nan"], ["visit", "nan"]),
        (["--visit", "61"], ["visit", "60"]),
        (["--queries", "8"], ["'8'", "1x32"]),
        (["--queries", "1x2"], ["query 1x2", "choose a length between"]),
        (["--queries", "1x49"], ["query 1x49", "48 at most"]),
        (["--queries", "1x64x64"], ["queries are texts"]),
        (["--queries", "1x8", "1x8"], ["cell twice"]),
        (["--documents", "1x64x64"], ["takes no images"]),
        (["--documents", "4096x8"], ["batch", "1024"]),
        (["--device", "cuda"], ["cuda"]),
        (["--device", "tpu"], ["tpu"]),
        (["--engine", "warp"], ["warp"]),
        (["--pytorch", "fp8"], ["fp8"]),
        (["--source", "/nowhere"], ["/nowhere"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
@pytest.mark.usefixtures("nothing_starts")
def test_a_mistake_is_one_line_before_anything_starts(bench: Bench, given: list[str], mentions: list[str]) -> None:
    refused(bench(*given), *mentions)


@pytest.mark.usefixtures("nothing_starts")
def test_bundles_that_are_not_there_twice_or_damaged_are_one_line(bench: Bench, tmp_path: Path, twin: Path) -> None:
    refused(bench(bundles=(TINY, tmp_path / "none.smartrt")), "none.smartrt", "no such directory")
    refused(bench(bundles=(TINY, TINY)), "two bundles are called tiny")
    set_key(twin / "manifest.json", "source/weights_sha256", "0" * 64)
    refused(bench(bundles=(TINY, twin)), "tiny and twin", "different checkpoints")
    flip_bit(twin / "encoder.onnx.data")
    refused(bench(bundles=(TINY, twin)), "encoder.onnx.data")


@pytest.mark.usefixtures("nothing_starts")
def test_a_missing_library_or_compiler_is_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        refused(bench("--source", tmp_path), "torch", "pip install")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        refused(bench("--source", tmp_path, "--pytorch", "compile"), "C++ compiler", "g++")
    monkeypatch.delitem(sys.modules, "smartrt.engines.ort", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(bench("--engine", "ort"), "onnxruntime", "pip install")


@pytest.mark.parametrize("content", ["[]", "{}", "3"])
@pytest.mark.usefixtures("nothing_starts")
def test_an_earlier_result_that_is_none_is_one_line(bench: Bench, tmp_path: Path, content: str) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(content, encoding="utf-8")
    refused(bench("--against", path), "earlier.json", "no result of smartrt bench latency --json")


@pytest.mark.parametrize("content", [None, "", '{"groups"', '{"groups": 5}', '{"groups": [{}]}'])
def test_an_earlier_result_that_cannot_be_read_is_one_line(bench: Bench, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "earlier.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    refused(bench("--against", path, "--starts", 2), "earlier.json")


def test_a_place_to_keep_that_is_a_file_is_one_line(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(bench("--keep", tmp_path / "file"), "file")


def options(*given: Any) -> Any:
    from smartrt.cli.options import Parser

    parser = Parser()
    command.configure(parser)
    return parser.parse_args([str(TINY), *map(str, given)])


def test_flags_become_a_grid() -> None:
    grid = command.grid_of(options(*SHAPES, "--threads", 2, 1, 2, "--no-together", "--engine", "fake"))
    assert grid.threads == (2, 1)
    assert [cell.label for cell in grid.cells] == [QUERY, DOCUMENT]
    assert (grid.corpus, grid.starts, grid.rounds, grid.visit, grid.together) == (5, 1, 1, 0.005, False)
    assert [(each.name, each.kind, each.engine) for each in grid.contenders] == [("tiny", None, "fake")]


def test_with_a_source_pytorch_is_first_and_the_reference() -> None:
    grid = command.grid_of(options("--source", "here", "--pytorch", "bf16", "fp32", "bf16"))
    assert [each.name for each in grid.contenders] == ["PyTorch bf16", "PyTorch fp32", "tiny"]
    assert (grid.reference, grid.source) == ("PyTorch bf16", "here")


def test_a_first_look_is_quick() -> None:
    whole, quick = (command.grid_of(options(*flags)) for flags in ((), ("--quick",)))
    assert quick.starts < whole.starts
    assert quick.corpus < whole.corpus
    assert quick.visits < whole.visits / 3


def test_a_first_look_is_never_longer_than_what_was_asked_for() -> None:
    grid = command.grid_of(options("--quick", "--starts", 1, "--corpus", 50))
    assert (grid.starts, grid.corpus) == (1, 50)


def test_more_threads_than_can_run_and_pytorch_without_a_checkpoint_are_refused_at_once(bench: Bench) -> None:
    refused(bench("--threads", 257), "1 to 256", "257")
    refused(bench("--pytorch", "fp32"), "--pytorch", "--source")


def test_an_earlier_result_of_another_machine_is_refused_before_anything_is_measured(
    bench: Bench, tmp_path: Path
) -> None:
    earlier = bench("--json", "--starts", 2, bundles=(TINY,)).json
    earlier["machine"]["cores"] = 999
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(earlier), encoding="utf-8")
    refused(bench("--against", path, "--starts", 2), "cores", "999")
