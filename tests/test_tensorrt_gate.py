"""Every kind of graph that the exporter writes, through TensorRT's own parser and compiler. No GPU takes part.

`make test-tensorrt` prepares build/tensorrt (tests/gates/tensorrt.sh says what that is) and runs this. Each graph is
compiled as `smartrt build` compiles it, in a process of its own. What plans compute is not tested here: loading one
needs a driver.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import tiny_checkpoints
import tiny_qwen_vl
from calibrating import write_items
from smartrt.bundle import Bundle
from smartrt.engines.axes import axes_of
from smartrt.export.pictures import picture
from smartrt.export.pipeline import export
from smartrt.export.wanted import Wanted
from smartrt.tensorrt.request import CompileRequest, Profile

GATE = os.environ.get("SMARTRT_TENSORRT", "")

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(not GATE, reason="SMARTRT_TENSORRT names no prepared folder; run `make test-tensorrt`"),
]

DIALECTS = ("portable", "fused")
"""Dialects of operators that are compiled; every test of a graph runs in each."""

ENCODERS = tuple(tiny_checkpoints.FAMILIES)
VISION_LANGUAGE = ("qwen3-vl-embedding", "gme")
"""One preset of each architecture: Qwen3-VL and Qwen2-VL."""

WIDE = {"fp32": Wanted("fp32"), "fp16": Wanted("fp16")}
NARROW = {
    "int8-static": Wanted("int8-static", compute="fp16"),
    "w8": Wanted("w8", compute="fp16"),
    "int4": Wanted("int4", compute="fp16"),
}
CRASHES = {("albert", "w8"): "TensorRT-RTX 1.7.1 merges products of one input that also share codes, and crashes"}
"""What ends this compiler, whose layers share their weights. The test says so when another one does not."""

SIZES = {"batch": (1, 2, 4), "length": (1, 8, 16), "image": (1, 1, 2), "block": (1, 4, 8), "row": (1, 4, 16)}
"""Least, usual and largest size of each named axis in the first profile; the second doubles the last two."""


@dataclass(frozen=True)
class Made:
    """What a compiler process left: exit code, events, and the plan's size (0 for none)."""

    code: int
    events: list[dict]
    plan: int

    @property
    def last(self):
        return self.events[-1]


def compile_graph(bundle: Bundle, graph: str, directory: Path, **options) -> Made:
    """Compile one graph of a bundle with two profiles, in a process of its own."""
    directory.mkdir(exist_ok=True)
    entry, plan = bundle.manifest.graphs[graph], directory / f"{graph}.plan"
    axes = {name: axes for name, axes in axes_of(bundle.manifest, graph).items() if name in entry.inputs}
    request = CompileRequest(
        str(bundle.path / entry.path), str(plan), options.pop("timing_cache", None),
        tuple(profile_of(axes, times) for times in (1, 2)), **options,
    )  # fmt: skip
    request.write(directory / f"{graph}.json")
    command = [f"{GATE}/python", "-m", "smartrt.tensorrt.compile", directory / f"{graph}.json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert events, finished.stderr
    return Made(finished.returncode, events, plan.stat().st_size if plan.is_file() else 0)


def profile_of(axes: dict[str, tuple[str | int, ...]], times: int) -> Profile:
    scales = (1, times, times)

    def shape(named: tuple[str | int, ...], which: int) -> tuple[int, ...]:
        return tuple(SIZES[axis][which] * scales[which] if isinstance(axis, str) else axis for axis in named)

    return Profile({name: (shape(named, 0), shape(named, 1), shape(named, 2)) for name, named in axes.items()})


def accepted(bundle: Bundle, directory: Path) -> None:
    for graph in bundle.manifest.graphs:
        made = compile_graph(bundle, graph, directory)
        assert (made.code, made.last["event"]) == (0, "done"), (graph, made.last)
        assert made.last["plan_bytes"] == made.plan > 0
        assert made.last["layers"] > 100
        assert {event["name"] for event in made.events if event["event"] == "phase"} >= {"Building engine"}


def calibrated(wanted: Wanted, items: Path) -> Wanted:
    scheme = wanted.scheme()
    return Wanted(wanted.precision, compute=wanted.compute, calibrate=items if scheme.calibrated else None)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A checkpoint whose token table is large enough to be narrowed, and items to calibrate on."""
    directory = tmp_path_factory.mktemp("bert")
    checkpoint = tiny_checkpoints.build("bert", directory / "bert", vocabulary=600)
    return str(checkpoint), write_items(directory / "items.jsonl")


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    checkpoint = tiny_checkpoints.build(request.param, directory / request.param, vocabulary=600)
    return request.param, str(checkpoint), write_items(directory / "items.jsonl")


@pytest.mark.parametrize("wanted", (WIDE | NARROW).values(), ids=WIDE | NARROW)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_encoder_is_accepted(encoder, wanted, dialect, tmp_path, request):
    family, checkpoint, items = encoder
    if reason := CRASHES.get((family, wanted.precision)):
        request.applymarker(pytest.mark.xfail(reason=reason))
    bundle = export(checkpoint, tmp_path / "x.smartrt", wanted=calibrated(wanted, items), dialect=dialect)
    accepted(bundle, tmp_path / "plans")


@pytest.fixture(scope="module", params=VISION_LANGUAGE)
def vision_language(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    items = write_items(directory / "items.jsonl")
    lines = []
    for i in range(4):
        picture(64 + 32 * i, 96, i).save(directory / f"{i}.png")
        lines.append(json.dumps({"id": f"p{i}", "image": f"{i}.png"}) + "\n")
    items.write_text(items.read_text() + "".join(lines))
    return request.param, str(tiny_qwen_vl.build(request.param, directory / "checkpoint")), items


@pytest.mark.parametrize("wanted", (WIDE | NARROW).values(), ids=WIDE | NARROW)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_vision_and_decoder_are_accepted(vision_language, wanted, dialect, tmp_path):
    preset, checkpoint, items = vision_language
    bundle = export(
        checkpoint, tmp_path / "x.smartrt", wanted=calibrated(wanted, items), preset=preset, dialect=dialect
    )
    assert set(bundle.manifest.graphs) == {"vision", "decoder"}
    accepted(bundle, tmp_path / "plans")


@pytest.mark.parametrize(
    ("precision", "kind", "mentions"),
    [
        ("int8", "parse", ["QuantizeLinear '/backbone/encoder/layer.0/", "--precision int8-static"]),
        ("w8", "build", ["embeddings.word_embeddings.weight.codes", "--compute fp16"]),
        ("int4", "build", ["embeddings.word_embeddings.weight.codes", "--compute fp16"]),
    ],
)
def test_a_precision_for_cpus_is_refused_with_the_way_out(bert, precision, kind, mentions, tmp_path):
    checkpoint, items = bert
    bundle = export(checkpoint, tmp_path / "x.smartrt", wanted=Wanted(precision, calibrate=items))
    made = compile_graph(bundle, "encoder", tmp_path / "plans")
    assert (made.code, made.plan, made.last["kind"]) == (1, 0, kind)
    for mention in mentions:
        assert mention in made.last["message"]


def test_four_bits_stay_four_bits_in_the_plan(tmp_path, monkeypatch):
    """Weights of 14 million products: 28 MB in float16, 7 MB and their scales in int4."""
    small = tiny_checkpoints.FAMILIES["bert"]
    config = lambda **given: small.config(**given | {"hidden_size": 768, "intermediate_size": 3072})  # noqa: E731
    monkeypatch.setitem(tiny_checkpoints.FAMILIES, "large", replace(small, config=config))
    monkeypatch.setattr(tiny_checkpoints, "HIDDEN", 768)
    checkpoint = tiny_checkpoints.build("large", tmp_path / "large")
    plans = {}
    for name, wanted in {"fp16": Wanted("fp16"), "int4": Wanted("int4", "nearest", "fp16")}.items():
        bundle = export(str(checkpoint), tmp_path / f"{name}.smartrt", wanted=wanted)
        plans[name] = compile_graph(bundle, "encoder", tmp_path / name)
        assert plans[name].code == 0, plans[name].last
    assert plans["fp16"].plan > 28_000_000
    assert plans["int4"].plan < plans["fp16"].plan - 16_000_000


def test_options_and_a_timing_cache_are_taken_and_a_damaged_one_is_measured_again(tiny_path, tmp_path):
    cache = tmp_path / "times"
    options = {"timing_cache": str(cache), "workspace_bytes": 1 << 28, "optimization_level": 1, "tf32": True}
    bundle = Bundle.open(tiny_path)
    first = compile_graph(bundle, "encoder", tmp_path, **options)
    assert (first.code, [event for event in first.events if event["event"] == "note"]) == (0, [])
    assert cache.stat().st_size > 0
    cache.write_bytes(b"damaged" * 20)
    again = compile_graph(bundle, "encoder", tmp_path, **options)
    assert again.code == 0
    assert any("kernels are measured again" in event.get("message", "") for event in again.events)
    assert not cache.read_bytes().startswith(b"damaged")


def test_a_profile_that_the_graph_cannot_have_is_refused(tiny_path, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "length", (1, 1 << 10, 1 << 12))  # it has fewer positions
    made = compile_graph(Bundle.open(tiny_path), "encoder", tmp_path)
    assert (made.code, made.plan, made.last["kind"]) == (1, 0, "request")
    assert "ask for smaller shapes" in made.last["message"]
