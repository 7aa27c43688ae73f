"""What activations are measured on, and how the statistics are handed out."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
from PIL import Image

from calibrating import write_items
from smartrt.errors import InputError
from smartrt.export.calibration import LEAST_ITEMS, MOST_ITEMS, Calibration, CalibrationItems
from smartrt.export.pictures import picture
from smartrt.export.sentences import DOCUMENTS, QUERIES
from support import message_of

pytestmark = pytest.mark.usefixtures("library_read_once")

TEXT, BOTH = ("text",), ("text", "image")


@pytest.fixture(scope="module")
def shipped():
    return CalibrationItems.shipped(max_images=None, pictures=False)


def refused(path, modalities, *mentions):
    with pytest.raises(InputError) as caught:
        CalibrationItems.read(path, modalities)
    message_of(caught.value, *mentions)


def texts(found):
    return [item for _, item in found.items]


def test_what_is_shipped_is_text_of_both_sides_and_always_the_same(shipped):
    again = CalibrationItems.shipped(max_images=None, pictures=False)
    assert shipped == again
    assert shipped.sha256() == again.sha256()
    assert len(shipped.items) == len(set(shipped.items)) == MOST_ITEMS
    assert [item for side, item in shipped.items if side == "query"] == list(QUERIES)
    assert all(isinstance(item, str) for item in texts(shipped))
    assert set(DOCUMENTS[:3]) <= set(texts(shipped))
    assert max(map(len, texts(shipped))) <= 2000
    assert sum(map(len, texts(shipped))) > 20_000
    assert "standard library" in shipped.source


@pytest.mark.parametrize("max_images", [1, 2, None])
def test_what_is_shipped_for_pictures_has_them_and_as_many_items(max_images):
    found = CalibrationItems.shipped(max_images=max_images, pictures=True)
    assert len(found.items) == 96  # a vision-language model takes minutes
    pictured = [item for item in texts(found) if not isinstance(item, str) and item.get("image")]
    most = max(len(item["image"]) if isinstance(item["image"], list) else 1 for item in pictured)
    assert (len(pictured), most) == (5, max_images or 3)
    assert {side for side, item in found.items if not isinstance(item, str)} == {"query", "document"}


def test_a_jsonl_file_is_read_as_documents(tmp_path):
    found = CalibrationItems.read(write_items(tmp_path / "items.jsonl", count=12), TEXT)
    assert (found.source, len(found.items)) == ("items.jsonl", 12)
    assert {side for side, _ in found.items} == {"document"}
    assert texts(found)[0].startswith(DOCUMENTS[0])
    assert {len(text) for text in texts(found)} == {300}


@pytest.mark.parametrize("count", [MOST_ITEMS - 1, MOST_ITEMS, MOST_ITEMS + 1, 3 * MOST_ITEMS, 5 * MOST_ITEMS + 7])
def test_of_many_items_some_are_taken_evenly(count, tmp_path):
    lines = [json.dumps({"id": str(i), "text": f"{i} " + "word " * 20}) for i in range(count)]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    numbers = [int(text.split()[0]) for text in texts(CalibrationItems.read(tmp_path / "items.jsonl", TEXT))]
    assert len(numbers) == min(count, MOST_ITEMS)
    assert numbers == sorted(set(numbers))
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert max(steps) - min(steps) <= 1
    assert (numbers[0], numbers[-1] >= count - 1 - max(steps)) == (0, True)


def test_a_folder_of_texts_is_read(tmp_path):
    for i in range(LEAST_ITEMS):
        (tmp_path / f"{i}.txt").write_text(f"{i} " + "word " * 60)
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")  # not what a text encoder reads
    found = CalibrationItems.read(tmp_path, TEXT)
    assert [text[0] for text in texts(found)] == [str(i) for i in range(LEAST_ITEMS)]
    assert found.source == tmp_path.name


def test_a_folder_of_pictures_is_opened(tmp_path):
    for i in range(LEAST_ITEMS):
        picture(20 + i, 30, i).save(tmp_path / f"{i}.png")
    found = CalibrationItems.read(tmp_path, BOTH)
    (tmp_path / "0.png").unlink()  # what was read is not read again
    assert [item["image"][0].size for item in texts(found)] == [(20 + i, 30) for i in range(LEAST_ITEMS)]
    assert texts(found)[0]["image"][0].getpixel((0, 0)) == picture(20, 30, 0).getpixel((0, 0))
    refused(tmp_path, TEXT, "no file that this bundle can index")


def test_lines_may_have_pictures_text_and_an_instruction(tmp_path):
    picture(32, 24, 1).save(tmp_path / "a.png")
    lines = [{"id": str(i), "image": "a.png", "text": "seen", "instruction": "Look."} for i in range(LEAST_ITEMS)]
    (tmp_path / "items.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (_, item), *_ = CalibrationItems.read(tmp_path / "items.jsonl", BOTH).items
    assert (item["text"], item["instruction"], item["image"][0].size) == ("seen", "Look.", (32, 24))
    refused(tmp_path / "items.jsonl", TEXT, "8 items with 32 characters")  # a picture is no text


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"0" * 40])
def test_a_picture_that_cannot_be_read_is_named(content, tmp_path):
    for i in range(LEAST_ITEMS):
        picture(20, 30, i).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(content)
    refused(tmp_path, BOTH, "cannot read an image of 3.png")


def test_a_picture_that_is_not_there_is_named(tmp_path):
    lines = [json.dumps({"id": f"line{i}", "image": "gone.png"}) for i in range(LEAST_ITEMS)]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    refused(tmp_path / "items.jsonl", BOTH, "cannot read an image of line0")


def test_what_cannot_be_read_is_refused(tmp_path):
    refused(tmp_path / "nowhere.jsonl", TEXT, "nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    refused(tmp_path / "empty.jsonl", TEXT, "holds no line")
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "text": "b"}\n{"id": \n')
    refused(tmp_path / "broken.jsonl", TEXT, "broken.jsonl line 2")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", TEXT, "no file that this bundle can index")
    (tmp_path / "folder" / "a.txt").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path / "folder", TEXT, "a.txt is not UTF-8")


@pytest.mark.parametrize(("count", "characters"), [(1, 5000), (LEAST_ITEMS - 1, 1000), (LEAST_ITEMS, 249), (12, 0)])
def test_too_little_to_measure_is_refused(count, characters, tmp_path):
    path = write_items(tmp_path / "items.jsonl", count, characters)
    refused(path, TEXT, f"has {count} items with {count * characters:,} characters", "calibration needs 8 items")


def test_just_enough_is_enough(tmp_path):
    assert len(CalibrationItems.read(write_items(tmp_path / "items.jsonl", 8, 250), TEXT).items) == 8
    for i in range(LEAST_ITEMS):
        picture(8, 8, i).save(tmp_path / f"{i}.png")
    assert len(CalibrationItems.read(tmp_path, BOTH).items) == 8  # a picture is many tokens


def test_the_hash_says_which_items_there_were():
    plain = CalibrationItems((("document", "a"), ("document", "b")), "x")
    assert plain.sha256() == CalibrationItems((("document", "a"), ("document", "b")), "another name").sha256()
    others = [
        (("document", "b"), ("document", "a")), (("query", "a"), ("document", "b")), (("document", "ab"),),
        (("document", "a"), ("document", "b"), ("document", "")), (("document", {"text": "a", "instruction": "b"}),),
        (("document", {"text": "a", "image": picture(8, 8, 1)}), ("document", "b")),
        (("document", {"text": "a", "image": [picture(8, 8, 2)]}), ("document", "b")),
        (("document", {"text": "a", "image": [picture(8, 8, 2), picture(8, 8, 1)]}), ("document", "b")),
    ]  # fmt: skip
    assert len({plain.sha256(), *(CalibrationItems(items, "x").sha256() for items in others)}) == 1 + len(others)
    assert len(plain.sha256()) == 64


def test_pictures_of_other_sizes_are_other_pictures():
    hashes = {
        CalibrationItems((("document", {"image": Image.new("RGB", size)}),), "x").sha256() for size in ((4, 9), (9, 4))
    }
    assert len(hashes) == 2


def calibration(*places, seen=None):
    """Statistics that are only names, and a list of what was asked for."""

    def measured():
        for place in places:
            graph, path = place.split(":")
            if seen is not None:
                seen.append(place)
            yield graph, path, SimpleNamespace(name=place)

    return Calibration(measured())


def test_statistics_are_taken_in_any_order_and_measured_no_further_than_needed():
    seen = []
    found = calibration("a:1", "a:2", "a:3", "a:4", seen=seen).of("a")
    assert found.take("2").name == "a:2"
    assert seen == ["a:1", "a:2"]
    assert found.take("1").name == "a:1"
    assert seen == ["a:1", "a:2"]
    assert found.take("4").name == "a:4"
    assert found.take("3").name == "a:3"


def test_statistics_are_handed_out_once_and_let_go():
    whole = calibration("a:1", "a:2")
    assert whole.of("a").take("1").name == "a:1"
    assert whole.of("a").take("1") is None
    assert whole.of("a").take("2").name == "a:2"
    assert whole._ready == {}


def test_a_module_that_calibration_did_not_reach_has_none():
    found = calibration("a:1", "a:2").of("a")
    assert found.take("gone") is None
    assert [found.take(path).name for path in "12"] == ["a:1", "a:2"]
    assert found.take("gone") is None


def test_a_missing_module_does_not_run_into_the_next_graph():
    seen = []
    whole = calibration("a:1", "b:1", "b:2", "b:3", seen=seen)
    first = whole.of("a")
    assert first.take("gone") is None
    assert first.take("gone too") is None
    assert seen == ["a:1", "b:1"]
    assert first.take("1").name == "a:1"
    second = whole.of("b")
    assert [second.take(path).name for path in "312"] == ["b:3", "b:1", "b:2"]


def test_what_a_graph_did_not_take_is_let_go_with_the_next_graph():
    whole = calibration("a:1", "a:2", "a:3", "b:1")
    assert whole.of("a").take("3").name == "a:3"
    assert set(whole._ready) == {("a", "1"), ("a", "2")}
    second = whole.of("b")
    assert whole._ready == {}
    assert second.take("1").name == "b:1"


def test_equal_names_of_two_graphs_are_two_modules():
    whole = calibration("a:1", "b:1")
    assert (whole.of("a").take("1").name, whole.of("b").take("1").name) == ("a:1", "b:1")


def test_nothing_measured_is_none_for_all():
    assert calibration().of("a").take("1") is None
