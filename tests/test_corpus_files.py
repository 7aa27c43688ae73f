"""The files of a folder: what each becomes when its turn comes, and which are refused by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from folders import listed, write, write_pdf
from smartrt.errors import InputError
from support import message_of


@pytest.mark.parametrize(
    "text", ["a list", "", " \n", "naïve 北京 🙂", "a\u2028b\x85c\x00d", "# title\n\ntext\n"], ids=ascii
)
def test_a_text_file_is_its_text_and_a_hit_has_it(tmp_path, text):
    write(tmp_path, "sub/a.md", content=text.encode())
    (source,) = listed(tmp_path)
    assert source.load() == text
    assert source.about(text) == {"path": "sub/a.md", "text": text}


def test_a_hit_has_what_was_read_whatever_became_of_the_file(tmp_path):
    (source,) = listed(write(tmp_path, "a.txt"))
    item = source.load()
    (tmp_path / "a.txt").unlink()
    assert source.about(item) == {"path": "a.txt", "text": "a list"}


@pytest.mark.parametrize(
    ("content", "at"), [(b"\xff", 0), ("größe".encode("latin-1"), 2), ("a".encode("utf-16"), 0), (b"ab\xe2\x80", 2)]
)
def test_a_text_that_is_not_utf_8_is_refused_by_name_and_place(tmp_path, content, at):
    (source,) = listed(write(tmp_path, "sub/a.txt", content=content))
    with pytest.raises(InputError) as caught:
        source.load()
    message_of(caught.value, "sub/a.txt is not UTF-8", f"at byte {at}")


def test_a_text_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    (source,) = listed(write(tmp_path, "sub/a.txt"))

    def refuse(path, *_, **__):  # chmod would not stop root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError) as caught:
        source.load()
    message_of(caught.value, "cannot read sub/a.txt: Permission denied")


def test_a_file_that_went_away_is_refused_by_name(tmp_path):
    (source,) = listed(write(tmp_path, "sub/a.txt"))
    (tmp_path / "sub" / "a.txt").unlink()
    with pytest.raises(InputError) as caught:
        source.load()
    message_of(caught.value, "cannot read sub/a.txt: No such file")


def test_an_image_is_its_path_and_a_hit_has_its_name(tmp_path):
    (source,) = listed(write(tmp_path, "sub/a.png"))
    assert source.load() == {"image": tmp_path / "sub" / "a.png"}
    assert source.about(source.load()) == {"path": "sub/a.png"}


def test_a_page_is_an_image_and_a_hit_has_its_file_and_number(tmp_path):
    pytest.importorskip("pypdfium2", reason="pages are rendered by pypdfium2")
    (tmp_path / "sub").mkdir()
    write_pdf(tmp_path / "sub" / "a #1.pdf", 3)
    sources = list(listed(tmp_path))
    assert [source.id for source in sources] == [f"sub/a #1.pdf#page={page}" for page in (1, 2, 3)]
    for grey, source in enumerate(sources):
        item = source.load()
        assert (set(item), item["image"].mode, item["image"].size) == ({"image"}, "RGB", (40, 40))
        assert item["image"].getpixel((20, 20)) == (grey,) * 3
        assert source.about(item) == {"path": "sub/a #1.pdf", "page": grey + 1}


def test_a_page_that_cannot_be_used_is_refused_by_its_path_in_the_folder(tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2", reason="pages are rendered by pypdfium2")
    (tmp_path / "sub").mkdir()
    write_pdf(tmp_path / "sub" / "a.pdf", 1)
    monkeypatch.setattr("smartrt.pdf.MAX_PIXELS", 10)
    (source,) = listed(tmp_path)
    with pytest.raises(InputError) as caught:
        source.load()
    message_of(caught.value, "sub/a.pdf page 1 is 40 x 40", "too large")
