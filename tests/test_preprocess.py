"""`smartrt bench preprocess`: what is measured, and that it runs."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from commandline import call
from smartrt.benchmarks import preprocess
from smartrt.errors import EngineError, OptionError
from support import message_of


def test_the_page_is_the_same_every_time_and_of_the_size_that_is_said():
    data = preprocess.page()
    assert data == preprocess.page()
    with Image.open(BytesIO(data)) as image:
        assert (image.size, image.format) == ((1240, 1754), "JPEG")
    assert 200_000 < len(data) < 2_000_000


def test_a_bundle_of_texts_has_nothing_to_preprocess(tiny_path):
    with pytest.raises(OptionError) as caught:
        preprocess.measure(tiny_path, 1)
    message_of(caught.value, "takes no images")


def test_a_contender_that_fails_is_named(page_path, monkeypatch):
    monkeypatch.setattr(preprocess, "contenders", lambda: ["smartrt", "nobody"])
    monkeypatch.setattr(preprocess, "_SINGLES", 1)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EngineError) as caught:
        preprocess.measure(page_path, 1)
    message_of(caught.value, "smartrt failed")


@pytest.mark.slow
def test_it_compares_with_transformers(capsys, page_path):
    finished = call(capsys, "bench", "preprocess", page_path, "--rounds", "1", "--json")
    result = finished.json["result"]
    assert {"smartrt", "transformers-slow"} <= set(result["contenders"])
    assert result["over_smartrt"]["smartrt"] == {"page_ms": 1, "pages_ms": 1, "pages_peak_mb": 1}
    # The slow processor converts every page to float32 and holds them all.
    assert result["over_smartrt"]["transformers-slow"]["pages_ms"] > 1
    assert result["contenders"]["smartrt"]["pages_peak_mb"] < 200
