"""The compiler as the process that it is: what comes out of its standard output, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fake_tensorrt
from smartrt.tensorrt.request import CompileRequest, Profile

PROFILE = Profile(dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ((1, 1), (2, 4), (4, 8))))


@pytest.fixture
def request_path(tiny_path, tmp_path):
    path = tmp_path / "request.json"
    CompileRequest(str(tiny_path / "encoder.onnx"), str(tmp_path / "p.plan"), None, (PROFILE,)).write(path)
    return path


def compile_in_a_process(path, *faults):
    environment = os.environ | fake_tensorrt.write_shim(path.parent, *faults)
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "smartrt.tensorrt.compile", path],
        capture_output=True, text=True, env=environment, check=False, timeout=60, cwd=path.parent,
    )  # fmt: skip


def test_standard_output_holds_events_alone_whatever_libraries_say(request_path):
    finished = compile_in_a_process(request_path)
    assert finished.returncode == 0
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["started", "done"]
    assert finished.stderr == "a library talks on standard output\n"
    assert Path(request_path.parent / "p.plan").is_file()


def test_a_failure_is_an_event_and_exit_code_1(request_path):
    finished = compile_in_a_process(request_path, "memory")
    assert finished.returncode == 1
    last = json.loads(finished.stdout.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("error", "memory")
    assert "Traceback" not in finished.stderr
    assert not Path(request_path.parent / "p.plan").exists()


def test_a_request_that_is_not_there_is_an_event(tmp_path):
    finished = compile_in_a_process(tmp_path / "nowhere.json")
    assert finished.returncode == 1
    assert json.loads(finished.stdout)["kind"] == "request"


def test_a_compiler_that_the_kernel_stops_leaves_no_plan_and_says_nothing_more(request_path):
    finished = compile_in_a_process(request_path, "killed")
    assert finished.returncode == -signal.SIGKILL
    assert "done" not in finished.stdout
    assert not Path(request_path.parent / "p.plan").exists()
