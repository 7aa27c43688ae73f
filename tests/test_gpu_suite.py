"""`smartrt bench gpu`: the order of parts, what is written when, and what becomes of those that fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commandline import call, refused
from smartrt.benchmarks.commands import gpu as command
from smartrt.benchmarks.gpu.children import run_together
from smartrt.benchmarks.gpu.parts import Workshop
from smartrt.benchmarks.gpu.plan import QUICK, WHOLE, Group
from smartrt.benchmarks.gpu.report import lines
from smartrt.benchmarks.gpu.requirements import evaluate
from smartrt.benchmarks.gpu.suite import NOT_RUN, Deadline, Part, PartFailedError, PartSkippedError, Suite
from smartrt.cli.options import Parser
from smartrt.errors import EngineError, InputError, OptionError, SmartrtError
from support import message_of


def suite(output: Path, *parts: Part, evaluates: Callable[[Any], Any] = lambda _: []) -> Suite:
    return Suite(parts, output, {"machine": "here"}, lambda: "state", evaluates)


def part(name: str, answer: Any, budget: float = 10.0) -> Part:
    """A part that returns `answer`, or raises it."""

    def run(_: Deadline) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    return Part(name, budget, run)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_part_that_fails_is_recorded_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    parts = (
        part("good", {"figure": 1}),
        part("bad", EngineError("no device")),
        part("bug", ValueError("two\nlines")),
        part("half", PartFailedError("one of two", {"kept": 2})),
        part("absent", PartSkippedError("not installed")),
        part("last", {"figure": 3}),
    )
    found = suite(output, *parts).run()
    assert found == read(output)
    entries = found["parts"]
    assert [entry["status"] for entry in entries.values()] == ["ok", "failed", "failed", "failed", "skipped", "ok"]
    assert [entry["reason"] for entry in entries.values()] == [
        None, "no device", "ValueError: two lines", "one of two", "not installed", None,
    ]  # fmt: skip
    assert (entries["half"]["result"], entries["last"]["result"]) == ({"kept": 2}, {"figure": 3})
    assert (entries["last"]["before"], entries["last"]["after"]) == ("state", "state")
    assert found["machine"] == "here"


def test_the_file_is_there_before_the_first_part_and_anew_after_each(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    seen: list[list[str]] = []

    def look() -> None:
        seen.append([entry["status"] for entry in read(output)["parts"].values()])

    suite(output, part("a", look), part("b", look), evaluates=lambda parts: [parts["b"]["status"]]).run()
    assert seen == [[NOT_RUN, NOT_RUN], ["ok", NOT_RUN]]
    assert read(output)["requirements"] == ["ok"]


def test_an_interruption_leaves_what_was_done(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        suite(output, part("done", {"figure": 1}), part("lost", interrupt)).run()
    entries = read(output)["parts"]
    assert (entries["done"]["result"], entries["lost"]["status"]) == ({"figure": 1}, NOT_RUN)


def test_parts_that_are_named_are_added_to_the_file(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    counts = iter(range(9))
    both = suite(output, part("a", lambda: next(counts)), part("b", lambda: next(counts)))
    both.run()
    assert both.run(["b"])["parts"]["a"]["result"] == 0
    assert read(output)["parts"]["b"]["result"] == 2
    assert both.run()["parts"]["a"]["result"] == 3  # without names everything is measured anew


def test_an_unknown_part_and_a_file_of_something_else_are_refused_and_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    with pytest.raises(OptionError) as unknown:
        suite(output, part("a", 1)).run(["warp"])
    message_of(unknown.value, "'warp'", "there are: a")
    assert not output.exists()
    for content in ("[]", "{}", '{"format": 1, "parts": {"a": 3}}', "no json"):
        output.write_text(content, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            suite(output, part("a", 1)).run(["a"])
        message_of(caught.value, str(output), "no result of smartrt bench gpu")
        assert output.read_text(encoding="utf-8") == content


def test_a_budget_that_is_used_up_ends_the_part() -> None:
    deadline = Deadline.of(0.0)
    assert deadline.left == 0
    with pytest.raises(SmartrtError, match="after its budget of 0 s"):
        deadline.check()
    Deadline.of(60.0).check()


# Processes.


def test_processes_run_side_by_side_with_their_share_of_the_cores() -> None:
    script = "import os, time; time.sleep(0.3); print(os.environ['OMP_NUM_THREADS'])"
    began = time.monotonic()
    done = run_together({name: ["-c", script] for name in "abc"}, Deadline.of(20), cores=7)
    assert time.monotonic() - began < 3 * 0.3 + 5
    assert [(each.code, each.text.strip()) for each in done.values()] == [(0, "2")] * 3


def test_a_process_that_fails_says_its_last_line_and_one_that_hangs_is_ended_with_its_children() -> None:
    hang = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    fail = "import sys; print('first'); sys.exit('smartrt: last')"
    began = time.monotonic()
    done = run_together({"hang": ["-c", hang], "fail": ["-c", fail]}, Deadline.of(1.0), cores=2)
    assert time.monotonic() - began < 10
    assert done["fail"].reason == "exit code 1: smartrt: last"
    assert done["hang"].code is None
    assert "budget" in done["hang"].reason


# The plans.


@pytest.mark.parametrize("plan", [WHOLE, QUICK], ids=["whole", "quick"])
def test_a_plan_makes_what_it_measures_and_takes_eight_minutes_without_tensorrt(plan: Any, tmp_path: Path) -> None:
    names = {each.name for each in plan.bundles}
    assert all(bundle in names for group in plan.groups for bundle, _ in group.runs)
    parts = Workshop(plan, tmp_path).parts()
    of_tensorrt = ("plans", "latency-trt")
    assert sum(each.budget_s for each in parts if each.name not in of_tensorrt) <= 480
    assert [each.name for each in parts[:3]] == ["tests", "checkpoint", "export"]


def test_plans_of_tensorrt_are_compiled_before_the_first_group_that_needs_them(tmp_path: Path) -> None:
    names = [each.name for each in Workshop(WHOLE, tmp_path).parts()]
    assert names[3:] == ["latency-ort", "latency-packed", "plans", "latency-trt"]
    assert "plans" not in [each.name for each in Workshop(QUICK, tmp_path).parts()]


def test_a_misspelt_way_is_refused_when_the_plan_is_made() -> None:
    with pytest.raises(OptionError, match="warp"):
        Group("latency", (), (("fp16", "warp@cuda"),), 1)


# The command.


def test_without_a_gpu_it_is_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smartrt.machine.survey import Sources, survey

    # A tree without anything in it is a machine without a GPU, wherever this runs.
    monkeypatch.setattr(command, "survey", lambda: survey(Sources(root=tmp_path)))
    output = tmp_path / "gpu.json"
    refused(call(capsys, "bench", "gpu", "-o", output), "no NVIDIA GPU", "smartrt bench latency")
    assert not output.exists()


def test_what_was_never_measured_says_so() -> None:
    parts = {"latency-ort": {"status": NOT_RUN, "reason": None, "budget_s": 1.0}}
    rows = evaluate(parts, ("fp16",))
    assert [(row["measured"], row["met"]) for row in rows] == [(NOT_RUN, None)] * 4
    text = "\n".join(lines({"parts": parts, "requirements": rows}))
    assert text.count(NOT_RUN) == 1 + 4


def test_help_names_the_parts() -> None:
    parser = Parser(prog="gpu")
    command.configure(parser)
    assert "latency-trt" in "".join(parser.format_help().split())
