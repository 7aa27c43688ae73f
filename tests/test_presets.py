"""Presets: which one a checkpoint is run as, and that the manifest can hold what they say."""

from __future__ import annotations

import dataclasses
import string
from typing import get_args, get_type_hints

import pytest

from smartrt.errors import ExportError
from smartrt.manifest import Chat, Images, Parts, ResizeStage
from smartrt.models.qwen_vl.presets import PRESETS, Preset, choose_preset
from support import message_of

FAMILIES = {
    family: [name for name, preset in PRESETS.items() if preset.family == family] for family in ("qwen3-vl", "qwen2-vl")
}
SIDES = [(name, side) for name in PRESETS for side in ("query", "document")]


@pytest.mark.parametrize(
    ("family", "source", "name"),
    [
        ("qwen3-vl", "Qwen/Qwen3-VL-Embedding-2B", "qwen3-vl-embedding"),
        ("qwen3-vl", "qwen3-vl-embedding-8b", "qwen3-vl-embedding"),
        ("qwen3-vl", "LamRA-Ret-Qwen3-VL-2B", "lamra"),
        ("qwen2-vl", "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct", "gme"),
        ("qwen2-vl", "GME-Qwen2-VL-7B", "gme"),
        ("qwen2-vl", "/models/augmented_gme.v1", "gme"),
        ("qwen2-vl", "pigments/gme", "gme"),
        ("qwen2-vl", "VLM2Vec/VLM2Vec-V2.0", "vlm2vec"),
    ],
)
def test_a_checkpoint_is_known_by_its_name(family, source, name):
    assert choose_preset(family, source, None) == (name, PRESETS[name])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("source", ["checkpoint", "Qwen3-VL-Embedding", "gme and vlm2vec", ""])
def test_the_preset_that_is_given_counts_whatever_the_name(name, source):
    assert choose_preset(PRESETS[name].family, source, name) == (name, PRESETS[name])


@pytest.mark.parametrize(
    ("family", "source"),
    [
        ("qwen3-vl", "checkpoint-500"),
        ("qwen3-vl", ""),
        ("qwen3-vl", "lamra-from-qwen3-vl-embedding"),
        ("qwen3-vl", "gme-qwen3"),  # a name of the other family says nothing
        ("qwen2-vl", "gme-vlm2vec-merged"),
        ("qwen2-vl", "Qwen2-VL-2B-Instruct"),
        ("qwen2-vl", "lamra"),
    ],
)
def test_a_name_that_says_nothing_or_too_much_asks_for_the_preset(family, source):
    with pytest.raises(ExportError) as caught:
        choose_preset(family, source, None)
    message_of(caught.value, repr(source), "--preset", *FAMILIES[family])


@pytest.mark.parametrize(
    "source", ["qwen2-vl-segmentation", "augmented-qwen2-vl", "pigments", "sigme", "4gme", "gme2", "vlm2vector"]
)
def test_a_name_that_only_holds_the_letters_says_nothing(source):
    with pytest.raises(ExportError) as caught:
        choose_preset("qwen2-vl", source, None)
    message_of(caught.value, repr(source), "--preset", *FAMILIES["qwen2-vl"])


@pytest.mark.parametrize(
    ("family", "given"),
    [
        ("qwen3-vl", "gme"),
        ("qwen3-vl", "vlm2vec"),
        ("qwen2-vl", "lamra"),
        ("qwen2-vl", "qwen3-vl-embedding"),
        ("qwen3-vl", "GME"),
        ("qwen2-vl", ""),
    ],
)
def test_a_preset_of_another_family_is_refused_with_those_that_fit(family, given):
    with pytest.raises(ExportError) as caught:
        choose_preset(family, "Qwen3-VL-Embedding gme", given)
    message_of(caught.value, f"--preset {given} ", family, *FAMILIES[family])


def test_every_name_of_a_preset_finds_it_and_no_other():
    for name, preset in PRESETS.items():
        assert preset.names
        for word in preset.names:
            assert word == word.lower()
            assert choose_preset(preset.family, f"some/{word}-2b", None)[0] == name


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_templates_have_known_kinds_and_the_fields_of_their_kind(name, side):
    templates = getattr(PRESETS[name], side).templates
    assert templates
    for parts, template in templates.items():
        assert parts in get_args(Parts)
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        wanted = {"images" if part == "image" else part for part in parts.split("+")}
        assert len(fields) == len(set(fields))
        assert set(fields) == wanted


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_every_item_has_a_template(name, side):
    """With the side's default instruction, or with the item's own where it counts."""
    entry = getattr(PRESETS[name], side)
    instructed = {True} if entry.instruction else ({True, False} if entry.own_instruction else {False})
    for has_instruction in instructed:
        for rest in ("text", "image", "image+text"):
            assert ("instruction+" if has_instruction else "") + rest in entry.templates


@pytest.mark.parametrize("name", PRESETS)
def test_the_span_of_an_image_holds_its_placeholder_once(name):
    span = PRESETS[name].image_span
    assert span.count("<|image_pad|>") == 1
    assert "{" not in span


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_the_pooled_token_is_in_every_template_once(name, side):
    preset = PRESETS[name]
    for template in getattr(preset, side).templates.values():
        assert not preset.pool_before or template.count(preset.pool_before) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_only_what_a_manifest_can_hold(name):
    preset = PRESETS[name]
    allowed = {
        "family": get_args(get_type_hints(Preset)["family"]),
        "positions": get_args(get_type_hints(Chat)["positions"]),
        "transparency": get_args(get_type_hints(Images)["transparency"]),
    }
    for key, choices in allowed.items():
        assert getattr(preset, key) in choices
    hints = get_type_hints(ResizeStage)
    for stage in preset.stages:
        assert stage.rule in get_args(hints["rule"])
        assert stage.long_images in get_args(hints["long_images"])
        assert 0 <= stage.min_pixels <= stage.max_pixels
    assert preset.stages
    assert preset.max_length >= 1
    assert preset.max_images is None or preset.max_images >= 1


@pytest.mark.parametrize("name", PRESETS)
def test_only_qwen3_has_deepstack(name):
    preset = PRESETS[name]
    assert preset.family == "qwen3-vl" or not preset.deepstack


def test_a_preset_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["gme"].max_length = 3  # type: ignore[misc]
