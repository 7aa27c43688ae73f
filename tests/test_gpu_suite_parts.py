"""The parts of `smartrt bench gpu` on machines that are made up, and once for real: a tiny checkpoint on the CPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import gpu_machine
from latency_runs import small_probes
from smartrt.benchmarks.commands.gpu import measure
from smartrt.benchmarks.deadline import Deadline
from smartrt.benchmarks.gpu import contest as contests
from smartrt.benchmarks.gpu import parts
from smartrt.benchmarks.gpu.contest import contest, need_tensorrt
from smartrt.benchmarks.gpu.parts import Workshop
from smartrt.benchmarks.gpu.plan import EXACT, PRESET, Exported, Group, Plan
from smartrt.benchmarks.gpu.report import lines
from smartrt.benchmarks.gpu.suite import NOT_RUN, PartFailedError, PartSkippedError
from smartrt.benchmarks.pytorch import open_pytorch
from smartrt.bundle import Bundle
from smartrt.encoder import Encoder
from smartrt.errors import MissingDependencyError, SmartrtError
from support import message_of

ROOM = "token_budget=64,batch_tokens=64,max_length=32"


def shop(work: Path, *runs: tuple[str, str], **changes: Any) -> Workshop:
    """A workshop with one group; its bundles are in `work` already."""
    bundles = tuple(Exported(name, ()) for name in dict.fromkeys(name for name, _ in runs))
    return Workshop(Plan(bundles=bundles, groups=(Group("latency", (), runs, 60.0),), **changes), work)


def test_plans_are_compiled_with_the_options_that_the_contender_opens_with(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)
    found = parts.compile_plans(shop(tmp_path, ("tiny", f"trt@cuda,{ROOM}")), Deadline.of(60))
    assert found["tiny"]["failed"] is None
    assert list(found["tiny"]["graphs"]) == list(Bundle.open(tiny_copy).manifest.graphs)
    given = {"batch_tokens": 64, "max_length": 32, "token_budget": 64}
    with Encoder.open(tiny_copy, engine="trt", device="cuda", compile=False, **given) as encoder:
        assert len(encoder.encode_query(["sort a list"])) == 1


def test_a_compiler_that_says_nothing_is_killed_at_the_deadline(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)
    said = tmp_path / "pid"
    sleep = f"import os, pathlib, time\npathlib.Path({str(said)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    (tmp_path / "shim" / "tensorrt.py").write_text(sleep, encoding="utf-8")
    with pytest.raises(PartFailedError, match=r"budget of 1\.5 s"):
        parts.compile_plans(shop(tmp_path, ("tiny", f"trt@cuda,{ROOM}")), Deadline.of(1.5))
    assert not psutil.pid_exists(int(said.read_text()))


def test_a_bundle_that_cannot_be_compiled_is_named_and_the_others_are_compiled(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_machine.install(monkeypatch, tmp_path / "shim", tiny_copy)
    ways = (("lost", f"trt@cuda,{ROOM}"), ("tiny", f"trt@cuda,{ROOM}"))
    with pytest.raises(PartFailedError) as caught:
        parts.compile_plans(shop(tmp_path, *ways), Deadline.of(60))
    assert "lost" in str(caught.value)
    assert caught.value.result["tiny"]["failed"] is None


def test_what_is_tensorrts_alone_is_skipped_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise MissingDependencyError("TensorRT is not installed")

    monkeypatch.setattr(contests, "load_tensorrt", absent)
    with pytest.raises(PartSkippedError, match="not installed"):
        need_tensorrt()
    made = shop(tmp_path, ("tiny", "trt@cuda"))
    with pytest.raises(PartSkippedError):
        contest(made.plan, made.plan.groups[0], tmp_path, made.bundle, Deadline.of(60))


def test_without_a_checkpoint_or_bundles_a_part_says_which_one_to_run(tmp_path: Path) -> None:
    made = shop(tmp_path, ("tiny", "ort@cpu"))
    with pytest.raises(SmartrtError, match="run the part checkpoint first"):
        parts.export(made, Deadline.of(60))
    with pytest.raises(SmartrtError, match="checkpoint and export first"):
        contest(made.plan, made.plan.groups[0], made.checkpoint, made.bundle, Deadline.of(60))


def test_bundles_that_are_there_are_not_exported_again(tiny_copy: Path, tmp_path: Path) -> None:
    made = shop(tmp_path, ("tiny", "ort@cpu"))
    made.checkpoint.mkdir()
    found = parts.export(made, Deadline.of(60))
    assert (found["tiny"]["failed"], found["tiny"]["seconds"]) == (None, None)
    assert found["tiny"]["bytes"] == sum(entry.bytes for entry in Bundle.open(tiny_copy).manifest.files.values())


@pytest.mark.usefixtures("tiny_copy")
@pytest.mark.parametrize(
    ("flags", "mention"), [(("--precision", "int4"), "precision fp32, not int4"),
                           (("--dialect", "fused"), "dialect portable, not fused"),
                           (("--compute", "fp16"), "compute fp32, not fp16")],
)  # fmt: skip
def test_a_bundle_of_another_precision_or_dialect_is_not_used_under_the_name(
    tmp_path: Path, flags: tuple[str, ...], mention: str
) -> None:
    made = shop(tmp_path, ("tiny", "ort@cpu"))
    made = Workshop(dataclasses.replace(made.plan, bundles=(Exported("tiny", flags),)), tmp_path)
    made.checkpoint.mkdir()
    with pytest.raises(PartFailedError) as caught:
        parts.export(made, Deadline.of(60))
    message_of(caught.value, str(tmp_path / "tiny.smartrt"), mention, "remove it")
    with pytest.raises(SmartrtError, match=mention):
        contest(made.plan, made.plan.groups[0], made.checkpoint, made.bundle, Deadline.of(60))


def test_exports_that_were_done_in_time_are_kept_and_the_others_fail_alone(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is written at once, the second hangs: `smartrt export` is played by a script."""
    made = shop(tmp_path / "work", ("quick", "ort@cpu"), ("late", "ort@cpu"))
    made.checkpoint.mkdir(parents=True)
    script = (
        "import shutil, sys, time\n"
        f"'quick' in sys.argv[2] and sys.exit(bool(not shutil.copytree({str(tiny_copy)!r}, sys.argv[2])))\n"
        "time.sleep(60)"
    )
    run = parts.run_together
    monkeypatch.setattr(
        parts,
        "run_together",
        lambda commands, *given, **options: run(
            {name: ["-c", script, *command[4:6]] for name, command in commands.items()}, *given, **options
        ),
    )
    monkeypatch.setattr(parts, "cores", lambda: 4)
    with pytest.raises(PartFailedError) as caught:
        parts.export(made, Deadline.of(1.0))
    found = caught.value.result
    assert (found["quick"]["failed"], found["late"]["failed"].startswith("ended after")) == (None, True)
    assert made.bundle("quick").exists()


@pytest.mark.usefixtures("tiny_copy", "library_read_once")
def test_contenders_that_cannot_run_are_left_out_with_their_reason_and_the_others_are_measured(tmp_path: Path) -> None:
    small = {"queries": ("1x8",), "documents": ("2x6",), "corpus": 4, "rounds": 1, "visit": 0.01, "device": "cpu"}
    made = shop(tmp_path, ("lost", "fake"), ("tiny", "ort,warp=1"), ("tiny", "fake"), ("gone", "fake"), **small)
    group = dataclasses.replace(made.plan.groups[0], kinds=("fp16-eager",))
    made.checkpoint.mkdir()
    with small_probes(), pytest.raises(PartFailedError) as caught:
        contest(made.plan, group, made.checkpoint, made.bundle, Deadline.of(60))
    found = caught.value.result
    assert sorted(found["left_out"]) == ["PyTorch fp16-eager", "gone, fake", "lost, fake", "tiny, ort,warp=1"]
    assert "warp" in found["left_out"]["tiny, ort,warp=1"]
    rows = found["latency"]["groups"][0]["cells"][0]["rows"]
    assert [(row["contender"], row["status"]) for row in rows] == [("tiny, fake", "ok")]
    json.dumps(found, allow_nan=False)


@pytest.mark.usefixtures("tiny_copy", "library_read_once")
def test_a_group_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    made = shop(tmp_path, ("tiny", "fake"), queries=("1x8",), documents=(), corpus=4, device="cpu")
    with pytest.raises(SmartrtError, match="budget of 0 s"):
        contest(made.plan, made.plan.groups[0], tmp_path, made.bundle, Deadline.of(0))


def test_tests_that_pass_are_counted_and_those_that_fail_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert False\n@pytest.mark.skip(reason='no')\n"
        "def test_absent(): pass\n",
        encoding="utf-8",
    )
    plain = ("-q", "-ra", "-p", "no:cacheprovider", "--import-mode=importlib", str(tmp_path / "test_made_up.py"))
    good = parts.tests(shop(tmp_path, tests=(*plain, "-k", "good or absent")), Deadline.of(60))
    assert (good["counts"], good["code"]) == ({"passed": 1, "skipped": 1, "deselected": 1}, 0)
    assert [line.split(":")[-1].strip() for line in good["skipped"]] == ["no"]
    with pytest.raises(PartFailedError) as caught:
        parts.tests(shop(tmp_path, tests=plain), Deadline.of(60))
    assert caught.value.result["counts"]["failed"] == 1
    assert any("test_bad" in line for line in caught.value.result["lines"])


@pytest.mark.parametrize(
    ("chosen", "skipped"),
    [pytest.param("absent", 1, id="all skipped"), pytest.param("nothing", 0, id="none found", marks=pytest.mark.slow)],
)
def test_tests_of_which_none_passed_are_no_success(tmp_path: Path, chosen: str, skipped: int) -> None:
    (tmp_path / "test_made_up.py").write_text(
        "import pytest\n@pytest.mark.skip(reason='no TensorRT')\ndef test_absent(): pass\n", encoding="utf-8"
    )
    plain = ("-q", "-ra", "-p", "no:cacheprovider", "--import-mode=importlib", str(tmp_path / "test_made_up.py"))
    with pytest.raises(PartFailedError, match=f"no test passed, {skipped} were skipped") as caught:
        parts.tests(shop(tmp_path, tests=(*plain, "-k", chosen)), Deadline.of(60))
    assert len(caught.value.result["skipped"]) == skipped


TINY_PLAN = Plan(
    size="tiny",
    device="cpu",
    bundles=(
        Exported("fp16", ("--precision", "fp16", "--preset", PRESET), half=True),
        Exported("broken", ("--precision", "fp16", "--preset", "gme")),
    ),
    groups=(Group("latency-ort", ("fp32",), (("fp16", "ort@cpu"), ("broken", "ort@cpu")), 60.0),),
    queries=("1x32",),
    documents=("1x96x64", "4x40"),
    corpus=4,
    rounds=1,
    visit=0.01,
    tests=(),
)
"""Everything but the GPU: a tiny checkpoint, one bundle that exports and one that does not, PyTorch beside them."""


@pytest.mark.slow
def test_a_whole_run_on_the_cpu_from_the_checkpoint_to_the_requirements(tmp_path: Path) -> None:
    output, work = tmp_path / "gpu.json", tmp_path / "work"
    result = measure(TINY_PLAN, output, work)
    assert result == json.loads(output.read_text(encoding="utf-8"))
    entries = result["parts"]
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "checkpoint": "ok", "export": "failed", "latency-ort": "failed",
    }  # fmt: skip
    assert "gme" in entries["export"]["reason"]
    assert entries["export"]["result"]["fp16"]["failed"] is None
    contest_ = entries["latency-ort"]["result"]
    assert list(contest_["left_out"]) == ["broken, ort@cpu"]
    rows = {row["contender"]: row for row in contest_["latency"]["groups"][0]["cells"][1]["rows"]}
    assert set(rows) == {EXACT, "fp16, ort@cpu"}
    assert list(rows["fp16, ort@cpu"]["stages"]) == ["preprocess", "vision", "decoder"]
    requirements = {row["name"]: row for row in result["requirements"]}
    assert requirements["cosine"]["met"] is True
    assert requirements["query"]["measured"] == requirements["page"]["measured"] == NOT_RUN
    assert "fp16, ort@cpu" in "\n".join(lines(result))

    manifest = Bundle.open(work / "fp16.smartrt", verify=False).manifest
    opened: Any = open_pytorch(str(work / "random-tiny"), "fp32", manifest)
    model = opened._reference.backbone.model
    output_of_model = model(input_ids=torch.ones((1, 4), dtype=torch.int64))
    assert output_of_model.past_key_values is None  # nobody generates: nothing is kept for a next token

    again = measure(TINY_PLAN, output, work, only=("checkpoint",))
    assert again["parts"]["checkpoint"]["result"]["was_there"] is True
    assert again["parts"]["latency-ort"] == entries["latency-ort"]
