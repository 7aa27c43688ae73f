"""`index build` with documents that cannot be used: where it stops, and what `--skip-bad` leaves out."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest

from commandline import FAKE, call, refused, tree
from folders import IDS, close, make_folder, picture, stored_ids, stored_vectors, write, write_pdf
from smartrt import Encoder
from smartrt.cli import build as build_command
from smartrt.cli.terminal import Progress
from smartrt.errors import EngineError, InputError

pytest.importorskip("pypdfium2", reason="a folder of these tests has PDF files")

EXACT = ("--storage", "float32")  # what is stored is compared with what was encoded

BAD = {
    "0 empty.png": (b"", "the image has no bytes"),
    "bad/cut.png": (None, "the image is damaged"),
    "bad/film.webp": (None, "has 3 frames"),
    "bad/junk.jpg": (b"junk", "not an image in a known format"),
    "empty.txt": (b" \n", "has an empty text"),
    "latin.md": ("größe".encode("latin-1"), "is not UTF-8"),
    "x/damaged.pdf": (b"%PDF-1.4\njunk", "is no PDF that can be read"),
    "z.bmp": (b"BM", "the image is damaged"),
}


def add_bad(folder: Path) -> None:
    """The files of `BAD`."""
    for name, (content, _) in BAD.items():
        path = write(folder, name, content=content or b"") / name
        if name.endswith(".webp"):
            picture(1, 8, 8).save(path, save_all=True, append_images=[picture(2, 8, 8), picture(3, 8, 8)])
        elif content is None:
            picture(1).save(path)
            path.write_bytes(path.read_bytes()[:2000])


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "docs")


def test_a_bad_image_stops_the_build_and_what_came_before_is_kept(capsys, tmp_path, page_path, folder):
    write(folder, "paper.png", content=b"junk")
    arguments = ("index", "build", page_path, folder, "-o", tmp_path / "i", *EXACT)
    finished = call(capsys, *arguments)
    assert (finished.code, finished.out) == (2, "")
    said, stopped = finished.err.splitlines()
    assert said == f"smartrt: files of {folder} of kinds that this bundle does not index: 2 (.csv, no suffix)"
    assert stopped.startswith("smartrt: paper.png: not an image")
    assert stopped.endswith(
        f"; 4 of 8 documents are committed in {tmp_path / 'i'}: run the same command with --resume to add the rest, "
        "and --skip-bad to leave out what cannot be used"
    )
    assert stored_ids(tmp_path / "i") == IDS[:4]
    again = call(capsys, *arguments, "--resume")  # it is still bad
    assert (again.code, stored_ids(tmp_path / "i")) == (2, IDS[:4])
    (folder / "paper.png").unlink()
    resumed = call(capsys, *arguments, "--resume", "--json")
    assert (resumed.code, resumed.json["documents"], resumed.json["segments"]) == (0, len(IDS), 2)
    assert stored_ids(tmp_path / "i") == IDS
    assert call(capsys, "index", "build", page_path, folder, "-o", tmp_path / "whole", *EXACT).code == 0
    whole, parts = stored_vectors(tmp_path / "whole"), stored_vectors(tmp_path / "i")
    for name in IDS:
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-6)


def test_with_skip_bad_exactly_the_bad_files_are_left_out_each_with_its_name(capsys, tmp_path, page_path, folder):
    assert call(capsys, "index", "build", page_path, folder, "-o", tmp_path / "sound", *EXACT).code == 0
    add_bad(folder)
    arguments = ("index", "build", page_path, folder, "-o", tmp_path / "i", *EXACT, "--skip-bad", "--json")
    finished = call(capsys, *arguments)
    assert (finished.code, finished.json["documents"]) == (0, len(IDS))
    assert stored_ids(tmp_path / "i") == IDS
    notes = finished.err.splitlines()
    out = [line for line in notes if line.startswith("smartrt: left out: ")]
    assert len(out) == len(BAD)
    for name, (_, reason) in BAD.items():
        (line,) = [line for line in out if line.startswith(f"smartrt: left out: {name}")]
        assert reason in line
    assert notes[-1] == f"smartrt: documents left out: {len(BAD)}"
    assert len(notes) == len(out) + 2  # and the files of other kinds
    whole, parts = stored_vectors(tmp_path / "sound"), stored_vectors(tmp_path / "i")
    for name in IDS:
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-6)


def test_files_that_were_repaired_are_added_and_nothing_twice(capsys, tmp_path, page_path, folder):
    add_bad(folder)
    arguments = ("index", "build", page_path, folder, "-o", tmp_path / "i", "--skip-bad", "--resume", "--json")
    assert call(capsys, *arguments).code == 0
    before = tree(tmp_path / "i")
    assert call(capsys, *arguments).json["documents"] == len(IDS)
    assert tree(tmp_path / "i") == before
    picture(77).save(folder / "bad" / "cut.png")
    (folder / "latin.md").write_text("größe", encoding="utf-8")
    picture(78).save(folder / "x" / "damaged.pdf")
    finished = call(capsys, *arguments)
    assert (finished.code, finished.json["documents"], finished.json["segments"]) == (0, len(IDS) + 3, 2)
    assert finished.err.splitlines()[-1] == f"smartrt: documents left out: {len(BAD) - 3}"
    assert stored_ids(tmp_path / "i") == [*IDS, "bad/cut.png", "latin.md", "x/damaged.pdf#page=1"]


@pytest.mark.parametrize("name", ["empty.txt", "latin.md"])
def test_a_bad_text_stops_the_build_of_any_bundle(capsys, tmp_path, tiny_path, name):
    content, reason = BAD[name]
    for good in ("a.txt", "z.txt"):
        write(tmp_path, f"docs/{good}", content=good.encode())
    write(tmp_path, f"docs/{name}", content=content)
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE)
    refused(call(capsys, *arguments), name, reason, "; 1 of 3 documents are committed")
    assert stored_ids(tmp_path / "i") == ["a.txt"]
    finished = call(capsys, *arguments, "--resume", "--skip-bad", "--json")
    assert (finished.code, finished.json["documents"]) == (0, 2)
    assert stored_ids(tmp_path / "i") == ["a.txt", "z.txt"]


def test_a_damaged_pdf_is_known_before_anything_is_written(capsys, tmp_path, page_path, folder):
    write(folder, "z/damaged.pdf", content=b"junk")
    before = tree(tmp_path)
    finished = call(capsys, "index", "build", page_path, folder, "-o", tmp_path / "i")
    refused(finished, "z/damaged.pdf is no PDF that can be read")
    assert tree(tmp_path) == before


def test_a_page_that_is_too_large_is_left_out_and_its_neighbours_are_not(capsys, tmp_path, page_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    small, large = picture(1, 48, 48), picture(2, 64, 48)
    small.save(tmp_path / "docs" / "a.pdf", save_all=True, append_images=[large, small])
    monkeypatch.setattr("smartrt.pdf.MAX_PIXELS", 96 * 96)
    arguments = ("index", "build", page_path, tmp_path / "docs", "-o", tmp_path / "i")
    refused(call(capsys, *arguments), "a.pdf page 2 is 128 x 96", "; 1 of 3 documents are committed")
    finished = call(capsys, *arguments, "--resume", "--skip-bad", "--json")
    assert (finished.code, stored_ids(tmp_path / "i")) == (0, ["a.pdf#page=1", "a.pdf#page=3"])
    assert [line.split(" is ")[0] for line in finished.err.splitlines()[:-1]] == ["smartrt: left out: a.pdf page 2"]


def test_an_image_over_the_limit_is_bad(capsys, tmp_path, page_path):
    for name, side in (("a.png", 64), ("b.png", 65), ("c.png", 64)):
        write(tmp_path, f"docs/{name}", content=b"")
        picture(side, side, side).save(tmp_path / "docs" / name)
    arguments = ("index", "build", page_path, tmp_path / "docs", "-o", tmp_path / "i", "--max-image-pixels", 64 * 64)
    refused(call(capsys, *arguments), "b.png: the image is 65 x 65", "allowed are 4,096", "; 1 of 3")
    assert call(capsys, *arguments, "--resume", "--skip-bad").code == 0
    assert stored_ids(tmp_path / "i") == ["a.png", "c.png"]


def test_empty_texts_are_let_in_where_that_is_asked_for(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", content=b"a list")
    write(tmp_path, "docs/b.txt", content=b"")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--allow-empty", "--json")
    assert call(capsys, *arguments).json["documents"] == 2


@pytest.mark.parametrize("extra", [(), ("--skip-bad",)], ids=["plain", "skip-bad"])
def test_without_pypdfium2_a_folder_with_a_pdf_is_refused_with_what_to_install(
    capsys, monkeypatch, tmp_path, page_path, tiny_path, folder, extra
):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    arguments = ("-o", tmp_path / "i", *extra)
    line = refused(call(capsys, "index", "build", page_path, folder, *arguments), "pypdfium2")
    assert line.endswith("pip install 'smartrt[pdf]'")
    assert not (tmp_path / "i").exists()
    assert call(capsys, "index", "build", tiny_path, folder, *arguments, *FAKE).code == 0


def test_a_folder_of_bad_files_alone_gives_an_empty_index(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", content=b"\xff")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--skip-bad")
    finished = call(capsys, *arguments, "--json")
    assert (finished.code, finished.json["documents"], stored_ids(tmp_path / "i")) == (0, 0, [])
    again = call(capsys, *arguments, "--resume")
    assert (again.code, again.err) == (0, finished.err)
    assert again.out.startswith(f"{tmp_path / 'i'}: 0 documents, ")


def test_a_name_with_a_newline_is_left_out_on_one_line(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a\nb.txt", content=b"\xff")
    write(tmp_path, "docs/c.txt")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--skip-bad")
    finished = call(capsys, *arguments)
    left_out, count = finished.err.splitlines()
    assert (finished.code, count) == (0, "smartrt: documents left out: 1")
    assert left_out.startswith("smartrt: left out: a b.txt is not UTF-8")


def test_a_name_that_is_not_utf_8_is_left_out_alone(capsys, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", "docs/b\udcff.txt", "docs/c.txt")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE)
    refused(call(capsys, *arguments), "the name of 'b\\udcff.txt' is not UTF-8: rename the file")
    finished = call(capsys, *arguments, "--skip-bad")
    assert (finished.code, stored_ids(tmp_path / "i")) == (0, ["a.txt", "c.txt"])
    assert finished.err.splitlines()[-1] == "smartrt: documents left out: 1"


def test_a_closed_folder_is_left_out_alone(capsys, monkeypatch, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt", "docs/sub/b.txt", "docs/z.txt")
    close(monkeypatch, tmp_path / "docs" / "sub")
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--skip-bad")
    finished = call(capsys, *arguments)
    assert (finished.code, stored_ids(tmp_path / "i")) == (0, ["a.txt", "z.txt"])
    assert finished.err.splitlines() == [
        "smartrt: left out: cannot read sub: Permission denied",
        "smartrt: documents left out: 1",
    ]


def test_a_pdf_that_claims_too_many_pages_is_left_out_alone(capsys, tmp_path, page_path, folder):
    content = write_pdf(folder / "b.pdf", 1).read_bytes()
    assert content.count(b"/Count 1\n") == 1
    write(folder, "b.pdf", content=content.replace(b"/Count 1\n", b"/Count 1000000\n"))
    arguments = ("index", "build", page_path, folder, "-o", tmp_path / "i")
    refused(call(capsys, *arguments), "b.pdf claims 1,000,000 pages, 10,000 are allowed: split it")
    assert (call(capsys, *arguments, "--skip-bad").code, stored_ids(tmp_path / "i")) == (0, IDS)


# What is said when the work stops, and how.


def stop(monkeypatch, error):
    """Let encoding fail with `error`."""

    def encode(*_, **__):
        raise error

    monkeypatch.setattr(Encoder, "encode_document", encode)


@pytest.mark.parametrize(
    ("error", "extra", "advice"),
    [
        (InputError("bad"), (), True),
        (InputError("bad"), ("--skip-bad",), False),
        (EngineError("bad"), (), False),
        (KeyboardInterrupt(), (), False),
    ],
    ids=["document", "document, with skip-bad", "engine", "interrupted"],
)
def test_skip_bad_is_advised_where_it_helps(capsys, monkeypatch, tmp_path, tiny_path, error, extra, advice):
    write(tmp_path, "docs/a.txt", "docs/b.txt")
    stop(monkeypatch, error)
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, *extra)
    line = refused(call(capsys, *arguments), f"smartrt: {error}", "; 0 of 2 documents are committed", "--resume")
    assert ("--skip-bad" in line) == advice


def test_a_note_takes_the_place_of_the_bar(capsys, monkeypatch, tmp_path, tiny_path):
    write(tmp_path, "docs/a.txt")
    write(tmp_path, "docs/b.txt", "docs/c.txt", content=b"\xff")

    @contextlib.contextmanager
    def progress(label, total):
        bar = Progress(label, total, visible=True)
        yield bar
        bar.clear()

    monkeypatch.setattr(build_command, "progress", progress)
    arguments = ("index", "build", tiny_path, tmp_path / "docs", "-o", tmp_path / "i", *FAKE, "--skip-bad")
    finished = call(capsys, *arguments)
    assert "indexing" in finished.err
    screen = [line.split("\r")[-1].replace("\x1b[K", "") for line in finished.err.split("\n")]
    assert [line.split(" is ")[0] for line in screen] == [
        "smartrt: left out: b.txt",
        "smartrt: left out: c.txt",
        "smartrt: documents left out: 2",
        "",
    ]
