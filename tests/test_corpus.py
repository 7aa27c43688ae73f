"""What an index is built from: how the files of a folder are listed, and which are kept apart."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from folders import BOTH, TEXT, close, listed, write, write_pdf
from smartrt import corpus
from smartrt.corpus import ImageFile, TextFile
from smartrt.errors import InputError, MissingDependencyError
from support import message_of

NAMES = ("a.txt", "b.md", "c.png", "d.jpg", "e.jpeg", "f.webp", "g.bmp")


def ids(folder: Path, modalities=BOTH) -> list[str]:
    return [source.id for source in listed(folder, modalities)]


def test_ids_are_paths_in_the_folder_in_the_order_of_their_parts(tmp_path):
    write(tmp_path, "b.txt", "a.txt", "a/z.txt", "a/b/c.md", "a-b/x.txt", "Z.txt", "a/ä b.png", "10.txt", "9.txt")
    wanted = ["10.txt", "9.txt", "Z.txt", "a/b/c.md", "a/z.txt", "a/ä b.png", "a-b/x.txt", "a.txt", "b.txt"]
    assert ids(tmp_path) == wanted == sorted(wanted, key=lambda name: name.split("/"))


def test_ids_do_not_depend_on_how_the_folder_is_named(tmp_path, monkeypatch):
    write(tmp_path, "docs/a.txt", "docs/b/c.txt")
    monkeypatch.chdir(tmp_path / "docs")
    for name in (tmp_path / "docs", Path(), Path("../docs"), Path("b/.."), tmp_path / "docs/."):
        assert ids(name) == ["a.txt", "b/c.txt"]


def test_pages_of_a_pdf_come_in_the_order_of_their_numbers(tmp_path):
    pytest.importorskip("pypdfium2", reason="pages are counted by pypdfium2")
    write(tmp_path, "a.txt", "c.txt")
    write_pdf(tmp_path / "b.PDF", 11)
    assert ids(tmp_path) == ["a.txt", *(f"b.PDF#page={page}" for page in range(1, 12)), "c.txt"]


def test_each_kind_is_read_as_what_it_is(tmp_path):
    write(tmp_path, *NAMES)
    kinds = [type(source) for source in listed(tmp_path)]
    assert kinds == [TextFile, TextFile, *[ImageFile] * 5]
    assert {Path(name).suffix for name in NAMES} == {*corpus.TEXT_SUFFIXES, *corpus.IMAGE_SUFFIXES}


def test_the_case_of_a_suffix_does_not_matter(tmp_path):
    write(tmp_path, "a.TXT", "b.Md", "c.PNG", "d.JpG")
    assert (ids(tmp_path), listed(tmp_path).ignored) == (["a.TXT", "b.Md", "c.PNG", "d.JpG"], 0)


def test_hidden_files_and_folders_are_left_out_and_not_counted(tmp_path):
    write(tmp_path, "a.txt", ".b.txt", ".git/c.txt", "d/.e/f.txt", "d/.DS_Store", "d/..g.png", ".txt")
    assert (ids(tmp_path), listed(tmp_path).ignored) == (["a.txt"], 0)


def test_a_folder_below_a_hidden_one_is_read(tmp_path):
    write(tmp_path, ".cache/docs/a.txt")
    assert ids(tmp_path / ".cache" / "docs") == ["a.txt"]


def test_files_of_other_kinds_are_counted(tmp_path):
    write(tmp_path, "a.txt", "b.docx", "c/d.json", "txt", "e.txt.gz", "f.gif", "g.txt/h.html")
    (tmp_path / "i.png").mkdir()  # a folder is no file, whatever its name
    assert (ids(tmp_path), listed(tmp_path).ignored) == (["a.txt"], 6)


def test_a_bundle_of_texts_is_given_texts_alone_and_opens_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "count_pages", None)
    write(tmp_path, *NAMES, "damaged.pdf")
    found = listed(tmp_path, TEXT)
    assert [source.id for source in found] == ["a.txt", "b.md"]
    assert (found.count, found.ignored, found.bad) == (2, 6, ())


@pytest.mark.parametrize("names", [(), ("a.docx", "b/c.json"), (".a.txt", ".b/c.txt")], ids=["none", "other", "hidden"])
@pytest.mark.parametrize("modalities", [TEXT, BOTH], ids=["text", "text and image"])
def test_a_folder_with_nothing_to_index_is_refused_with_the_kinds_there_are(tmp_path, names, modalities):
    write(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        listed(tmp_path, modalities)
    message = message_of(caught.value, str(tmp_path), "holds no file", ".txt, .md")
    assert all((kind in message) == (modalities == BOTH) for kind in (".png", ".jpg", ".webp", ".bmp", ".pdf"))


def test_a_folder_with_images_alone_is_nothing_for_a_bundle_of_texts(tmp_path):
    write(tmp_path, "a.png", "b.pdf")
    with pytest.raises(InputError, match="holds no file"):
        listed(tmp_path, TEXT)


def test_links_in_a_circle_end_and_a_link_to_a_file_is_that_file(tmp_path):
    write(tmp_path, "docs/a.txt", "docs/b/c.txt", "elsewhere.txt")
    docs = tmp_path / "docs"
    for link, target in (
        ("self", "."),
        ("b/up", ".."),
        ("b/far", docs),
        ("loop.txt", "loop.txt"),
        ("x", "y"),
        ("y", "x"),
    ):
        (docs / link).symlink_to(target)
    (docs / "gone.txt").symlink_to("nowhere.txt")
    (docs / "link.txt").symlink_to("../elsewhere.txt")
    assert ids(docs) == ["a.txt", "b/c.txt", "link.txt"]


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    write(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "b.txt")
    assert ids(tmp_path) == ["a.txt"]


def test_a_folder_may_be_a_link(tmp_path):
    write(tmp_path, "docs/a.txt")
    (tmp_path / "link").symlink_to("docs")
    assert ids(tmp_path / "link") == ["a.txt"]


def test_contents_are_read_when_their_turn_comes(tmp_path):
    write(tmp_path, *NAMES, content=b"\xff")
    found = listed(tmp_path)
    assert (found.count, found.bad) == (len(NAMES), ())
    with pytest.raises(InputError):
        next(iter(found)).load()


def test_a_pdf_that_cannot_be_read_is_kept_apart_with_the_reason(tmp_path):
    pytest.importorskip("pypdfium2", reason="pages are counted by pypdfium2")
    write(tmp_path, "a.txt", "sub/b.pdf", "z.pdf")
    write_pdf(tmp_path / "c.pdf", 2)
    found = listed(tmp_path)
    assert ([source.id for source in found], found.count) == (["a.txt", "c.pdf#page=1", "c.pdf#page=2"], 3)
    assert ([name for name, _ in found.bad], found.ignored) == (["sub/b.pdf", "z.pdf"], 0)
    for name, error in found.bad:
        message_of(error, f"{name} is no PDF")


def test_a_folder_of_damaged_files_alone_is_not_said_to_be_empty(tmp_path):
    pytest.importorskip("pypdfium2", reason="pages are counted by pypdfium2")
    found = listed(write(tmp_path, "a.pdf"))
    assert (found.count, len(found.bad)) == (0, 1)


def test_a_missing_library_is_no_bad_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    write(tmp_path, "a.txt", "b.pdf")
    with pytest.raises(MissingDependencyError) as caught:
        listed(tmp_path)
    message_of(caught.value, "pip install 'smartrt[pdf]'")
    assert ids(tmp_path, TEXT) == ["a.txt"]


@pytest.mark.parametrize("name", ["missing", "a.txt/inside"])
def test_a_path_with_nothing_there_is_refused(tmp_path, name):
    write(tmp_path, "a.txt")
    with pytest.raises(InputError) as caught:
        listed(tmp_path / name)
    message_of(caught.value, f"cannot read {tmp_path / name}: ")


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000], ids=["name", "path"])
def test_a_path_that_is_too_long_is_refused_with_its_beginning(tmp_path, name):
    with pytest.raises(InputError) as caught:
        listed(tmp_path / name)
    message = message_of(caught.value, f"cannot read {tmp_path / name}"[:200], "File name too long")
    assert len(message) < 300


def test_a_path_below_a_closed_folder_is_refused(tmp_path, monkeypatch):
    def refuse(path):  # chmod would not stop root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(InputError) as caught:
        listed(tmp_path / "docs")
    message_of(caught.value, f"cannot read {tmp_path / 'docs'}: Permission denied")


def test_a_closed_folder_is_called_what_it_was_called(tmp_path, monkeypatch):
    close(monkeypatch, write(tmp_path / "docs", "a.txt"))
    try:
        ((_, error),) = listed(tmp_path / "docs").bad
    except InputError as raised:
        error = raised
    message_of(error, f"cannot read {tmp_path / 'docs'}: Permission denied")


def test_a_folder_that_may_not_be_read_is_not_left_out_in_silence(tmp_path, monkeypatch):
    write(tmp_path, "a.txt", "b/closed/c.txt", "b/d.txt", ".closed/e.txt")
    close(monkeypatch, tmp_path / "b" / "closed")
    found = listed(tmp_path)
    assert [source.id for source in found] == ["a.txt", "b/d.txt"]
    ((name, error),) = found.bad
    assert name == "b/closed"
    message_of(error, "cannot read b/closed: Permission denied")


def test_a_closed_folder_is_not_said_to_be_empty(tmp_path, monkeypatch):
    write(tmp_path, "closed/c.txt")
    close(monkeypatch, tmp_path / "closed")
    found = listed(tmp_path)
    assert (found.count, [name for name, _ in found.bad]) == (0, ["closed"])


def test_a_hidden_folder_is_not_even_listed(tmp_path, monkeypatch):
    write(tmp_path, "a.txt", ".closed/b.txt")
    close(monkeypatch, tmp_path / ".closed")
    assert listed(tmp_path).bad == ()


def test_a_file_whose_kind_cannot_be_asked_is_kept_apart(tmp_path, monkeypatch):
    write(tmp_path, "a.txt", "b.txt")
    is_file = Path.is_file

    def refuse(path):
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    found = listed(tmp_path)
    assert ([source.id for source in found], [name for name, _ in found.bad]) == (["a.txt"], ["b.txt"])
    message_of(found.bad[0][1], "cannot read b.txt: Permission denied")


def test_names_that_are_not_utf_8_are_kept_apart_if_they_would_be_read(tmp_path):
    write(tmp_path, "a.txt", "b\udcff.txt", "b\udcff.docx", "c.txt", "d\udcfe/e.txt")
    found = listed(tmp_path)
    assert ([source.id for source in found], found.ignored) == (["a.txt", "c.txt"], 1)
    assert [name for name, _ in found.bad] == ["b\udcff.txt", "d\udcfe/e.txt"]
    for name, error in found.bad:
        message_of(error, f"the name of {name!a} is not UTF-8: rename the file").encode()
