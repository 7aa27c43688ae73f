"""Random checkpoints: the same bytes for the same seed, loadable, and with a tokenizer that leaves room for words."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open

from commandline import call, refused
from smartrt.benchmarks.checkpoint import write
from smartrt.benchmarks.checkpoint.sizes import SIZES
from smartrt.benchmarks.checkpoint.write import checkpoint_bytes, write_checkpoint
from smartrt.errors import InputError, OptionError, StorageError
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.load import load_backbone
from smartrt.models.reference import load_config


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint. Read only."""
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    assert write_checkpoint("tiny", directory) == checkpoint_bytes("tiny")
    return directory


def hashes(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tiny: Path, tmp_path: Path) -> None:
    write_checkpoint("tiny", tmp_path / "again")
    write_checkpoint("tiny", tmp_path / "other", seed=1)
    assert hashes(tmp_path / "again") == hashes(tiny)
    different = {name for name, value in hashes(tmp_path / "other").items() if value != hashes(tiny)[name]}
    assert different == {path.name for path in tiny.glob("*.safetensors")}


def test_weights_do_not_depend_on_how_they_are_cut_into_files_or_made_by_threads(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_SHARD_BYTES", 1 << 16)
    monkeypatch.setattr(write, "_MOST_THREADS", 3)
    done: list[int] = []
    total = write_checkpoint("tiny", tmp_path / "cut", advance=done.append)
    files = sorted((tmp_path / "cut").glob("*.safetensors"))
    assert len(files) == len(done) > 3
    assert sum(done) == total
    (whole,) = tiny.glob("*.safetensors")
    with safe_open(whole, "pt") as one:
        for path in files:
            with safe_open(path, "pt") as part:
                for name in part.keys():  # noqa: SIM118  (it is no dictionary)
                    assert torch.equal(part.get_tensor(name), one.get_tensor(name))


def test_what_is_written_is_what_transformers_and_the_exporter_load(tiny: Path) -> None:
    checkpoint = Checkpoint.resolve(str(tiny))
    backbone = load_backbone(checkpoint, load_config(checkpoint))
    config = backbone.config
    ids = [config.image_token_id, config.video_token_id, config.vision_start_token_id, config.vision_end_token_id]
    assert len(set(ids)) == 4
    assert backbone.tokenizer.convert_tokens_to_ids("<|image_pad|>") == config.image_token_id
    table = backbone.weights.read("language_model.embed_tokens.weight")
    assert table.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(backbone.weights.read("language_model.norm.weight"), torch.ones(64))


def test_a_query_of_32_tokens_has_room_for_words_besides_the_template(tiny: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    template = (
        "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert len(tokenizer(template)["input_ids"]) <= 22
    assert tokenizer.decode(tokenizer("naïve ☃")["input_ids"]) == "naïve ☃"


def test_2b_and_8b_are_as_large_as_the_published_models_without_a_second_head() -> None:
    assert checkpoint_bytes("2b") / 2 == pytest.approx(2.13e9, rel=0.01)
    assert checkpoint_bytes("8b") / 2 == pytest.approx(8.14e9, rel=0.01)
    layer = 2 * 2048 * 2048 + 2 * 2048 * 1024 + 3 * 2048 * 6144
    assert layer == 50_331_648
    assert math.prod((28, layer)) < checkpoint_bytes("2b") / 2


def test_a_processor_that_is_given_is_taken_and_its_ids_with_it(tiny: Path, tmp_path: Path) -> None:
    processor = tmp_path / "processor"
    processor.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json"):
        shutil.copyfile(tiny / name, processor / name)
    write_checkpoint("tiny", tmp_path / "made", processor=processor)
    assert (tmp_path / "made" / "tokenizer.json").read_bytes() == (tiny / "tokenizer.json").read_bytes()
    assert hashes(tmp_path / "made")["config.json"] == hashes(tiny)["config.json"]


def test_what_cannot_be_made_leaves_nothing_behind(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="2b, 8b, tiny"):
        write_checkpoint("3b", tmp_path / "made")
    with pytest.raises(InputError, match="no directory"):
        write_checkpoint("tiny", tmp_path / "made", processor=tmp_path / "nowhere")
    with pytest.raises(StorageError, match="exists already"):
        write_checkpoint("tiny", tiny)
    monkeypatch.setitem(SIZES["tiny"].text, "vocab_size", 300)
    with pytest.raises(OptionError, match="300 rows"):
        write_checkpoint("tiny", tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_one_and_says_how_large_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = call(capsys, "bench", "checkpoint", "tiny", tmp_path / "made", "--json")
    assert (made.code, made.json["bytes"]) == (0, checkpoint_bytes("tiny"))
    refused(call(capsys, "bench", "checkpoint", "tiny", tmp_path / "made"), "exists already")
    assert call(capsys, "bench", "checkpoint", "3b", tmp_path / "other").code == 2


@pytest.mark.parametrize(("name", "mention"), [("nowhere", "is no directory"), ("empty", "holds no tokenizer_config")])
def test_a_processor_that_is_none_is_one_line_and_nothing_is_written(capsys, tmp_path, name, mention):
    (tmp_path / "empty").mkdir()
    refused(call(capsys, "bench", "checkpoint", "tiny", tmp_path / "c", "--processor", tmp_path / name), mention)
    assert not (tmp_path / "c").exists()
