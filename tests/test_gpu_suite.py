"""`smartrt bench gpu`: the order of parts, what is written when, and what becomes of those that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smartrt.benchmarks.deadline import Deadline
from smartrt.benchmarks.gpu.parts import Workshop
from smartrt.benchmarks.gpu.plan import QUICK, WHOLE, Group
from smartrt.benchmarks.gpu.suite import NOT_RUN, Part, PartFailedError, PartSkippedError, Suite
from smartrt.errors import EngineError, InputError, OptionError
from support import message_of

IDENTITY = {"GPUs": ["NVIDIA H100"], "plan": {"rounds": 2, "visit": 1.0}, "code": "0123"}


def suite(
    output: Path, *parts: Part, evaluates: Callable[[Any], Any] = lambda _: [], identity: Any = IDENTITY
) -> Suite:
    return Suite(parts, output, {"machine": "here"}, identity, lambda: "state", evaluates)


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


@pytest.mark.parametrize(
    ("change", "mentions"),
    [({"GPUs": ["Tesla T4"]}, ("GPUs", "NVIDIA H100", "Tesla T4")),
     ({"plan": {"rounds": 1, "visit": 1.0}}, ("another plan", "rounds 2, now 1")), ({"code": "89ab"}, ("other code",))],
    ids=["another GPU", "another plan", "another program"],
)  # fmt: skip
def test_parts_of_another_machine_plan_or_program_are_not_mixed(
    tmp_path: Path, change: dict[str, Any], mentions: tuple[str, ...]
) -> None:
    output = tmp_path / "gpu.json"
    parts = part("a", 1), part("b", 2)
    suite(output, *parts).run()
    before = output.read_bytes()
    with pytest.raises(InputError) as caught:
        suite(output, *parts, identity=IDENTITY | change).run(["b"])
    message_of(caught.value, str(output), *mentions)
    assert "visit" not in str(caught.value)  # what is the same is not told
    assert output.read_bytes() == before
    suite(output, *parts, identity=IDENTITY | change).run()  # all of it anew


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


# The plans.


@pytest.mark.parametrize("plan", [WHOLE, QUICK], ids=["whole", "quick"])
def test_a_plan_makes_what_it_measures_and_the_first_bundle_is_what_is_promised(plan: Any, tmp_path: Path) -> None:
    names = [each.name for each in plan.bundles]
    assert all(bundle in names for group in plan.groups for bundle, _ in group.runs)
    parts = Workshop(plan, tmp_path).parts()
    assert [each.name for each in parts[:3]] == ["tests", "checkpoint", "export"]
    assert [each.name for each in parts if not each.needs_gpu] == ["checkpoint", "export"]
    assert plan.bundles[0].half
    assert plan.bundles[0].asked == {"precision": "fp16", "dialect": "portable"}
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()


def test_an_export_has_more_time_than_the_longest_that_was_measured(tmp_path: Path) -> None:
    """393 s: 2B in fp16 on four busy cores (benchmarks/results/large_exports.json says the quiet ones)."""
    (budget,) = [each.budget_s for each in Workshop(WHOLE, tmp_path).parts() if each.name == "export"]
    assert budget > 1.5 * 393


def test_plans_of_tensorrt_are_compiled_before_the_first_group_that_needs_them(tmp_path: Path) -> None:
    names = [each.name for each in Workshop(WHOLE, tmp_path).parts()]
    assert names[3:] == ["latency-ort", "latency-packed", "plans", "latency-trt"]
    assert "plans" not in [each.name for each in Workshop(QUICK, tmp_path).parts()]


def test_a_misspelt_way_is_refused_when_the_plan_is_made() -> None:
    with pytest.raises(OptionError, match="warp"):
        Group("latency", (), (("fp16", "warp@cuda"),), 1)
