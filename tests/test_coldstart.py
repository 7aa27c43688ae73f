"""`smartrt bench coldstart`: starting contenders, comparing their vectors, computing the ratios."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import call, refused
from smartrt.benchmarks import coldstart
from smartrt.benchmarks.machine import describe
from smartrt.benchmarks.memory import peak_rss_mb
from smartrt.errors import EngineError
from support import message_of

REPORT = "import json, sys; print(json.dumps({'vector': [0.6, 0.8], 'peak_rss_mb': 10.0}))\n"
HEAVY = REPORT.replace("10.0", "80.0")


@pytest.fixture
def contenders(monkeypatch):
    """Set the scripts of the two contenders."""

    def choose(smartrt=REPORT, pytorch=HEAVY):
        monkeypatch.setattr(coldstart, "CONTENDERS", {"smartrt": smartrt, "pytorch": pytorch})

    choose()
    return choose


def measure(rounds=1, **options):
    return coldstart.measure(Path("a.smartrt"), "source", rounds, **options)


def test_every_round_starts_each_contender_and_the_first_is_not_counted(contenders):  # noqa: ARG001
    started = []
    result = measure(rounds=3, advance=started.append)
    assert started == [1] * 8
    assert set(result) == {"query", "rounds", "contenders", "pytorch_over_smartrt"}
    assert result["rounds"] == 3
    for values in result["contenders"].values():
        assert set(values) == {"wall_s", "cpu_s", "peak_rss_mb", "samples"}
        assert len(values["samples"]) == 3
        assert all(sample["wall_s"] > 0 for sample in values["samples"])
    assert result["contenders"]["pytorch"]["peak_rss_mb"] == 80
    assert result["pytorch_over_smartrt"]["peak_rss_mb"] == 8


def test_contenders_get_bundle_source_and_query(contenders):
    script = "import sys; assert sys.argv[1:] == ['a.smartrt', 'source', 'how do I sort a list by a key?'], sys.argv\n"
    contenders(script + REPORT, script + HEAVY)
    assert measure()["query"] == coldstart.QUERY


def test_the_clock_covers_the_whole_process(contenders):
    contenders(pytorch=HEAVY + "import time; time.sleep(0.4)")
    result = measure()
    assert result["contenders"]["pytorch"]["wall_s"] > 0.4
    assert result["contenders"]["pytorch"]["cpu_s"] < 0.4
    assert result["pytorch_over_smartrt"]["wall_s"] > 1


def test_ratios_are_medians_of_the_ratios_within_a_round(monkeypatch):
    runs = {"smartrt": iter([9, 1, 2, 4]), "pytorch": iter([9, 8, 6, 4])}  # the first of each is the warm-up

    def start(name, *_):
        value = float(next(runs[name]))
        return {"wall_s": value, "cpu_s": 2 * value, "peak_rss_mb": 100 / value}, [1.0]

    monkeypatch.setattr(coldstart, "_start", start)
    result = measure(rounds=3)
    assert result["pytorch_over_smartrt"] == {"wall_s": 3.0, "cpu_s": 3.0, "peak_rss_mb": pytest.approx(1 / 3)}
    assert result["contenders"]["smartrt"]["wall_s"] == 2
    assert result["contenders"]["pytorch"]["wall_s"] == 6
    assert [run["wall_s"] for run in result["contenders"]["pytorch"]["samples"]] == [8, 6, 4]


def test_the_order_of_the_contenders_changes_between_rounds_and_is_the_same_every_time(monkeypatch):
    def order():
        started = []

        def start(name, *_):
            started.append(name)
            return dict.fromkeys(("wall_s", "cpu_s", "peak_rss_mb"), 1.0), [1.0]

        monkeypatch.setattr(coldstart, "_start", start)
        measure(rounds=9)
        return started

    first = order()
    assert first == order()
    assert {tuple(first[i : i + 2]) for i in range(0, 20, 2)} == {("smartrt", "pytorch"), ("pytorch", "smartrt")}


FAILURES = {
    "an exception": ("raise ValueError('no such model')", "ValueError: no such model"),
    "an exit code without a word": ("raise SystemExit(3)", "exit code 3"),
    "a signal": ("import os; os.kill(os.getpid(), 9)", "-9"),
    "complaints and then an error": ("import sys; print('one\\ntwo\\n', file=sys.stderr); sys.exit(1)", "two"),
    "no report": ("pass", "report"),
    "a report that is cut off": ("print('{')", "report"),
}


@pytest.mark.parametrize(("script", "mention"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("name", ["smartrt", "pytorch"])
def test_a_contender_that_fails_is_an_error_with_its_last_line(contenders, name, script, mention):
    contenders(**{name: script})
    with pytest.raises(EngineError) as caught:
        measure()
    message_of(caught.value, f"contender {name}", mention)


def test_a_contender_may_print_before_its_report(contenders):
    contenders(pytorch="print('Loading weights: 100%')\n" + HEAVY)
    assert measure()["contenders"]["pytorch"]["peak_rss_mb"] == 80


def test_a_contender_that_complains_much_does_not_block_the_measurement():
    """In a process of its own, which can be ended if it hangs."""
    noisy = "import sys; print('x' * 999_999, file=sys.stderr)\n" + REPORT
    script = (
        "import pathlib; from smartrt.benchmarks import coldstart;"
        f"coldstart.CONTENDERS = dict.fromkeys(('smartrt', 'pytorch'), {noisy!r});"
        "coldstart.measure(pathlib.Path('a.smartrt'), 'source', 1)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=10, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


VECTORS = {
    "another direction": "[0.8, 0.6]",
    "a difference just above the limit": "[0.60011, 0.8]",
    "another length": "[0.6, 0.8, 0.0]",
    "not a number": "[float('nan'), 0.8]",
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_vectors_that_differ_are_an_error(contenders, vector):
    contenders(pytorch=HEAVY.replace("[0.6, 0.8]", vector))
    with pytest.raises(EngineError) as caught:
        measure()
    message_of(caught.value, "the bundle and the checkpoint do not belong together")


def test_vectors_that_differ_by_rounding_agree(contenders):
    contenders(pytorch=HEAVY.replace("[0.6, 0.8]", "[0.60009, 0.79991]"))
    assert measure()["rounds"] == 1


def test_the_command_prints_json_and_a_table(capsys, contenders, tiny_path):  # noqa: ARG001
    arguments = ("bench", "coldstart", tiny_path, "--source", "some/checkpoint", "--rounds", "2")
    data = call(capsys, *arguments, "--json").json
    assert set(data) == {"machine", "bundle", "result"}
    assert data["result"]["rounds"] == 2
    finished = call(capsys, *arguments)
    assert (finished.code, finished.err) == (0, "")
    lines = [line.split() for line in finished.out.splitlines()]
    assert [line[0] for line in lines[1:]] == ["smartrt", "pytorch", "ratio"]
    assert [line[-1] for line in lines[1:]] == ["10", "80", "8.0x"]


def test_a_bundle_that_is_not_there_is_known_before_anything_starts(capsys, contenders):
    contenders(smartrt="raise ValueError('started')")
    refused(call(capsys, "bench", "coldstart", "a.smartrt", "--source", "source"), "a.smartrt is not a bundle")


def test_a_contender_that_fails_is_one_line_on_the_command_line(capsys, contenders, tiny_path):
    contenders(smartrt="raise ValueError('no such bundle')")
    finished = call(capsys, "bench", "coldstart", tiny_path, "--source", "source", "--rounds", "1")
    refused(finished, "contender smartrt failed: ValueError: no such bundle")


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_without_pytorch_the_command_says_what_to_install(capsys, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == name else find(module))
    finished = call(capsys, "bench", "coldstart", "a.smartrt", "--source", "source")
    refused(finished, name, "pip install 'smartrt[export]'")


def test_peak_memory_is_that_of_this_process_in_mebibytes():
    before = peak_rss_mb()
    block = bytearray(b"x") * (64 << 20)
    assert 10 < before <= peak_rss_mb() < 100_000
    assert peak_rss_mb() > 64
    del block


def test_the_description_of_the_machine_says_what_a_number_depends_on():
    about = describe()
    assert set(about) == {
        "command", "smartrt", "commit", "python", "cpu", "cores", "blas_kernels", "system", "load", "libraries",
    }  # fmt: skip
    assert len(about["load"]) == 3
    assert {"numpy", "tokenizers"} <= set(about["libraries"])


@pytest.mark.slow
def test_a_bundle_and_its_checkpoint_agree_and_another_checkpoint_is_refused(tmp_path):
    pytest.importorskip("torch", reason="the reference runs in PyTorch")
    import tiny_checkpoints
    from smartrt.export.pipeline import export

    own, other = (tiny_checkpoints.build(family, tmp_path / family) for family in ("bert", "electra"))
    bundle = export(str(own), tmp_path / "own.smartrt").path
    assert coldstart.measure(bundle, str(own), 1)["pytorch_over_smartrt"]["peak_rss_mb"] > 1
    with pytest.raises(EngineError, match="do not belong together"):
        coldstart.measure(bundle, str(other), 1)


@pytest.mark.slow
def test_a_bundle_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("torch", reason="the reference runs in PyTorch")
    with pytest.raises(EngineError) as caught:
        coldstart.measure(tmp_path / "no.smartrt", "minilm", 1)
    message_of(caught.value, "no.smartrt is not a bundle", "smartrt export")
