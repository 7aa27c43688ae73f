"""`index build` of a folder: what becomes a document, and what is said of the rest."""

from __future__ import annotations

import shutil

import pytest

from commandline import FAKE, call, finish, one_line, refused, start, tree
from folders import IDS, TEXTS, close, make_folder, make_index, stored_ids, write
from smartrt import Encoder

pytest.importorskip("pypdfium2", reason="a folder of these tests has PDF files")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a folder. Read only."""
    return make_folder(tmp_path_factory.mktemp("place") / "docs").parent


@pytest.fixture(scope="module")
def encoder(page_path):
    with Encoder.open(page_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def built(place, encoder):
    """An index of the folder, filled by the library."""
    return make_index(place / "docs", encoder)


def test_build_writes_what_the_library_writes_and_says_what_it_left(capsys, tmp_path, page_path, place, built):
    finished = call(capsys, "index", "build", page_path, place / "docs", "-o", tmp_path / "docs.index", "--json")
    assert (finished.code, finished.json["documents"], finished.json["segments"]) == (0, len(IDS), 1)
    one_line(finished.err, f"smartrt: files of {place / 'docs'} of kinds that this bundle does not index: 2")
    assert stored_ids(tmp_path / "docs.index") == IDS
    assert tree(tmp_path / "docs.index") == tree(built)


def test_without_json_the_index_is_described_for_people(capsys, tmp_path, tiny_path, place):
    finished = call(capsys, "index", "build", tiny_path, place / "docs", "-o", tmp_path / "docs.index", *FAKE)
    assert finished.code == 0
    assert finished.out.startswith(f"{tmp_path / 'docs.index'}: 2 documents, ")
    assert call(capsys, "index", "info", tmp_path / "docs.index").out == finished.out


def test_a_bundle_of_texts_takes_the_texts_of_a_folder(capsys, tmp_path, tiny_path, place):
    path = tmp_path / "docs.index"
    finished = call(capsys, "index", "build", tiny_path, place / "docs", "-o", path, *FAKE, "--json")
    assert (finished.code, finished.json["documents"]) == (0, 2)
    one_line(finished.err, "does not index: 6")  # three images, the PDF file, two of other kinds
    assert stored_ids(path) == list(TEXTS)
    (answer,) = call(capsys, "search", tiny_path, path, "list", *FAKE, "--json").json
    assert {hit["id"]: hit["meta"] for hit in answer["hits"]} == {
        name: {"path": name, "text": text} for name, text in TEXTS.items()
    }


def test_nothing_is_said_of_a_folder_that_is_indexed_whole(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", content=b"a list")
    finished = call(capsys, "index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE)
    assert (finished.code, finished.err) == (0, "")


@pytest.mark.parametrize("extra", [(), ("--skip-bad",), ("--resume",)], ids=lambda extra: " ".join(extra))
@pytest.mark.parametrize("names", [(), ("a.csv", ".b.txt"), ("a.png",)], ids=["none", "other and hidden", "images"])
def test_a_folder_with_nothing_to_index_is_refused(capsys, tmp_path, tiny_path, names, extra):
    (tmp_path / "docs").mkdir()
    for name in names:
        write(tmp_path, f"docs/{name}", content=b"x")
    before = tree(tmp_path)
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, *extra)
    refused(call(capsys, *arguments), tmp_path / "docs", "holds no file", ".txt, .md")
    assert tree(tmp_path) == before


def test_links_in_a_circle_end(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a/b.txt", content=b"a list")
    (tmp_path / "docs" / "a" / "up").symlink_to("..")
    (tmp_path / "docs" / "loop.txt").symlink_to("loop.txt")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--json")
    assert call(capsys, *arguments).json["documents"] == 1


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000], ids=["name", "path"])
@pytest.mark.parametrize("command", ["index build {bundle} {name}", "encode {bundle} --input {name}"])
def test_a_path_that_is_too_long_is_one_line(capsys, tmp_path, tiny_path, command, name):
    arguments = command.format(bundle=tiny_path, name=name).split()
    line = refused(call(capsys, *arguments, "-o", tmp_path / "out", *FAKE), f"cannot read {name[:180]}")
    assert line.endswith(": File name too long")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("command", ["index build {bundle} {path}", "encode {bundle} --input {path}"])
@pytest.mark.parametrize("closed", ["docs/sub", "docs"], ids=["a folder in it", "the folder itself"])
def test_a_closed_folder_is_one_line_before_anything_is_written(
    capsys, monkeypatch, tmp_path, tiny_path, command, closed
):
    write(tmp_path, "docs/a.txt", "docs/sub/b.txt")
    close(monkeypatch, tmp_path / closed)
    before = tree(tmp_path / "docs")
    arguments = command.format(bundle=tiny_path, path=tmp_path / "docs").split()
    line = refused(call(capsys, *arguments, "-o", tmp_path / "out", *FAKE), "cannot read ")
    assert ": Permission denied" in line
    assert tree(tmp_path / "docs") == before
    assert not (tmp_path / "out").exists()


def test_an_index_may_be_made_inside_its_folder(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", content=b"a list")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "docs" / "i", *FAKE, "--resume")
    assert [call(capsys, *arguments).code for _ in range(2)] == [0, 0]
    assert stored_ids(tmp_path / "docs" / "i") == ["a.txt"]


def test_a_process_with_warnings_as_errors_indexes_images_and_pages(tmp_path, page_path, place, built):
    finished = finish(start("index", "build", page_path, place / "docs", "-o", tmp_path / "i", "--json"))
    assert (finished.code, finished.json["documents"]) == (0, len(IDS))
    one_line(finished.err, "does not index: 2")
    assert stored_ids(tmp_path / "i") == stored_ids(built)


def test_a_copy_of_a_folder_gives_the_same_index_to_the_byte(capsys, tmp_path, page_path, place, built):
    shutil.copytree(place / "docs", tmp_path / "copy")
    assert call(capsys, "index", "build", page_path, tmp_path / "copy", "-o", tmp_path / "i").code == 0
    assert tree(tmp_path / "i") == tree(built)
