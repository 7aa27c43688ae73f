"""`Encoder.check`: what is asked of a document before it joins its neighbours."""

from __future__ import annotations

import pytest

from folders import pixels
from smartrt import Encoder
from smartrt.errors import InputError, OptionError
from smartrt.images.limits import ImageLimits
from support import message_of


@pytest.fixture(scope="module")
def texts(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


@pytest.fixture(scope="module")
def pages(page_path):
    with Encoder.open(page_path) as encoder:
        yield encoder


@pytest.mark.parametrize("side", ["query", "document"])
@pytest.mark.parametrize(
    "item",
    [
        "a list",
        {"text": "a"},
        {"image": pixels(0)},
        {"image": [pixels(0), pixels(1)], "text": "a"},
        {"text": "a", "instruction": "b"},
        {"image": pixels(0), "instruction": "b"},
    ],
    ids=["text", "mapping", "image", "images and text", "text and instruction", "image and instruction"],
)
def test_check_takes_what_can_be_encoded_and_gives_nothing(pages, item, side):
    assert pages.check(item, side, "a.png") is None


@pytest.mark.parametrize(
    ("item", "mention"),
    [
        ({"image": b"junk"}, "a.png: not an image"),
        ({"image": [pixels(0), b"\x89PNG\r\n\x1a\n"]}, "a.png, image 2: the image is damaged"),
        ({"image": "missing.png"}, "a.png: there is no image file"),
        ({"image": pixels(0, 300, 1)}, "a.png: the image is 300 x 1"),
        ({"image": [pixels(0, 2000, 2000)] * 3}, "do not fit the model's 4,096"),
        ({"title": "x"}, "a.png has ['title']"),
        ({"text": 7}, "a.png: text must be a text"),
        (7, "a.png must be a text or a mapping"),
    ],
    ids=["junk", "the second of two", "missing", "too thin", "too many tokens", "unknown key", "number", "no item"],
)
def test_check_refuses_by_the_name_given_what_encoding_would_refuse(pages, item, mention):
    with pytest.raises(InputError) as caught:
        pages.check(item, "document", "a.png")
    message_of(caught.value, "a.png", mention)
    with pytest.raises(InputError) as caught:
        pages.encode_document([item])
    message_of(caught.value, "document 0", mention.replace("a.png", "document 0"))


EMPTY = ["", " \n", {"text": ""}, {"image": []}, {"instruction": "b"}, {}]


@pytest.mark.parametrize("item", EMPTY, ids=repr)
def test_check_refuses_what_is_empty_unless_it_is_allowed(pages, item):
    with pytest.raises(InputError) as caught:
        pages.check(item, "document", "a.txt")
    message_of(caught.value, "a.txt is empty")
    assert pages.check(item, "document", "a.txt", allow_empty=True) is None


@pytest.mark.parametrize("side", ["queries", "Document", "", None])
def test_check_refuses_a_side_that_there_is_not(texts, side):
    with pytest.raises(OptionError) as caught:
        texts.check("a list", side, "a.txt")
    message_of(caught.value, f"unknown side {side!r}", "query, document")


def test_check_keeps_to_the_limits_of_its_encoder(page_path):
    with Encoder.open(page_path, image_limits=ImageLimits(max_pixels=63 * 64)) as encoder:
        with pytest.raises(InputError) as caught:
            encoder.check({"image": pixels(0)}, "document", "a.png")
        message_of(caught.value, "a.png: the image is 64 x 64", "allowed are 4,032")
        assert encoder.check({"image": pixels(0)[:63]}, "document", "a.png") is None


def test_check_decodes_and_loads_no_vision_graph(page_path):
    with Encoder.open(page_path) as encoder:
        encoder.check({"image": pixels(0)}, "document", "a.png")
        assert encoder.backbone.vision.engine is None


def test_check_of_a_bundle_of_texts_refuses_images(texts):
    assert texts.check({"text": "a"}, "document", "a.txt") is None
    with pytest.raises(InputError) as caught:
        texts.check({"image": pixels(0)}, "document", "a.png")
    message_of(caught.value, "a.png has ['image']", "text only")


def test_a_text_longer_than_the_model_is_sound(texts, pages):
    for encoder in (texts, pages):
        assert encoder.check("word " * 5000, "document", "a.txt") is None
