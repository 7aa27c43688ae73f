"""Reading what sentence-transformers writes beside a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smartrt.errors import ExportError
from smartrt.models.recipe import Recipe
from tiny_checkpoints import write_sentence_transformers_files


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_lengths_and_normalisation_are_read(tmp_path: Path, pooling: str) -> None:
    write_sentence_transformers_files(tmp_path, pooling, {}, normalize=False)
    assert Recipe.read(tmp_path) == Recipe(pooling=pooling, normalize=False, max_length=48)


def test_the_newer_one_word_pooling_is_read(tmp_path: Path) -> None:
    write_sentence_transformers_files(tmp_path, "mean", {})
    (tmp_path / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "cls"}')
    assert Recipe.read(tmp_path).pooling == "cls"


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({}, None, "", ""),
        ({"query": "q: "}, None, "q: ", ""),
        ({"query": "q: ", "passage": "p: "}, None, "q: ", "p: "),
        ({"document": "d: ", "passage": "p: "}, None, "", "d: "),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, "q: ", "p: "),
        ({"query": "", "document": "", "both": "b: "}, "both", "", ""),
    ],
    ids=["none", "query only", "passage", "document before passage", "empty document", "default is for encode"],
)
def test_prompts_are_chosen_by_side(
    tmp_path: Path, prompts: dict[str, str], default: str | None, query: str, document: str
) -> None:
    write_sentence_transformers_files(tmp_path, "mean", prompts)
    _edit(tmp_path / "config_sentence_transformers.json", default_prompt_name=default)
    recipe = Recipe.read(tmp_path)
    assert (recipe.query_prompt, recipe.document_prompt) == (query, document)


def test_a_directory_without_modules_json_leaves_the_pooling_open(tmp_path: Path) -> None:
    assert Recipe.read(tmp_path).pooling is None


def test_what_is_given_replaces_what_the_files_say(tmp_path: Path) -> None:
    write_sentence_transformers_files(tmp_path, "mean", {"query": "q: "})
    recipe = Recipe.read(tmp_path).override(pooling="cls", query_prompt="", normalize=False, max_length=None)
    assert recipe == Recipe(pooling="cls", query_prompt="", normalize=False, max_length=48)


@pytest.mark.parametrize("pooling", ["max", "none"])
def test_an_unknown_pooling_is_refused(tmp_path: Path, pooling: str) -> None:
    write_sentence_transformers_files(tmp_path, pooling, {})
    with pytest.raises(ExportError, match="pooling"):
        Recipe.read(tmp_path)


def test_two_poolings_at_once_are_refused(tmp_path: Path) -> None:
    write_sentence_transformers_files(tmp_path, "mean", {})
    _edit(tmp_path / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    with pytest.raises(ExportError, match=r"\['cls', 'mean'\]|\['mean', 'cls'\]"):
        Recipe.read(tmp_path)


def test_a_pooling_that_leaves_the_prompt_out_is_refused(tmp_path: Path) -> None:
    write_sentence_transformers_files(tmp_path, "mean", {"query": "q: "})
    _edit(tmp_path / "1_Pooling" / "config.json", include_prompt=False)
    with pytest.raises(ExportError, match="prompt"):
        Recipe.read(tmp_path)


def test_a_module_that_smartrt_does_not_run_is_refused(tmp_path: Path) -> None:
    write_sentence_transformers_files(tmp_path, "mean", {})
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ExportError, match="Dense"):
        Recipe.read(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(ExportError, match=r"modules\.json is not JSON"):
        Recipe.read(tmp_path)
