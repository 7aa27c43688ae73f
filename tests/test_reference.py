"""The PyTorch reference against sentence-transformers, which it must reproduce."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_checkpoints
from smartrt.errors import ExportError
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference

sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the independent reference comes with the demo package"
)
# Texts that hold special tokens are left out: there they are control tokens, here they are text.
TEXTS = [text for text in QUERIES + DOCUMENTS if "[SEP]" not in text]


def _load(path: Path, **overrides: object) -> Reference:
    return Reference.load(Checkpoint.resolve(str(path)), Recipe.read(path).override(**overrides))


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "mpnet", "qwen3"])
@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "raw"])
def test_pooled_vectors_are_those_of_sentence_transformers(tmp_path: Path, family: str, normalize: bool) -> None:
    path = tiny_checkpoints.build(family, tmp_path / family, normalize=normalize)
    theirs = sentence_transformers.SentenceTransformer(str(path), device="cpu")
    ours = _load(path)
    np.testing.assert_allclose(ours.encode(TEXTS, "query").pooled, theirs.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(ours.encode(TEXTS, "document").pooled, theirs.encode_document(TEXTS), atol=1e-5)


def test_minilm_is_that_of_sentence_transformers() -> None:
    checkpoint = Checkpoint.resolve("minilm")
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint.path), device="cpu")
    ours = Reference.load(checkpoint, Recipe.read(checkpoint.path))
    np.testing.assert_allclose(ours.encode(TEXTS, "query").pooled, theirs.encode(TEXTS), atol=1e-6)


def test_token_states_are_the_normalised_last_hidden_states(tmp_path: Path) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    theirs = sentence_transformers.SentenceTransformer(str(path), device="cpu")
    states = theirs.encode("sort a list", output_value="token_embeddings")[1:-1].numpy()  # without [CLS] and [SEP]
    expected = states / np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(_load(path).encode(["sort a list"], "query").tokens[0], expected, atol=1e-6)


def test_unknown_words_take_part_and_special_tokens_do_not(tmp_path: Path) -> None:
    reference = _load(tiny_checkpoints.build("bert", tmp_path / "bert"))
    names = {reference.tokenizer.convert_ids_to_tokens(i) for i in reference.dropped_ids()}
    assert names == {"[PAD]", "[CLS]", "[SEP]", "[MASK]"}


def test_a_checkpoint_with_missing_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    weights = load_file(path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match=r"lacks 1 weights of BertModel \(first: encoder.layer.1.output.dense.weight"):
        _load(path)


def test_a_checkpoint_without_the_unused_pooler_loads(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    before = _load(path).encode(["sort a list"], "query").pooled
    weights = {name: value for name, value in load_file(path / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(_load(path).encode(["sort a list"], "query").pooled, before)


@pytest.mark.parametrize("length", [0, 65], ids=["zero", "more than the positions"])
def test_a_max_length_outside_the_models_positions_is_refused(tmp_path: Path, length: int) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    with pytest.raises(ExportError, match=f"max length {length} is outside 1 to 64"):
        _load(path, max_length=length)


def test_a_checkpoint_without_a_named_pooling_asks_for_it(tmp_path: Path) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    (path / "modules.json").unlink()
    with pytest.raises(ExportError, match="--pooling"):
        _load(path)
    assert _load(path, pooling="mean").recipe.max_length == 64


@pytest.mark.parametrize("source", ["no/such/directory/here", "nosuchmodel"])
def test_an_unknown_source_is_refused(source: str) -> None:
    with pytest.raises(ExportError, match="is no checkpoint"):
        Checkpoint.resolve(source)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ExportError, match="safetensors"):
        _load(path)


def test_a_hub_id_is_downloaded_without_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    asked: dict[str, object] = {}

    def download(source: str, **options: object) -> str:
        asked.update(options, source=source)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint = Checkpoint.resolve("some-org/some-model", "v2")
    assert (checkpoint.path, checkpoint.name, checkpoint.revision) == (path, "some-org/some-model", "v2")
    assert (asked["source"], asked["revision"]) == ("some-org/some-model", "v2")
    assert not [pattern for pattern in asked["allow_patterns"] if "bin" in pattern or pattern == "*"]


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Cannot find it on disk. Check your connection\nand try again.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        ExportError, match=r"cannot download 'some-org/some-model' \(Cannot find it on disk\)"
    ) as caught:
        Checkpoint.resolve("some-org/some-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [None, "{", '{"model_type": "nobody-knows"}'], ids=["missing", "no JSON", "unknown"]
)
def test_a_config_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    (path / "config.json").unlink()
    if content is not None:
        (path / "config.json").write_text(content)
    with pytest.raises(ExportError, match=r"config\.json") as caught:
        _load(path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_cut_off_are_one_line(tmp_path: Path) -> None:
    path = tiny_checkpoints.build("bert", tmp_path / "bert")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ExportError, match="cannot load bert") as caught:
        _load(path)
    assert "\n" not in str(caught.value)
