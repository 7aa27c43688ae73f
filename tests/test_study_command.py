"""`smartrt bench study` as a user meets it: three files, a table, exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commandline import Finished, call, one_line, refused
from latency_runs import TINY, small_probes
from study_runs import write_set

pytestmark = pytest.mark.usefixtures("library_read_once")

HEAD = """
title = "A study of little"
sets = ["made_up"]
threads = [1]
queries = ["1x8"]
documents = []
corpus = 5
starts = 1
rounds = 1
visit = 0.005
"""
VARIANT = f"""
[[variant]]
name = "NAME"
bundle = "{TINY}"
engine = "fake"
"""
FULL = VARIANT.replace("NAME", "full")
SHIFTED = VARIANT.replace("NAME", "shifted") + "options = {shift = 1}\n"


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Finished]:
    """Runs a study of these lines, with a set beside it."""
    write_set(tmp_path / "made_up")

    def run(text: str, *more: Any) -> Finished:
        path = tmp_path / "study.toml"
        path.write_text(HEAD + text, encoding="utf-8")
        given = ("-o", tmp_path / "out", "--cache", tmp_path / "cache", *more)
        with small_probes():
            return call(capsys, "bench", "study", path, *given)

    return run


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts fails the test, but for git, which says what is measured."""
    popen = subprocess.Popen

    def refuse(command: Any, *given: Any, **options: Any) -> Any:
        return popen(command, *given, **options) if command[0] == "git" else pytest.fail(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_a_study_is_a_table_a_page_a_picture_and_its_figures(bench: Callable[..., Finished], tmp_path: Path) -> None:
    finished = bench(FULL + VARIANT.replace("NAME", "small") + 'kept = "int8"\n')
    assert (finished.code, finished.err) == (0, "")
    out = tmp_path / "out"
    result = json.loads((out / "study.json").read_text(encoding="utf-8"))
    for point in result["points"]:
        (line,) = [line for line in finished.out.splitlines() if line.startswith(point["name"])]
        assert f"{point['quality']:.4f}" in line
        assert f"{point['p50_ms']:.2f}" in line
        assert f"{point['bytes_per_document']:,}" in line
    for name in ("index.html", "pareto.png", "study.json"):
        assert (out / name).stat().st_size > 0
        assert str(out / name) in finished.out
    assert "A study of little" in (out / "index.html").read_text(encoding="utf-8")


def test_json_is_what_was_written(bench: Callable[..., Finished], tmp_path: Path) -> None:
    finished = bench(FULL, "--json")
    assert finished.code == 0
    assert finished.json == json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))


def test_a_wrong_variant_is_in_the_table_and_an_error(bench: Callable[..., Finished]) -> None:
    finished = bench(FULL + SHIFTED)
    assert finished.code not in (0, None)
    (line,) = [line for line in finished.out.splitlines() if line.startswith("shifted")]
    assert "WRONG: wrong outputs" in line
    one_line(finished.err, "1 of the rows", "shifted", "wrong outputs")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("", ("variant", "missing key")),
        (FULL + "nmae = 1\n", ("variant[0].nmae", "unknown key")),
        (FULL.replace("fake", "warp"), ("'warp'",)),
        (FULL.replace("tiny.smartrt", "none.smartrt"), ("none.smartrt",)),
        (FULL + 'kept = "int7"\n', ("'int7'",)),
    ],
    ids=["no variant", "unknown key", "engine", "no bundle", "kept"],
)
@pytest.mark.usefixtures("nothing_starts")
def test_a_mistake_is_one_line_before_anything_starts(
    bench: Callable[..., Finished], text: str, mentions: tuple[str, ...]
) -> None:
    refused(bench(text), *mentions)


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(call(capsys, "bench", "study", tmp_path / "none.toml", "-o", tmp_path / "out"), "none.toml")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("nothing_starts")
def test_a_study_without_matplotlib_is_refused_before_anything_starts(
    bench: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(bench(FULL), "matplotlib", "pip install 'smartrt[bench]'")
