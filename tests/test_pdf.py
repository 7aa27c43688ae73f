"""Pages of PDF files: how many, of which size, and which files are refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from smartrt import pdf
from smartrt.corpus import Corpus
from smartrt.errors import InputError, MissingDependencyError
from smartrt.pdf import DPI, MAX_PAGES, MAX_PIXELS, count_pages, render_page
from support import message_of, run_python

pytest.importorskip("pypdfium2", reason="pages are rendered by pypdfium2")

RED, WHITE = (255, 0, 0), (255, 255, 255)
FILLED = b"1 0 0 rg -20000 -20000 40000 40000 re f"
BLANK = b""
LOCK = b"/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"ab" * 32, b"cd" * 32)


def pdf_of(
    *pages: tuple[float, float, bytes],
    extra: bytes = b"",
    lost: int | None = None,
    trailer: bytes = b"",
    claimed: int | None = None,
) -> bytes:
    """A PDF file of pages (width and height in points, drawing commands).

    Args:
        pages: Any number.
        extra: More entries of every page.
        lost: A page, counted from 1, whose object is missing.
        trailer: More entries of the trailer.
        claimed: How many pages the file says it has, instead of how many it has.
    """
    count = len(pages) if claimed is None else claimed
    kids = b" ".join(b"%d 0 R" % (3 + 2 * i) for i in range(len(pages)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count)]
    for width, height, drawing in pages:
        box, contents = f"{width} {height}".encode(), len(objects) + 2
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %s] /Contents %d 0 R %s >>" % (box, contents, extra),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        ]
    content, table = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, entry in enumerate(objects, start=1):
        table += b"%010d 00000 n \n" % len(content)
        if lost is None or number != 1 + 2 * lost:
            content += b"%d 0 obj\n%s\nendobj\n" % (number, entry)
    size = len(objects) + 1
    end = b"xref\n0 %d\n%strailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
    return content + end % (size, table, size, trailer, len(content))


def save(directory: Path, content: bytes) -> Path:
    path = directory / "a.pdf"
    path.write_bytes(content)
    return path


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a Path would open one more)


@pytest.mark.parametrize("count", [1, 2, 23])
def test_every_page_is_counted_and_rendered_in_its_own_size(tmp_path, count):
    path = save(tmp_path, pdf_of(*[(20 + page, 30, BLANK) for page in range(1, count + 1)]))
    assert count_pages("a.pdf", path) == count
    sizes = [render_page("a.pdf", path, page).size for page in range(1, count + 1)]
    assert sizes == [(40 + 2 * page, 60) for page in range(1, count + 1)]


@pytest.mark.parametrize(
    ("points", "pixels"),
    [((72, 36), (144, 72)), ((595, 842), (1190, 1684)), ((100.3, 50.2), (201, 101)), ((0.5, 10), (1, 20))],
    ids=str,
)
def test_a_point_becomes_two_pixels(tmp_path, points, pixels):
    assert DPI == 144
    assert render_page("a.pdf", save(tmp_path, pdf_of((*points, BLANK))), 1).size == pixels


def test_a_page_that_is_turned_is_seen_as_a_reader_sees_it(tmp_path):
    path = save(tmp_path, pdf_of((60, 20, b"1 0 0 rg 0 0 30 20 re f"), extra=b"/Rotate 90"))
    image = render_page("a.pdf", path, 1)
    assert image.size == (40, 120)
    assert (image.getpixel((20, 5)), image.getpixel((20, 115))) == (RED, WHITE)


def test_what_lies_outside_the_crop_box_is_not_there(tmp_path):
    path = save(tmp_path, pdf_of((60, 60, b"1 0 0 rg 0 0 30 60 re f"), extra=b"/CropBox [0 0 30 40]"))
    image = render_page("a.pdf", path, 1)
    assert image.size == (60, 80)
    assert image.getcolors() == [(60 * 80, RED)]


def test_colours_are_rgb_and_the_paper_is_white(tmp_path):
    path = save(tmp_path, pdf_of((40, 40, b"1 0 0 rg 0 20 20 20 re f 0 0 1 rg 20 0 20 20 re f")))
    image = render_page("a.pdf", path, 1)
    assert image.mode == "RGB"
    corners = [image.getpixel((x, y)) for y in (10, 70) for x in (10, 70)]
    assert corners == [RED, WHITE, WHITE, (0, 0, 255)]


@pytest.mark.parametrize("drawing", [BLANK, b"0.5 g 0 0 20 20 re f", b"\xff\x00 ((("], ids=["blank", "grey", "rubbish"])
def test_every_page_is_rgb(tmp_path, drawing):
    assert render_page("a.pdf", save(tmp_path, pdf_of((40, 40, drawing))), 1).mode == "RGB"


def test_the_same_page_gives_the_same_pixels(tmp_path):
    path = save(tmp_path, pdf_of((40, 40, b"3 w 1 2 m 37 31 l S"), (40, 40, FILLED)))
    first, again, other = (render_page("a.pdf", path, page).tobytes() for page in (1, 1, 2))
    assert first == again != other


def test_a_name_may_hold_any_character(tmp_path):
    for name in ("größe 北京.pdf", "a#page=1.pdf", "a%20b.pdf", "a\nb.pdf", "not UTF-8 \udcff", "no suffix"):
        path = tmp_path / name
        path.write_bytes(pdf_of((10, 10, FILLED)))
        assert count_pages(name, path) == 1
        assert render_page(name, path, 1).getpixel((0, 0)) == RED


SOUND = pdf_of((40, 40, FILLED))
DAMAGED = {
    "empty": b"",
    "an image": b"\x89PNG\r\n\x1a\n",
    "a header alone": b"%PDF-1.4\n",
    "rubbish behind the header": b"%PDF-1.4\n" + bytes(range(256)),
    "cut off": SOUND[:150],
    "without a page": pdf_of(),
    "an unknown cipher": pdf_of((40, 40, FILLED), trailer=b"/Encrypt << /Filter /Other >>"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_pdf_is_refused_by_the_name_given(tmp_path, content):
    with pytest.raises(InputError) as caught:
        count_pages("sub/a.pdf", save(tmp_path, content))
    message_of(caught.value, "sub/a.pdf is no PDF that can be read")
    with pytest.raises(InputError) as caught:
        render_page("sub/a.pdf", tmp_path / "a.pdf", 1)
    message_of(caught.value, "sub/a.pdf is no PDF that can be read")


def test_a_pdf_behind_a_password_is_refused_as_that(tmp_path):
    with pytest.raises(InputError) as caught:
        count_pages("a.pdf", save(tmp_path, pdf_of((40, 40, FILLED), trailer=LOCK)))
    message_of(caught.value, "a.pdf", "password")


@pytest.mark.parametrize("name", ["missing.pdf", ".", "a.pdf/inside.pdf"])
def test_a_file_that_is_not_there_is_refused(tmp_path, name):
    path = save(tmp_path, SOUND).parent / name
    with pytest.raises(InputError) as caught:
        count_pages(name, path)
    message_of(caught.value, f"{name} is no PDF that can be read")


def test_a_damaged_page_is_refused_by_its_number_and_its_neighbours_are_not(tmp_path):
    path = save(tmp_path, pdf_of((40, 40, FILLED), (40, 40, FILLED), (50, 50, FILLED), lost=2))
    assert count_pages("a.pdf", path) == 3
    with pytest.raises(InputError) as caught:
        render_page("sub/b.pdf", path, 2)
    message_of(caught.value, "sub/b.pdf page 2 is damaged")
    assert [render_page("a.pdf", path, page).size for page in (1, 3)] == [(80, 80), (100, 100)]


@pytest.mark.parametrize("page", [-1, 0, 2, 10**6])
def test_a_page_that_is_not_there_is_refused(tmp_path, page):
    with pytest.raises(InputError) as caught:
        render_page("a.pdf", save(tmp_path, SOUND), page)
    message_of(caught.value, f"a.pdf page {page}")


def test_a_file_of_any_size_can_claim_so_many_pages_and_no_more(tmp_path):
    assert MAX_PAGES == 10_000
    path = save(tmp_path, pdf_of((40, 40, FILLED), claimed=MAX_PAGES))
    assert count_pages("a.pdf", path) == MAX_PAGES
    assert render_page("a.pdf", path, 1).size == (80, 80)
    for page in (2, MAX_PAGES):
        with pytest.raises(InputError, match=f"a.pdf page {page} is damaged"):
            render_page("a.pdf", path, page)


@pytest.mark.parametrize("claimed", [10_001, 1_000_000])
def test_a_file_that_claims_more_pages_is_refused_before_they_are_listed(tmp_path, claimed):
    path = save(tmp_path, pdf_of((40, 40, FILLED), claimed=claimed))
    assert path.stat().st_size < 700
    before = open_files()
    with pytest.raises(InputError) as caught:
        count_pages("sub/a.pdf", path)
    message_of(caught.value, f"sub/a.pdf claims {claimed:,} pages, 10,000 are allowed: split it")
    found = Corpus.open(tmp_path, ("text", "image"), allow_empty=False)
    assert (found.count, [name for name, _ in found.bad]) == (0, ["a.pdf"])
    assert open_files() == before


def test_the_limit_holds_for_pages_that_are_there_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "MAX_PAGES", 3)
    assert count_pages("a.pdf", save(tmp_path, pdf_of(*[(9, 9, BLANK)] * 3))) == 3
    with pytest.raises(InputError, match="claims 4 pages, 3 are allowed"):
        count_pages("a.pdf", save(tmp_path, pdf_of(*[(9, 9, BLANK)] * 4)))


def test_a_file_that_was_exchanged_behind_its_count_is_refused_by_its_page(tmp_path):
    path = save(tmp_path, pdf_of(*[(9, 9, BLANK)] * 3))
    assert count_pages("a.pdf", path) == 3
    path.write_bytes(SOUND)
    with pytest.raises(InputError) as caught:
        render_page("sub/a.pdf", path, 3)
    message_of(caught.value, "sub/a.pdf page 3 is damaged")
    path.unlink()
    with pytest.raises(InputError) as caught:
        render_page("sub/a.pdf", path, 3)
    message_of(caught.value, "sub/a.pdf is no PDF that can be read")


@pytest.mark.parametrize("points", [(14400, 14400), (14400, 10**6), (4000, 2501)], ids=str)
def test_a_huge_page_is_refused_with_its_size_before_it_is_rendered(tmp_path, points):
    width, height = (2 * side for side in points)
    assert width * height > MAX_PIXELS == 40_000_000
    with pytest.raises(InputError) as caught:
        render_page("sub/b.pdf", save(tmp_path, pdf_of((*points, FILLED))), 1)
    message_of(caught.value, "sub/b.pdf page 1", f"{width} x {height}", "144 dpi", "too large")


def test_the_largest_page_is_taken_and_the_next_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "MAX_PIXELS", 200 * 100)
    path = save(tmp_path, pdf_of((100, 50, FILLED), (100.5, 50, FILLED)))
    assert render_page("a.pdf", path, 1).size == (200, 100)
    with pytest.raises(InputError, match="too large"):
        render_page("a.pdf", path, 2)


def test_a_file_is_closed_whatever_became_of_it(tmp_path):
    path = save(tmp_path, pdf_of((40, 40, FILLED), (20_000, 20_000, FILLED), (40, 40, FILLED), lost=3))
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    before = open_files()
    for _ in range(3):
        count_pages("a.pdf", path)
        render_page("a.pdf", path, 1)
        for page in (2, 3):
            with pytest.raises(InputError):
                render_page("a.pdf", path, page)
        with pytest.raises(InputError):
            count_pages("bad.pdf", tmp_path / "bad.pdf")
    assert open_files() == before


@pytest.mark.parametrize("use", [lambda path: count_pages("a.pdf", path), lambda path: render_page("a.pdf", path, 1)])
def test_without_pypdfium2_the_error_says_what_to_install(tmp_path, monkeypatch, use):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingDependencyError) as caught:
        use(save(tmp_path, SOUND))
    message_of(caught.value, "pypdfium2", "pip install 'smartrt[pdf]'")


def test_pypdfium2_is_loaded_with_the_first_pdf_and_leaves_no_warning_behind(tmp_path):
    script = (
        "import sys, pathlib, smartrt.corpus, smartrt.cli.index, smartrt.pdf as pdf\n"
        "assert 'pypdfium2' not in sys.modules\n"
        "image = pdf.render_page('a.pdf', pathlib.Path(sys.argv[1]), 1)\n"
        "print(*image.size)\n"
    )
    finished = run_python(script, save(tmp_path, SOUND))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "80 80\n", "")
