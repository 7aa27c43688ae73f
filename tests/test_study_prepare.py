"""A study is refused before anything is measured, and takes the bundles that were exported before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency_runs import TINY, Steps
from smartrt import Encoder
from smartrt.benchmarks.study.config import Config, Entry
from smartrt.benchmarks.study.run import Study
from smartrt.errors import BundleError, InputError, MissingDependencyError, OptionError, SmartrtError, StorageError
from smartrt.models.checkpoint import Checkpoint
from study_runs import entry, small_config, write_set
from support import flip_bit, message_of, set_key


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "made_up")


@pytest.fixture
def config(data: Path) -> Callable[..., Config]:
    return lambda *entries, **changes: small_config(data, *entries, **changes)


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts fails the test, but for git; and so do texts that are encoded."""
    popen = subprocess.Popen

    def refuse(command: Any, *given: Any, **options: Any) -> Any:
        return popen(command, *given, **options) if command[0] == "git" else pytest.fail(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(Encoder, "embed", lambda *_, **__: pytest.fail("texts were encoded"))


def refused(error: type[SmartrtError], config: Config, output: Path, *mentions: str) -> None:
    with pytest.raises(error) as caught:
        Study.prepare(config, output, Steps())
    message_of(caught.value, *mentions)


@pytest.mark.usefixtures("nothing_starts")
def test_what_is_wrong_is_refused_before_anything_is_measured(config: Any, tiny_copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(InputError, config(sets=("nothing",)), out, "'nothing'", "stdlib-functions")
    refused(BundleError, config(entry("a", tmp_path / "none.smartrt")), out, "none.smartrt")
    refused(OptionError, config(entry("a", engine="warp")), out, "'warp'")
    refused(OptionError, config(entry("a", options={"dleay": 1})), out, "'dleay'")
    refused(OptionError, config(entry("a"), entry("a")), out, "twice", "a, a")
    refused(OptionError, config(reference="nobody"), out, "'nobody'")
    refused(OptionError, config(queries=("1x2",)), out, "query 1x2")
    refused(OptionError, config(documents=("1x64x64",)), out, "takes no images")
    refused(OptionError, config(entry("a"), entry("b", tiny_copy)), out, "both called tiny")
    set_key(tiny_copy / "manifest.json", "name", "other")
    set_key(tiny_copy / "manifest.json", "source/weights_sha256", "0" * 64)
    refused(OptionError, config(entry("a"), entry("b", tiny_copy)), out, "different checkpoints")
    flip_bit(tiny_copy / "encoder.onnx.data")
    refused(BundleError, config(entry("a"), entry("b", tiny_copy)), out, "encoder.onnx.data")
    (tmp_path / "file").touch()
    refused(StorageError, config(), tmp_path / "file", "file")


@pytest.mark.usefixtures("nothing_starts")
def test_a_missing_library_is_refused_before_anything_is_measured(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = Entry("torch", pytorch="fp32")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        asked = config(entry("a"), torch, source="minilm")
        refused(MissingDependencyError, asked, tmp_path / "out", "torch", "pip install")
    monkeypatch.delitem(sys.modules, "smartrt.engines.ort", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(MissingDependencyError, config(entry("a", engine="ort")), tmp_path / "out", "onnxruntime", "pip install")


@pytest.mark.parametrize("what", ["bm25s", "scipy", "a set twice", "too few dimensions", "a baseline that may be none"])
@pytest.mark.usefixtures("nothing_starts")
def test_what_accuracy_refuses_is_refused_before_anything_is_measured(
    config: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    asked = {
        "bm25s": lambda: config(),
        "scipy": lambda: config(entry("a", kept="int8, pool 2")),
        "a set twice": lambda: config(sets=(str(data), str(data))),
        "too few dimensions": lambda: config(entry("a"), entry("b", kept="int16, pca 128")),
        "a baseline that may be none": lambda: config(entry("a", kept="int16, pca 128")),
    }[what]()
    if what == "bm25s":
        monkeypatch.setitem(sys.modules, "bm25s", None)
    if what == "scipy":
        monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    with pytest.raises(SmartrtError):
        Study.prepare(asked, tmp_path / "out", Steps())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What looks like a checkpoint, and is not what tiny.smartrt came from."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(bytes(8))
    return directory


def test_a_bundle_that_was_exported_before_is_found(config: Any, tmp_path: Path, checkpoint: Path) -> None:
    exported = Path(shutil.copytree(TINY, tmp_path / "out" / "bundles" / "fp32.smartrt"))
    weights = Checkpoint.resolve(str(checkpoint)).weights_sha256()
    set_key(exported / "manifest.json", "source/weights_sha256", weights)
    asked = config(Entry("a", precision="fp32", engine="fake"), source=str(checkpoint))
    assert Study.prepare(asked, tmp_path / "out", Steps()).bundles == {"a": exported}


@pytest.mark.usefixtures("nothing_starts")
def test_a_bundle_of_another_checkpoint_is_not_taken_for_an_export(
    config: Any, tmp_path: Path, checkpoint: Path
) -> None:
    shutil.copytree(TINY, tmp_path / "out" / "bundles" / "fp32.smartrt")
    asked = config(Entry("a", precision="fp32", engine="fake"), source=str(checkpoint))
    refused(SmartrtError, asked, tmp_path / "out", "fp32.smartrt")


def test_something_else_where_an_export_should_be_is_refused(config: Any, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "out" / "bundles" / "int8.smartrt")
    asked = config(Entry("a", precision="int8", engine="fake"), source="minilm")
    refused(StorageError, asked, tmp_path / "out", "int8.smartrt", "int8", "remove it")


@pytest.mark.usefixtures("nothing_starts")
def test_a_directory_that_holds_something_else_is_refused_and_left_as_it_is(config: Any, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text("mine", encoding="utf-8")
    refused(SmartrtError, config(), tmp_path, "no study", "new directory")
    assert (tmp_path / "queries.jsonl").read_text(encoding="utf-8") == "mine"
