"""JSON Lines for a bundle that takes images: lines with images, with instructions, with texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from folders import BOTH, TEXT, listed
from smartrt.corpus import Corpus, ItemRecord
from smartrt.errors import InputError
from smartrt.jsonl import Record, check_records, read_records
from support import message_of


def lines(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in objects), encoding="utf-8")
    return path


def test_a_file_counts_its_lines_and_can_be_gone_through_twice(tmp_path):
    found = listed(lines(tmp_path / "c.jsonl", {"id": "a", "text": "x"}, {"id": "b", "image": "b.png"}))
    assert (found.count, found.ignored, found.bad) == (2, 0, ())
    assert [source.id for source in found] == [source.id for source in found] == ["a", "b"]


@pytest.mark.parametrize("images", ["a.png", "sub/a.png", "../a.png", ["a.png"], ["a.png", "b/c.jpg"]], ids=str)
def test_names_of_images_are_relative_to_the_file(tmp_path, monkeypatch, images):
    monkeypatch.chdir("/")
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "image": images}))
    names = [images] if isinstance(images, str) else images
    assert source.load()["image"] == [tmp_path / name for name in names]
    assert isinstance(source, ItemRecord)


def test_an_absolute_name_stays_what_it_is(tmp_path):
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "image": "/elsewhere/a.png"}))
    assert source.load()["image"] == [Path("/elsewhere/a.png")]


@pytest.mark.parametrize("text", [None, "", "a list", " "], ids=repr)
@pytest.mark.parametrize("instruction", [None, "find it"])
def test_what_stands_beside_an_image_is_part_of_the_document(tmp_path, text, instruction):
    given = {"text": text, "instruction": instruction}
    line = {key: value for key, value in given.items() if value is not None}
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "image": "a.png"} | line))
    item = source.load()
    assert item.get("text") == (text or None)
    assert item.get("instruction") == instruction
    assert set(item) <= {"image", "text", "instruction"}


def test_a_hit_has_the_line_as_it_was_written(tmp_path):
    line = {"image": ["a.png", "b.png"], "title": "é", "place": [1], "instruction": "find it"}
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a"} | line))
    assert source.about(source.load()) == line | {"text": ""}


def test_a_line_without_an_image_is_its_text(tmp_path):
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "text": "x", "title": "y"}))
    assert source.load() == "x"
    assert source.about("x") == {"text": "x", "title": "y"}


@pytest.mark.parametrize("image", ["a.png", ["a.png"], 7, None, {"url": "x"}], ids=repr)
def test_for_a_bundle_of_texts_an_image_is_metadata(tmp_path, image):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x", "image": image})
    (source,) = listed(path, TEXT)
    assert source == Record("a", "x", {"image": image})
    assert (source.load(), source.about("x")) == ("x", {"text": "x", "image": image})
    assert list(read_records(path)) == [source]


def test_for_a_bundle_of_texts_an_image_stands_for_no_text(tmp_path):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "image": "a.png"})
    with pytest.raises(InputError) as caught:
        listed(path, TEXT)
    message_of(caught.value, f"{path} line 1 needs 'text'")


@pytest.mark.parametrize("images", [False, True])
def test_without_images_both_ways_of_reading_are_one(tmp_path, images):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x", "n": 1}, {"id": "b", "text": ""})
    assert list(read_records(path, images=images)) == [Record("a", "x", {"n": 1}), Record("b", "", {})]
    assert check_records(path, allow_empty=True, images=images) == 2
    with pytest.raises(InputError, match="line 2: document 'b' has an empty text"):
        check_records(path, allow_empty=False, images=images)


@pytest.mark.parametrize("text", [{}, {"text": ""}, {"text": " \n"}], ids=["none", "empty", "blank"])
def test_an_image_needs_no_text(tmp_path, text):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "image": "a.png"} | text)
    assert check_records(path, allow_empty=False, images=True) == 1
    assert [record.text for record in read_records(path, images=True)] == [text.get("text", "")]


NO_IMAGE = {
    "null": {"image": None},
    "an empty list": {"image": []},
    "both null": {"image": None, "instruction": None},
    "an empty instruction": {"instruction": ""},
}


@pytest.mark.parametrize("more", NO_IMAGE.values(), ids=NO_IMAGE)
def test_null_and_nothing_are_no_image_and_no_instruction(tmp_path, more):
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "text": "x"} | more))
    assert (source.load(), source.about("x")) == ("x", {"text": "x"} | more)


def test_a_text_that_is_null_beside_an_image_is_none(tmp_path):
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a", "image": "a.png", "text": None}))
    item = source.load()
    assert (item["image"], item.get("text")) == ([tmp_path / "a.png"], None)
    assert source.about(item) == {"image": "a.png", "text": ""}


@pytest.mark.parametrize("more", [{}, {"image": None}, {"image": []}], ids=repr)
def test_an_instruction_is_used_on_a_line_of_text_too(tmp_path, more):
    line = {"text": "x", "instruction": "find it"} | more
    (source,) = listed(lines(tmp_path / "c.jsonl", {"id": "a"} | line))
    item = source.load()
    assert isinstance(source, ItemRecord)
    assert (item["text"], item["instruction"], item.get("image") or None) == ("x", "find it", None)
    assert source.about(item) == line


@pytest.mark.parametrize("instruction", ["find it", 7, None], ids=repr)
def test_for_a_bundle_of_texts_an_instruction_is_metadata(tmp_path, instruction):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x", "instruction": instruction})
    assert list(listed(path, TEXT)) == [Record("a", "x", {"instruction": instruction})]


def test_an_empty_text_with_an_instruction_stays_a_text(tmp_path):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "", "instruction": "find it"})
    (source,) = Corpus.open(path, BOTH, allow_empty=True)
    assert (source.load()["text"], source.load()["instruction"]) == ("", "find it")


REFUSED_WITH_IMAGES = {
    "neither": ({"id": "b"}, "needs 'text' as a string"),
    "no image and no text": ({"id": "b", "image": None}, "needs 'text' as a string"),
    "no image and a text that is null": ({"id": "b", "text": None}, "needs 'text' as a string, got None"),
    "no images and no text": ({"id": "b", "image": []}, "needs 'text' as a string"),
    "an instruction alone": ({"id": "b", "instruction": "x"}, "needs 'text' as a string"),
    "an instruction and an empty text": (
        {"id": "b", "instruction": "x", "text": " "},
        "document 'b' has an empty text",
    ),
    "no images and an empty text": ({"id": "b", "image": [], "text": ""}, "document 'b' has an empty text"),
    "no id": ({"image": "a.png"}, "needs 'id' as a string"),
    "a text that is a number": ({"id": "b", "image": "a.png", "text": 7}, "needs 'text' as a string, got 7"),
    "an id used before": ({"id": "a", "image": "a.png"}, "id 'a' was used on line 1"),
}


@pytest.mark.parametrize(("line", "mention"), REFUSED_WITH_IMAGES.values(), ids=REFUSED_WITH_IMAGES)
def test_a_bad_line_is_refused_by_its_number(tmp_path, line, mention):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "image": "a.png"}, line)
    with pytest.raises(InputError) as caught:
        listed(path)
    message_of(caught.value, f"{path} line 2", mention)


@pytest.mark.parametrize(
    "image", [7, 0, True, False, "", {}, {"url": "a.png"}, [None], [""], ["a.png", 7], [["a.png"]]], ids=repr
)
def test_an_image_that_is_no_name_is_refused_by_its_line(tmp_path, image):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x"}, {"id": "b", "text": "x", "image": image})
    with pytest.raises(InputError) as caught:
        listed(path)
    message_of(caught.value, f"{path} line 2: image must be a path or a list of paths, got {image!r}")


@pytest.mark.parametrize("instruction", [7, 0, False, [], ["find it"], {"text": "find it"}], ids=repr)
@pytest.mark.parametrize("line", [{"text": "x"}, {"image": "a.png"}], ids=["text", "image"])
def test_an_instruction_that_is_no_text_is_refused_by_its_line(tmp_path, line, instruction):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x"}, {"id": "b", "instruction": instruction} | line)
    with pytest.raises(InputError) as caught:
        listed(path)
    message_of(caught.value, f"{path} line 2: instruction must be a text, got {instruction!r}")


@pytest.mark.parametrize("key", ["image", "instruction"])
def test_an_endless_value_is_cut_in_its_message(tmp_path, key):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": "x", key: [7] * 9999})
    with pytest.raises(InputError) as caught:
        listed(path)
    assert len(message_of(caught.value, f"{path} line 1: {key}")) < len(str(path)) + 200
