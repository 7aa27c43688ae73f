"""The command `smartrt bench gpu`: where it refuses to start, what it prints, and how `make gpu` runs it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import machines
from commandline import call, refused
from smartrt.benchmarks.commands import gpu as command
from smartrt.benchmarks.gpu.parts import Workshop
from smartrt.benchmarks.gpu.plan import WHOLE
from smartrt.benchmarks.gpu.report import lines
from smartrt.benchmarks.gpu.requirements import evaluate
from smartrt.benchmarks.gpu.suite import NOT_RUN, Part
from smartrt.cli.options import Parser
from smartrt.machine.survey import Sources, survey

ROOT = Path(__file__).parent.parent


def only_parts(monkeypatch: pytest.MonkeyPatch, sources: Sources) -> list[str]:
    """Let the command see another machine, and do nothing; the names of parts that ran."""
    ran: list[str] = []
    monkeypatch.setattr(command, "survey", lambda: survey(sources))

    def parts(shop: Workshop) -> list[Part]:
        return [dataclasses.replace(each, run=lambda _, name=each.name: ran.append(name)) for each in whole(shop)]

    whole = Workshop.parts
    monkeypatch.setattr(Workshop, "parts", parts)
    return ran


def test_without_a_gpu_it_is_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tree without anything in it is a machine without a GPU, wherever this runs.
    ran = only_parts(monkeypatch, Sources(root=tmp_path / "nothing"))
    output = tmp_path / "gpu.json"
    refused(call(capsys, "bench", "gpu", "-o", output), "ort@cuda: no NVIDIA GPU", "trt@cuda: no", "--only checkpoint")
    refused(call(capsys, "bench", "gpu", "-o", output, "--only", "export", "tests"), "no NVIDIA GPU")
    assert (ran, output.exists()) == ([], False)


def test_what_needs_no_gpu_is_made_without_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = only_parts(monkeypatch, Sources(root=tmp_path / "nothing"))
    done = call(capsys, "bench", "gpu", "-o", tmp_path / "gpu.json", "--only", "checkpoint", "export")
    assert (done.code, ran) == (0, ["checkpoint", "export"])  # no requirement was asked for
    refused(call(capsys, "bench", "gpu", "-o", tmp_path / "gpu.json", "--only", "warp"), "no part 'warp'")


def test_a_gpu_with_the_processors_onnx_runtime_alone_is_refused_with_both_reasons(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = only_parts(monkeypatch, machines.h100(tmp_path / "root", onnx_runtime=machines.onnx_runtime()))
    reasons = "ort@cuda: this build of ONNX Runtime has no CUDA provider", "trt@cuda: TensorRT's library does not load"
    refused(call(capsys, "bench", "gpu", "-o", tmp_path / "gpu.json"), *reasons)
    assert ran == []


def test_a_whole_run_that_measured_nothing_does_not_count_as_one_that_met_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_parts(monkeypatch, machines.h100(tmp_path / "root"))
    done = call(capsys, "bench", "gpu", "-o", tmp_path / "gpu.json")
    assert done.code == 1
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert written["identity"]["GPUs"] == ["NVIDIA H100 80GB HBM3"]
    assert call(capsys, "bench", "gpu", "-o", tmp_path / "gpu.json", "--only", "latency-packed").code == 0


def test_what_was_never_measured_says_so() -> None:
    parts = {"latency-ort": {"status": NOT_RUN, "reason": None, "budget_s": 1.0}}
    rows = evaluate(parts, WHOLE)
    assert {(row["measured"], row["met"]) for row in rows} == {(NOT_RUN, None)}
    assert [row["name"] for row in rows if row["required"]] == ["query", "floor", "page", "cosine"]
    text = "\n".join(lines({"parts": parts, "requirements": rows}))
    assert text.count(NOT_RUN) == 1 + len(rows)


def test_counts_and_skip_reasons_of_the_tests_are_shown() -> None:
    result = {"counts": {"passed": 3, "skipped": 1}, "lines": [], "skipped": ["SKIPPED [1] test_a.py:1: no TensorRT"]}
    parts = {"tests": {"status": "ok", "reason": None, "budget_s": 1.0, "seconds": 1.0, "result": result}}
    text = "\n".join(lines({"parts": parts, "requirements": []}))
    assert "3 passed, 1 skipped" in text
    assert "no TensorRT" in text


def test_help_names_the_parts() -> None:
    parser = Parser(prog="gpu")
    command.configure(parser)
    assert "latency-trt" in "".join(parser.format_help().split())


# The target of the Makefile.


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_gpu_ends_with_the_cuda_build_of_onnx_runtime_and_measures_with_it() -> None:
    """Both builds are the module onnxruntime: the last one that is installed is the one that is imported."""
    command = ["make", "--dry-run", "--always-make", "gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    ours = [line for line in done.stdout.replace("\\\n", " ").splitlines() if "pip" in line or "bench gpu" in line]
    installed, uninstalled, last, run = ours
    assert all(line.startswith(".venv-gpu/bin/") for line in ours)
    assert "[gpu," in installed
    assert "cpu" not in installed
    assert "onnxruntime-gpu[cuda,cudnn]" in installed
    assert uninstalled.endswith("onnxruntime onnxruntime-gpu")
    assert "-c constraints.txt" in last
    assert last.endswith("--no-deps onnxruntime-gpu")
    assert "smartrt bench gpu" in run


def test_both_builds_of_onnx_runtime_are_pinned_to_one_version() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert pins["onnxruntime-gpu"] == pins["onnxruntime"]
