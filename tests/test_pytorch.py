"""PyTorch as `smartrt bench` times it: the vectors of the reference, in every family and kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_checkpoints
import tiny_qwen_vl
from smartrt import Bundle
from smartrt.benchmarks.pytorch import KINDS, check_kind, open_pytorch
from smartrt.errors import MissingDependencyError, OptionError
from smartrt.export import pipeline
from smartrt.export.pictures import picture_items
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.presets import PRESETS
from support import message_of

NEAR = {"fp32": 1e-5, "bf16": 0.2}
TEXT = ("bert", "qwen3", "modernbert")
QUICK = ("bert", "qwen3-vl-embedding", "gme")  # both ways of pooling, both ways of feeding a language model


@pytest.fixture(
    scope="module",
    params=[
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in (*TEXT, *tiny_qwen_vl.PRESET_NAMES)
    ],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, exported_preset: Callable[..., Any]
) -> tuple[str, Path, Bundle]:
    """Family or preset, checkpoint, bundle."""
    name = request.param
    if name in TEXT:
        directory = tmp_path_factory.mktemp(name)
        checkpoint = tiny_checkpoints.build(name, directory / "checkpoint")
        return name, checkpoint, pipeline.export(str(checkpoint), directory / "tiny.smartrt")
    checkpoint, bundle = exported_preset(name)
    return name, checkpoint, Bundle.open(bundle)


def items_of(name: str) -> dict[str, list[Any]]:
    """Both sides' items, pictures among them where the family sees."""
    if name in TEXT:
        return {"query": list(QUERIES), "document": list(DOCUMENTS)}
    return {side: list(items) for side, items in picture_items(PRESETS[name].max_images).items()}


def reference_of(checkpoint: Path, bundle: Bundle) -> Any:
    family, _ = pipeline._family(Checkpoint.resolve(str(checkpoint)), {})
    return family.load(Checkpoint.resolve(str(checkpoint)), family.options_of(bundle.manifest), None, None)


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("side", ["query", "document"])
def test_it_gives_the_vectors_of_the_reference(exported: tuple[str, Path, Bundle], kind: str, side: Any) -> None:
    name, checkpoint, bundle = exported
    items = items_of(name)[side]
    truth = reference_of(checkpoint, bundle)
    found = open_pytorch(str(checkpoint), kind, bundle.manifest).encode(items, side)
    wanted = [truth.encode([item], side) for item in items]
    for row, one in enumerate(wanted):
        assert np.abs(found.pooled[row] - one.pooled[0]).max() < NEAR[kind]
        assert found.tokens[row].shape == one.tokens[0].shape
        assert np.abs(found.tokens[row] - one.tokens[0]).max() < NEAR[kind]


def test_the_attention_is_what_transformers_chooses_itself(exported: tuple[str, Path, Bundle]) -> None:
    name, checkpoint, bundle = exported
    opened: Any = open_pytorch(str(checkpoint), "fp32", bundle.manifest)
    model = opened.encoder.backbone if name in TEXT else opened._reference.backbone.model
    parts = [model] if name in TEXT else [model, model.visual, model.language_model]
    assert {part.config._attn_implementation for part in parts} == {"sdpa"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_encoder_gives_the_same_vectors(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "checkpoint")
    bundle = pipeline.export(str(checkpoint), tmp_path / "tiny.smartrt")
    plain, compiled = (open_pytorch(str(checkpoint), kind, bundle.manifest) for kind in ("fp32", "compile"))
    one, other = (each.encode(list(QUERIES), "query") for each in (plain, compiled))
    np.testing.assert_allclose(one.pooled, other.pooled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.tokens.values, other.tokens.values, rtol=0, atol=1e-5)


def test_another_checkpoint_than_the_bundle_came_from_is_refused(tmp_path: Path, tiny_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("mpnet", tmp_path / "checkpoint")
    with pytest.raises(OptionError) as caught:
        open_pytorch(str(checkpoint), "fp32", Bundle.open(tiny_path).manifest)
    message_of(caught.value, str(checkpoint), "does not hold the weights", "tiny", "--source")


@pytest.mark.parametrize(
    ("kind", "device", "mentions"),
    [
        ("fp8", "cpu", ("'fp8'", *KINDS)),
        ("fp16", "cpu", ("float16", "cuda", "not on cpu")),
        ("fp32", "tpu", ("'tpu'", "cuda:N")),
    ],
    ids=["kind", "float16 on a CPU", "device"],
)
def test_what_cannot_run_is_refused(kind: str, device: str, mentions: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        check_kind(kind, device)
    message_of(caught.value, *mentions)


def test_a_missing_compiler_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependencyError) as caught:
        check_kind("compile")
    message_of(caught.value, "C++ compiler", "g++")


def test_a_missing_gpu_is_said_before_anything_runs() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        check_kind("fp16", "cuda:0")
    message_of(caught.value, "cuda:0", "CUDA build")
