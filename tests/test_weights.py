"""Reading weights one at a time out of the files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_qwen_vl
from smartrt.errors import ExportError
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.load import load_backbone, weight_name
from smartrt.models.reference import load_config
from smartrt.models.weights import CheckpointWeights, float_copy
from support import message_of

TABLE = torch.arange(24, dtype=torch.float32).reshape(8, 3) / 7


def checkpoint_of(path: Path, **files: dict[str, torch.Tensor]) -> Checkpoint:
    """A checkpoint of these files, with an index if there are several."""
    path.mkdir()
    (path / "config.json").write_text("{}")
    for name, tensors in files.items():
        save_file(tensors, path / f"{name}.safetensors", {"format": "pt"})
    if "model" not in files:
        places = {key: f"{name}.safetensors" for name, tensors in files.items() for key in tensors}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return Checkpoint(path, path.name)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_qwen_vl.build("qwen3-vl-embedding", tmp_path_factory.mktemp("weights") / "c", dtype=torch.bfloat16)


def refused(*mentions, **arguments):
    with pytest.raises(ExportError) as caught:
        CheckpointWeights(**arguments)
    message_of(caught.value, *mentions)


# Reading.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_tensor_is_read_as_float32_and_a_table_as_it_is(tmp_path, dtype):
    stored = TABLE.to(dtype)
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": stored, "b": TABLE[0].clone()}))
    assert weights.dtype("a") == dtype
    torch.testing.assert_close(weights.read("a"), stored.float(), rtol=0, atol=0)
    torch.testing.assert_close(weights.read("b"), TABLE[0], rtol=0, atol=0)
    chunks = list(weights.chunks("a"))
    assert chunks[0].dtype == dtype
    assert torch.equal(torch.cat(chunks), stored)


def test_a_tensor_that_was_read_is_a_copy(tmp_path):
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": TABLE}))
    weights.read("a").zero_()
    next(weights.chunks("a")).zero_()
    assert torch.equal(weights.read("a"), TABLE)


@pytest.mark.parametrize(
    "values", [TABLE.T, TABLE[:0], TABLE[0, 0], TABLE.half()], ids=["turned", "empty", "one", "half"]
)
def test_a_float_copy_is_contiguous_and_ones_own(values):
    copy = float_copy(values)
    assert copy.is_contiguous()
    assert copy.dtype == torch.float32
    assert torch.equal(copy, values.float())
    copy.zero_()
    assert values.numel() == 0 or values.dtype != torch.float32 or copy.data_ptr() != values.data_ptr()


def test_a_table_comes_in_several_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("smartrt.models.weights._CHUNK_BYTES", 3 * TABLE.element_size() * TABLE.shape[1])
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": TABLE}))
    assert [len(chunk) for chunk in weights.chunks("a")] == [3, 3, 2]
    assert torch.equal(torch.cat(list(weights.chunks("a"))), TABLE)


@pytest.mark.parametrize("ids", [[[5, 0, 5, 7]], [[1], [2]], [[]]])
def test_rows_are_those_of_the_table(tmp_path, ids):
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": TABLE.bfloat16()}))
    wanted = torch.tensor(ids, dtype=torch.int64)
    assert torch.equal(weights.rows("a", wanted), TABLE.bfloat16().float()[wanted])


@pytest.mark.parametrize("number", [-1, 8])
def test_a_row_outside_of_the_table_is_an_error(tmp_path, number):
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": TABLE}))
    with pytest.raises(ExportError) as caught:
        weights.rows("a", torch.tensor([number]))
    message_of(caught.value, "8 rows", str(number))


def test_tensors_of_several_files_are_found_by_the_index(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "c", one={"a": TABLE}, two={"b": TABLE + 1})
    save_file({"a": TABLE}, checkpoint.path / "unused.safetensors")
    weights = CheckpointWeights(checkpoint)
    assert torch.equal(weights.read("b"), TABLE + 1)
    assert weights.stored("a").file.name == "one.safetensors"


def test_the_single_file_goes_before_an_index(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "c", one={"a": TABLE})
    save_file({"a": TABLE + 1}, checkpoint.path / "model.safetensors")
    assert torch.equal(CheckpointWeights(checkpoint).read("a"), TABLE + 1)


# Names.


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("language_model.norm.weight", "language_model.norm.weight"),
        ("model.visual.merger.norm.weight", "visual.merger.norm.weight"),
        ("visual.blocks.0.attn.qkv.bias", "visual.blocks.0.attn.qkv.bias"),
        ("model.layers.1.self_attn.q_proj.bias", "language_model.layers.1.self_attn.q_proj.bias"),
        ("model.embed_tokens.weight", "language_model.embed_tokens.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_a_key_of_every_convention_has_the_models_name(key, name):
    assert weight_name(key) == name


def test_the_first_qwen2_vl_convention_is_the_one_transformers_renames(tmp_path):
    import re

    from transformers import Qwen2VLForConditionalGeneration

    path = tiny_qwen_vl.build("gme", tmp_path / "c")
    for key in load_file(path / "model.safetensors"):
        theirs = key
        for pattern, replacement in Qwen2VLForConditionalGeneration._checkpoint_conversion_mapping.items():
            theirs, found = re.subn(pattern, replacement, theirs)
            if found:
                break
        assert weight_name(key) == theirs.removeprefix("model.")


@pytest.mark.parametrize("preset", ["qwen3-vl-embedding", "gme"])
@pytest.mark.parametrize(
    ("visual", "text"),
    [
        ("visual.", "language_model."),
        ("model.visual.", "model.language_model."),
        ("visual.", "model."),
    ],
)
def test_a_checkpoint_is_the_same_under_every_convention(tmp_path, preset, visual, text):
    path = tiny_qwen_vl.build(preset, tmp_path / "c")
    found = Checkpoint.resolve(str(path))
    expected = {weight_name(key): values for key, values in load_file(path / "model.safetensors").items()}
    renamed = {
        name.replace("visual.", visual, 1) if name.startswith("visual.") else name.replace("language_model.", text, 1)
        for name in expected
    }
    assert len(renamed) == len(expected)
    places = {weight_name(key): key for key in renamed}
    save_file({places[name]: values for name, values in expected.items()}, path / "model.safetensors", {"format": "pt"})
    weights = load_backbone(found, load_config(found)).weights
    assert all(torch.equal(weights.read(name), values) for name, values in expected.items())


# What is refused.


def test_a_name_that_two_keys_have_is_refused(tmp_path):
    keys = "model.norm.weight", "language_model.norm.weight"
    checkpoint = checkpoint_of(tmp_path / "c", model={key: TABLE.clone() for key in keys})
    refused("language_model.norm.weight twice", "model.norm.weight", checkpoint=checkpoint, name_of=weight_name)


@pytest.mark.parametrize("kept", [0, 5, 30, -1])
def test_a_file_that_was_cut_is_refused(tmp_path, kept):
    checkpoint = checkpoint_of(tmp_path / "c", model={"a": TABLE})
    file = checkpoint.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused("cannot load c", "model.safetensors", checkpoint=checkpoint)


def test_a_file_that_the_index_names_and_is_not_there_is_refused(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "c", one={"a": TABLE}, two={"b": TABLE})
    (checkpoint.path / "two.safetensors").unlink()
    refused("cannot load c", "two.safetensors", "not there", checkpoint=checkpoint)


def test_files_without_an_index_are_refused(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "c", one={"a": TABLE})
    (checkpoint.path / "model.safetensors.index.json").unlink()
    refused("cannot load c", "neither model.safetensors", checkpoint=checkpoint)


def test_types_that_are_no_plain_floats_are_refused_by_their_name(tmp_path):
    weights = CheckpointWeights(checkpoint_of(tmp_path / "c", model={"a": TABLE.to(torch.float8_e4m3fn)}))
    for use in (weights.read, weights.dtype, lambda name: next(weights.chunks(name))):
        with pytest.raises(ExportError) as caught:
            use("a")
        message_of(caught.value, "stores a as F8_E4M3", "BF16")


def damage(source, path, change):
    """A copy of a checkpoint with changed weights, loaded."""
    weights = load_file(source / "model.safetensors")
    change(weights)
    path.mkdir()
    for file in source.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    found = Checkpoint.resolve(str(path))
    with pytest.raises(ExportError) as caught:
        load_backbone(found, load_config(found))
    return caught.value


def test_missing_weights_are_counted_and_the_first_is_named(tmp_path, source):
    def without_norms(weights):
        for key in [key for key in weights if "merger.norm" in key]:
            del weights[key]

    message_of(damage(source, tmp_path / "c", without_norms), "lacks 2 weights of Qwen3VLModel", "visual.merger.norm.")


def test_a_weight_of_another_shape_is_refused(tmp_path, source):
    key = "model.language_model.norm.weight"

    def shorter(weights):
        weights[key] = weights[key][:-1].clone()

    message_of(damage(source, tmp_path / "c", shorter), "cannot load c", key, "[31]", "[32]")


def test_a_quantised_weight_is_refused(tmp_path, source):
    key = "model.language_model.layers.0.mlp.up_proj.weight"

    def quantised(weights):
        weights[key] = weights[key].to(torch.float8_e4m3fn)

    message_of(damage(source, tmp_path / "c", quantised), key, "F8_E4M3")
