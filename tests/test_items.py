"""What an encoder takes: the forms of an item, and every refusal."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.errors import InputError
from smartrt.items import ParsedItem, as_sequence, parse_item
from support import message_of

TEXT = ("text",)
BOTH = ("text", "image")
PAGE = np.zeros((4, 6, 3), np.uint8)


def parsed(item, modalities=BOTH, *, allow_empty=False) -> ParsedItem:
    return parse_item(item, "query 3", modalities, allow_empty=allow_empty)


def refusal(item, *mentions: str, modalities=BOTH, allow_empty=False) -> str:
    """The message with which `item` is refused: one line that says which item it is."""
    with pytest.raises(InputError) as caught:
        parsed(item, modalities, allow_empty=allow_empty)
    return message_of(caught.value, "query 3", *mentions)


@pytest.mark.parametrize("modalities", [TEXT, BOTH], ids=["text", "text and image"])
@pytest.mark.parametrize("item", ["a list", {"text": "a list"}, MappingProxyType({"text": "a list"})])
def test_a_text_and_a_mapping_with_a_text_are_the_same(item, modalities):
    got = parsed(item, modalities)
    assert (got.where, got.text, got.images, got.instruction) == ("query 3", "a list", (), None)


def test_nothing_of_a_text_is_changed():
    text = "  \r\n\tnai\u0308ve <|im_end|> {text} \x00\u2028 "
    instruction = " {images}\n"
    got = parsed({"text": text, "instruction": instruction})
    assert (got.text, got.instruction) == (text, instruction)


@pytest.mark.parametrize("image", ["page.png", b"\x89PNG", PAGE, object()], ids=["path", "bytes", "array", "object"])
def test_one_image_is_a_tuple_of_one(image):
    (got,) = parsed({"image": image}).images
    assert got is image


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_several_images_keep_their_order(kind, count):
    given_images = [object() for _ in range(count)]
    assert parsed({"image": kind(given_images)}).images == tuple(given_images)


@pytest.mark.parametrize("image", [None, [], ()], ids=["None", "empty list", "empty tuple"])
def test_no_image_is_no_image(image):
    assert parsed({"text": "a", "image": image}).images == ()


def test_parts_that_are_none_are_absent():
    got = parsed({"text": None, "image": PAGE, "instruction": None})
    assert (got.text, got.instruction, len(got.images)) == (None, None, 1)


def test_an_item_may_have_all_parts():
    got = parsed({"instruction": "find it", "image": [PAGE, PAGE], "text": "a"})
    assert (got.text, len(got.images), got.instruction) == ("a", 2, "find it")


@pytest.mark.parametrize("text", [None, "", " \n\t\u3000"], ids=["None", "empty", "whitespace"])
def test_an_image_needs_no_text(text):
    assert parsed({"text": text, "image": PAGE}).text == text


@pytest.mark.parametrize(
    "item", ["", " ", "\n\t\r\x0b\x0c", "\u00a0\u2003\u3000\u2028", {"text": ""}, {"text": "  "}, {}]
)
@pytest.mark.parametrize("modalities", [TEXT, BOTH], ids=["text", "text and image"])
def test_an_item_with_nothing_to_see_is_refused_unless_allowed(item, modalities):
    message = refusal(item, "is empty", "a text", "allow_empty=True", modalities=modalities)
    assert ("or an image" in message) == (modalities == BOTH)
    allowed = parsed(item, modalities, allow_empty=True)
    assert allowed.text == (item if isinstance(item, str) else item.get("text"))
    assert allowed.images == ()


@pytest.mark.parametrize("item", [{"text": None}, {"image": None}, {"image": []}, {"instruction": "find it"}])
def test_an_instruction_alone_is_no_item(item):
    refusal(item, "is empty")
    assert parsed(item, allow_empty=True).text is None


@pytest.mark.parametrize("item", [None, 3, 2.5, b"bytes", bytearray(b"x"), ["a", "b"], ("a",), {"a"}, PAGE, object()])
def test_neither_a_text_nor_a_mapping_is_refused_by_its_type(item):
    refusal(item, "a text or a mapping", type(item).__name__)


@pytest.mark.parametrize("key", ["title", "images", "Text", "", "two\nlines", "\udc80", 7, None])
def test_an_unknown_key_is_refused_by_name(key):
    refusal({"text": "a", key: "b"}, repr(str(key)), "text, image and instruction")


def test_all_unknown_keys_are_named_in_order():
    refusal({"z": 1, "text": "a", 5: 2, "b": 3}, "['5', 'b', 'z']")


@pytest.mark.parametrize("item", [{"video": "clip.mp4"}, {"text": "a", "video": None}, {"video": [], "title": "x"}])
def test_video_is_refused_as_not_supported_yet(item):
    refusal(item, "video is not supported yet")


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ({"text": "a", "image": PAGE}, "image"),
        ({"image": None}, "image"),
        ({"text": "a", "instruction": "b"}, "instruction"),
        ({"video": "clip.mp4"}, "video"),
        ({"text": "a", "video": None}, "video"),
        ({"video": [], "title": "x"}, "title', 'video"),
    ],
)
def test_a_bundle_of_texts_takes_nothing_else(item, key):
    message = refusal(item, f"['{key}']", "text only", modalities=TEXT)
    assert "not supported yet" not in message  # nor will images make it so


@pytest.mark.parametrize("images", [[None], [PAGE, None], (None, PAGE), [PAGE, PAGE, None]])
def test_none_among_images_is_refused(images):
    refusal({"text": "a", "image": images}, "one of its images is None")
    refusal({"image": images}, "one of its images is None", allow_empty=True)


@pytest.mark.parametrize("key", ["text", "instruction"])
@pytest.mark.parametrize("value", [3, b"bytes", ["a"], {"text": "a"}, PAGE, True, float("nan")])
def test_a_part_that_is_no_text_is_refused_by_its_type(key, value):
    refusal({"text": "a", key: value}, f"query 3: {key}", type(value).__name__)


@pytest.mark.parametrize("key", ["text", "instruction"])
@pytest.mark.parametrize(("value", "at"), [("\ud800", 0), ("ab\udfffcd", 2), ("\ud83d \ude00", 0), ("é\udc80", 1)])
def test_a_lone_surrogate_is_refused_with_its_place(key, value, at):
    refusal({"text": "a", "image": PAGE, key: value}, f"query 3: {key}", "not valid Unicode", f"at {at}")


def test_a_lone_surrogate_in_a_plain_text_is_refused_too():
    refusal("\ud800", "not valid Unicode", modalities=TEXT, allow_empty=True)


@given(text=st.text(), instruction=st.none() | st.text(), images=st.integers(0, 3))
def test_whatever_is_valid_unicode_is_taken_as_it_is(text, instruction, images):
    item = {"text": text, "instruction": instruction, "image": [PAGE] * images}
    got = parsed(item, allow_empty=True)
    assert (got.text, got.instruction, len(got.images)) == (text, instruction, images)


@given(
    item=st.recursive(
        st.none() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "image", "instruction", "x"]), inner),
        max_leaves=6,
    )
)
def test_anything_else_is_either_taken_or_refused_in_one_line(item):
    try:
        got = parsed(item)
    except InputError as error:
        message_of(error, "query 3")
    else:
        assert got.images or (got.text or "").strip()


@pytest.mark.parametrize("item", ["a list", "", {"text": "a"}, MappingProxyType({"text": "a"})])
def test_one_item_becomes_a_list_of_one(item):
    (got,) = as_sequence(item)
    assert got is item


@pytest.mark.parametrize("items", [[], ["a", {"text": "b"}], ("a",), np.array(["a"]), {"a": 1}.keys()])
def test_a_sequence_stays_what_it_is(items):
    assert as_sequence(items) is items


def test_a_generator_is_not_used_up():
    items = (text for text in ("a", "b"))
    assert list(as_sequence(items)) == ["a", "b"]


@pytest.mark.parametrize("items", [None, 3, b"bytes", bytearray(b"x"), object()])
def test_what_holds_no_items_is_refused_by_its_type(items):
    with pytest.raises(InputError) as caught:
        as_sequence(items)
    message_of(caught.value, "expected a text", f"got {type(items).__name__}")
