"""Filling an index: the order, the commits, and what becomes of a document that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folders import TEXT, listed, picture, pixels, stored_vectors, write
from smartrt import Encoder, Index, IndexOptions
from smartrt.encoder import WINDOW
from smartrt.errors import InputError, MissingDependencyError
from smartrt.index.build import IMAGE_WEIGHT, fill
from support import message_of


@dataclass(frozen=True)
class Given:
    """A document of a test; `item` may be an error, which reading it then raises."""

    id: str
    item: Any

    def load(self) -> Any:
        if isinstance(self.item, BaseException):
            raise self.item
        return self.item

    def about(self, item: Any) -> dict[str, Any]:
        assert item is self.item
        return {"about": self.id}


def given(*names: str) -> list[Given]:
    """One document a name; those with a ``!`` cannot be read."""
    return [Given(name, InputError(f"{name} is bad") if "!" in name else f"document {name}") for name in names]


@pytest.fixture
def texts(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


@pytest.fixture
def index(tmp_path, texts):
    return Index.create(tmp_path / "docs.index", texts)


@pytest.fixture(scope="module")
def pages(page_path):
    with Encoder.open(page_path) as encoder:
        yield encoder


class Bad(list):
    """Collects what `skip_bad` is called with."""

    def __call__(self, name: str, error: InputError) -> None:
        assert isinstance(error, InputError)
        self.append((name, str(error)))


def test_documents_are_added_in_their_order_with_what_comes_back(index, texts):
    fill(index, texts, given("b", "a", "c"))
    assert Index.open(index.path).ids() == ["b", "a", "c"]
    (hits,) = index.search(texts.encode_query("document a"), k=3)
    assert {hit.id: hit.meta for hit in hits} == {name: {"about": name} for name in "abc"}


def test_a_document_that_is_there_is_not_even_read(index, texts):
    fill(index, texts, given("a", "b"))
    unread = AssertionError("was read")
    fill(index, texts, [Given("b", unread), *given("c"), Given("a", unread), *given("d")])
    fill(index, texts, [Given(name, unread) for name in "dcba"])
    assert Index.open(index.path).ids() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_bad_document_ends_the_work_and_what_came_before_is_committed(index, texts, place):
    names = ["a", "b", "c", "d"]
    sources = given(*names[:place], "x!", *names[place:])
    asked = iter(sources)
    with pytest.raises(InputError) as caught:
        fill(index, texts, asked)
    assert message_of(caught.value) == "x! is bad"
    assert Index.open(index.path).ids() == names[:place]
    assert list(asked) == sources[place + 1 :]


@pytest.mark.parametrize(
    "names",
    [["!0"], ["a", "!0"], ["!0", "a"], ["a", "!0", "!1", "b", "!2", "c"], [*map(str, range(WINDOW)), "!0", "a"]],
)
def test_with_skip_bad_exactly_the_bad_ones_are_left_out(index, texts, names):
    bad = Bad()
    fill(index, texts, given(*names), skip_bad=bad)
    assert bad == [(name, f"{name} is bad") for name in names if "!" in name]
    assert Index.open(index.path).ids() == [name for name in names if "!" not in name]


def test_a_second_run_adds_what_was_bad_and_nothing_twice(index, texts):
    bad = Bad()
    fill(index, texts, given("a", "b!", "c"), skip_bad=bad)
    repaired = [*given("a"), Given("b!", "repaired"), *given("c")]
    fill(index, texts, repaired, skip_bad=bad)
    assert Index.open(index.path).ids() == ["a", "c", "b!"]
    assert [name for name, _ in bad] == ["b!"]


def test_every_document_is_counted_as_done_once(index, texts):
    fill(index, texts, given("there"))
    done = []
    sources = given("there", *map(str, range(WINDOW)), "!", "a", "there")
    fill(index, texts, sources, skip_bad=Bad(), advance=done.append)
    assert sum(done) == len(sources)
    assert WINDOW in done


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), MissingDependencyError("pypdfium2"), OSError(5, "I/O")]
)
def test_skip_bad_leaves_out_bad_documents_and_no_other_failure(index, texts, error):
    with pytest.raises(type(error)):
        fill(index, texts, [*given("a"), Given("b", error)], skip_bad=Bad())


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"], ids=ascii)
def test_an_empty_text_is_bad_unless_it_is_allowed(index, texts, text):
    sources = [*given("a"), Given("empty", text), *given("b")]
    with pytest.raises(InputError) as caught:
        fill(index, texts, sources)
    message_of(caught.value, "empty has an empty text", "--allow-empty")
    bad = Bad()
    fill(index, texts, sources, skip_bad=bad)
    assert ([name for name, _ in bad], index.ids()) == (["empty"], ["a", "b"])
    fill(index, texts, sources, allow_empty=True)
    assert index.ids() == ["a", "b", "empty"]


def test_an_item_that_a_bundle_of_texts_does_not_take_is_bad(index, texts):
    bad = Bad()
    fill(index, texts, [*given("a"), Given("x", {"image": "a.png"}), Given("y", 7), *given("b")], skip_bad=bad)
    assert index.ids() == ["a", "b"]
    assert [name for name, _ in bad] == ["x", "y"]
    message_of(InputError(bad[0][1]), "x has ['image']", "text only")


def test_vectors_are_committed_whenever_there_are_enough(index, texts):
    names = [str(number) for number in range(2 * WINDOW + 1)]
    fill(index, texts, given(*names), commit_bytes=1)
    assert [segment.entry.documents for segment in index.segments] == [WINDOW, WINDOW, 1]
    assert index.ids() == names


def test_an_image_fills_a_window_as_many_texts_do(tmp_path, pages, monkeypatch):
    windows, encode = [], pages.encode_document
    monkeypatch.setattr(
        pages, "encode_document", lambda items, **more: windows.append(len(items)) or encode(items, **more)
    )
    index = Index.create(tmp_path / "docs.index", pages)
    names = [f"p{number}" for number in range(2 * WINDOW // IMAGE_WEIGHT + 1)]
    fill(index, pages, [Given(name, {"image": pixels(0)}) for name in names])
    assert windows == [WINDOW // IMAGE_WEIGHT] * 2 + [1]
    assert index.ids() == names


def test_bad_images_are_left_out_and_their_neighbours_keep_their_vectors(tmp_path, pages):
    good = {"a": {"image": pixels(1)}, "b": "a text", "c": {"image": pixels(2), "text": "both"}}
    sources = [Given(name, item) for name, item in good.items()]
    for place, image in ((3, b"junk"), (2, "missing.png"), (1, np.zeros((4, 4), float)), (0, pixels(0)[:1, :0])):
        sources.insert(place, Given(f"bad {place}", {"image": image}))
    index, bad = Index.create(tmp_path / "docs.index", pages, IndexOptions("float32")), Bad()
    fill(index, pages, sources, skip_bad=bad)
    assert index.ids() == list(good)
    assert [name for name, _ in bad] == [f"bad {place}" for place in range(4)]
    assert all(reason.startswith(f"{name}: ") for name, reason in bad)
    alone = pages.encode_document(list(good.values()))
    np.testing.assert_allclose(index.segments[0].documents.pooled, alone.pooled, rtol=0, atol=1e-6)
    for stored, wanted in zip(stored_vectors(index.path).values(), alone.tokens, strict=True):
        np.testing.assert_allclose(stored, wanted, rtol=0, atol=1e-6)


@pytest.fixture
def strict(pages, monkeypatch):
    """The encoder of images, refusing one text, as models do that pool before a token of the template (lamra)."""
    prepare = pages.backbone.prepare

    def refuse(items, side, query_mask):
        for item in items:
            if item.text == "too long":
                raise InputError(f"{item.where}: its text is 9 tokens too long")
        yield from prepare(items, side, query_mask)

    monkeypatch.setattr(pages.backbone, "prepare", refuse)
    return pages


@pytest.mark.parametrize("item", ["too long", {"text": "too long", "instruction": "x"}], ids=["text", "mapping"])
@pytest.mark.parametrize("behind", [1, WINDOW], ids=["in the last window", "in a full window"])
def test_a_text_that_the_model_refuses_is_left_out_alone(tmp_path, strict, behind, item):
    index = Index.create(tmp_path / "docs.index", strict)
    names, bad = [str(number) for number in range(behind)], Bad()
    fill(index, strict, [*given("a"), Given("long", item), *given(*names)], skip_bad=bad)
    assert bad == [("long", "long: its text is 9 tokens too long")]
    assert index.ids() == ["a", *names]


def test_a_text_that_the_model_refuses_is_named_and_what_came_before_is_committed(tmp_path, strict):
    index = Index.create(tmp_path / "docs.index", strict)
    with pytest.raises(InputError) as caught:
        fill(index, strict, [*given("a"), Given("long", "too long"), *given("b")])
    assert message_of(caught.value) == "long: its text is 9 tokens too long"
    assert Index.open(index.path).ids() == ["a"]


@pytest.mark.parametrize("text", ["", " \n"], ids=ascii)
def test_a_bundle_of_images_takes_empty_texts_where_they_are_allowed(tmp_path, pages, text):
    index, bad = Index.create(tmp_path / "docs.index", pages), Bad()
    sources = [Given("text", text), Given("mapping", {"text": text, "instruction": "x"}), *given("a")]
    fill(index, pages, sources, skip_bad=bad)
    assert ([name for name, _ in bad], index.ids()) == (["text", "mapping"], ["a"])
    fill(index, pages, sources, allow_empty=True)
    assert index.ids() == ["a", "text", "mapping"]


@pytest.mark.parametrize("behind", [1, 0], ids=["a full window", "the last window"])
@pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip-bad"])
def test_what_goes_wrong_while_a_window_is_encoded_is_no_documents_fault(index, texts, monkeypatch, behind, skip):
    names, bad = [str(number) for number in range(2 * WINDOW - 1 + behind)], Bad()
    encode, error = texts.encode_document, InputError("an image is gone")

    def fail_later(items, **more):
        if items[0] != "document 0":
            raise error
        return encode(items, **more)

    monkeypatch.setattr(texts, "encode_document", fail_later)
    with pytest.raises(InputError) as caught:
        fill(index, texts, given(*names), skip_bad=bad if skip else None)
    assert (caught.value, bad) == (error, [])
    assert Index.open(index.path).ids() == names[:WINDOW]


def test_an_image_that_goes_away_behind_its_check_ends_the_work(tmp_path, pages, monkeypatch):
    write(tmp_path / "docs", "a.txt")
    for name in ("b.png", "c.png"):
        picture(1).save(tmp_path / "docs" / name)
    encode = pages.encode_document

    def lose(items, **more):
        (tmp_path / "docs" / "b.png").unlink(missing_ok=True)
        return encode(items, **more)

    monkeypatch.setattr(pages, "encode_document", lose)
    index, bad = Index.create(tmp_path / "docs.index", pages), Bad()
    with pytest.raises(InputError) as caught:
        fill(index, pages, listed(tmp_path / "docs"), skip_bad=bad)
    message_of(caught.value, "there is no image file", "b.png")
    assert (bad, len(index)) == ([], 0)
    fill(index, pages, listed(tmp_path / "docs"), skip_bad=bad)
    assert (bad, index.ids()) == ([], ["a.txt", "c.png"])


def test_a_text_that_goes_away_while_its_window_is_encoded_is_indexed_as_it_was(tmp_path, index, texts, monkeypatch):
    names = ["a.txt", "b.txt", "c.txt"]
    write(tmp_path / "docs", *names)
    encode = texts.encode_document

    def lose(items, **more):
        (tmp_path / "docs" / "b.txt").unlink(missing_ok=True)
        return encode(items, **more)

    monkeypatch.setattr(texts, "encode_document", lose)
    fill(index, texts, listed(tmp_path / "docs", TEXT))
    (hits,) = index.search(texts.encode_query("a list"), k=3)
    assert {hit.id: hit.meta["text"] for hit in hits} == dict.fromkeys(names, "a list")


def test_a_text_is_read_once(tmp_path, index, texts, monkeypatch):
    read, opened = Path.read_text, []
    monkeypatch.setattr(Path, "read_text", lambda path, **more: opened.append(path.name) or read(path, **more))
    write(tmp_path / "docs", "a.txt", "b.txt")
    fill(index, texts, listed(tmp_path / "docs", TEXT))
    assert opened == ["a.txt", "b.txt"]
