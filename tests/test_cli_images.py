"""Images on the command line: lines of a JSON Lines file, and `encode --image`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from commandline import FAKE, call, refused, tree
from folders import IDS, IMAGES, make_folder, picture, stored_ids, stored_vectors, write
from smartrt import Encoder, Index

pytest.importorskip("pypdfium2", reason="a folder of these tests has PDF files")

EXACT = ("--storage", "float32")  # what is stored is compared with what was encoded


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a folder. Read only."""
    return make_folder(tmp_path_factory.mktemp("place") / "docs").parent


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "docs")


@pytest.fixture(scope="module")
def encoder(page_path):
    with Encoder.open(page_path) as opened:
        yield opened


@pytest.fixture
def corpus(folder):
    """Lines with one image, several, an image and a text, and a text."""
    lines = [
        {"id": "one", "image": "a.png"},
        {"id": "two", "image": ["sub/b.jpg", "../docs/sub/deep/c.webp"], "title": "é", "place": [1]},
        {"id": "both", "image": "a.png", "text": "a list"},
        {"id": "told", "image": "a.png", "instruction": "find it"},
        {"id": "text", "text": "a list", "n": 1},
    ]
    path = folder / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_images_of_json_lines_are_found_beside_the_file(capsys, monkeypatch, tmp_path, page_path, corpus, encoder):
    monkeypatch.chdir("/")
    finished = call(capsys, "index", "build", page_path, corpus, "-o", tmp_path / "i", *EXACT, "--json")
    assert (finished.code, finished.err, finished.json["documents"]) == (0, "", 5)
    monkeypatch.chdir(corpus.parent)
    items = [
        {"image": "a.png"},
        {"image": ["sub/b.jpg", "sub/deep/c.webp"]},
        {"image": "a.png", "text": "a list"},
        {"image": "a.png", "instruction": "find it"},
        "a list",
    ]
    for stored, wanted in zip(
        stored_vectors(tmp_path / "i").values(), encoder.encode_document(items).tokens, strict=True
    ):
        np.testing.assert_allclose(stored, wanted, rtol=0, atol=1e-6)
    (answer,) = call(capsys, "search", page_path, tmp_path / "i", "list", "--json").json
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    assert {hit["id"]: hit["meta"] for hit in answer["hits"]} == {line.pop("id"): {"text": ""} | line for line in lines}


def test_an_instruction_on_a_line_of_text_is_encoded_with_it(capsys, tmp_path, page_path, encoder):
    items = [{"text": "a list"}, {"text": "a list", "instruction": "find it"}]
    lines = [json.dumps({"id": str(number)} | item) for number, item in enumerate(items)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    assert call(capsys, "index", "build", page_path, tmp_path / "c.jsonl", "-o", tmp_path / "i", *EXACT).code == 0
    for stored, wanted in zip(
        stored_vectors(tmp_path / "i").values(), encoder.encode_document(items).tokens, strict=True
    ):
        np.testing.assert_allclose(stored, wanted, rtol=0, atol=1e-6)
    pooled = Index.open(tmp_path / "i").segments[0].documents.pooled
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-3


@pytest.mark.parametrize(
    "line",
    [{"image": 7}, {"image": ["a.png", None]}, {"text": "x", "instruction": ["y"]}, {"text": None}],
    ids=json.dumps,
)
@pytest.mark.parametrize("command", ["index build", "encode"])
def test_a_line_of_wrong_kinds_is_refused_before_anything_is_written(capsys, tmp_path, page_path, line, command):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"id": "a", "text": "x"}, {"id": "b"} | line])))
    arguments = (path,) if command == "index build" else ("--input", path)
    refused(call(capsys, *command.split(), page_path, *arguments, "-o", tmp_path / "out"), f"{path} line 2")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("image", ["missing.png", ["a.png", "table.csv"], "https://example.org/a.png", "paper.pdf"])
def test_an_image_of_json_lines_that_cannot_be_used_is_bad(capsys, tmp_path, page_path, folder, image):
    path = folder / "corpus.jsonl"
    lines = [{"id": "a", "text": "x"}, {"id": "the bad one", "image": image}, {"id": "c", "image": "a.png"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    arguments = ("index", "build", page_path, path, "-o", tmp_path / "i")
    refused(call(capsys, *arguments), "smartrt: the bad one", "image", "; 1 of 3 documents are committed")
    finished = call(capsys, *arguments, "--resume", "--skip-bad", "--json")
    assert (finished.code, finished.json["documents"], len(finished.err.splitlines())) == (0, 2, 2)
    assert stored_ids(tmp_path / "i") == ["a", "c"]


def test_for_a_bundle_of_texts_images_are_metadata(capsys, tmp_path, tiny_path, corpus):
    build = ("index", "build", tiny_path, corpus, "-o", tmp_path / "i", *FAKE)
    refused(call(capsys, *build), f"{corpus} line 1 needs 'text'")
    line = {"image": ["missing.png", 7], "instruction": None, "text": "a list"}
    corpus.write_text(json.dumps({"id": "a"} | line))
    assert call(capsys, *build).code == 0
    (answer,) = call(capsys, "search", tiny_path, tmp_path / "i", "list", *FAKE, "--json").json
    assert answer["hits"][0]["meta"] == line


# Images are encoded.


def archive(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as content:
        return dict(content)


def test_encode_takes_texts_and_images_in_this_order(capsys, monkeypatch, tmp_path, page_path, place, encoder):
    monkeypatch.chdir(place / "docs")
    names = ["sub/b.jpg", "a.png"]
    output = tmp_path / "out.npz"
    finished = call(capsys, "encode", page_path, "a list", "a file", "--image", *names, "-o", output, "--json")
    assert (finished.code, finished.err, finished.json["items"]) == (0, "", 4)
    got, wanted = archive(output), encoder.encode_document(["a list", "a file", *({"image": name} for name in names)])
    assert got["ids"].tolist() == ["0", "1", *names]
    np.testing.assert_allclose(got["tokens"], wanted.tokens.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got["pooled"], wanted.pooled, rtol=0, atol=1e-6)
    assert got["offsets"].tolist() == wanted.tokens.offsets.tolist()


def test_encode_takes_images_alone_from_a_flag_or_the_environment(capsys, monkeypatch, tmp_path, page_path, place):
    monkeypatch.chdir(place / "docs")
    assert call(capsys, "encode", page_path, "--image", *IMAGES, "-o", tmp_path / "a.npz").code == 0
    monkeypatch.setenv("SMARTRT_IMAGE", os.pathsep.join(IMAGES))
    assert call(capsys, "encode", page_path, "-o", tmp_path / "b.npz").code == 0
    a, b = archive(tmp_path / "a.npz"), archive(tmp_path / "b.npz")
    assert a["ids"].tolist() == list(IMAGES)
    assert all((a[key] == b[key]).all() for key in a)


def test_encode_takes_a_file_with_images_and_a_folder(capsys, tmp_path, page_path, corpus):
    for source, wanted in ((corpus, ["one", "two", "both", "told", "text"]), (corpus.parent, IDS)):
        assert call(capsys, "encode", page_path, "--input", source, "-o", tmp_path / "out.npz").code == 0
        assert archive(tmp_path / "out.npz")["ids"].tolist() == wanted


def test_encode_refuses_what_cannot_be_encoded_and_writes_nothing(capsys, monkeypatch, tmp_path, page_path, place):
    monkeypatch.chdir(place / "docs")
    output = ("-o", tmp_path / "out.npz")
    refused(call(capsys, "encode", page_path, "--image", "a.png", "table.csv", *output), "not an image")
    refused(call(capsys, "encode", page_path, "--image", "no.png", *output), "there is no image file 'no.png'")
    refused(call(capsys, "encode", page_path, "--image", "a.png", "--input", "x.jsonl", *output), "one of the two")
    refused(call(capsys, "encode", page_path, "--image", "a.png", "--max-image-pixels", 9, *output), "64 x 64")
    refused(call(capsys, "encode", page_path, "", "--image", "a.png", *output), "document 0 is empty")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("side", ["query", "document"])
def test_encode_names_the_image_that_it_refuses(capsys, tmp_path, page_path, place, side):
    names = [place / "docs" / name for name in ("a.png", "table.csv")]
    arguments = ("encode", page_path, "a list", "--image", *names, "-o", tmp_path / "out.npz", "--side", side)
    refused(call(capsys, *arguments), f"smartrt: {names[1]}: not an image")


def test_encode_names_the_line_whose_image_it_refuses(capsys, tmp_path, page_path, corpus):
    (corpus.parent / "sub" / "b.jpg").write_bytes(b"junk")
    refused(
        call(capsys, "encode", page_path, "--input", corpus, "-o", tmp_path / "out.npz"),
        "smartrt: two, image 1: not an image",
    )


BAD_ENTRIES = {
    "b.pdf": "b.pdf is no PDF",
    "b\udcff.txt": "the name of 'b\\udcff.txt' is not UTF-8",
    "b.txt": "b.txt is not UTF-8",
    "sub/b.png": "sub/b.png: the image is damaged",
}


@pytest.mark.parametrize(("name", "mention"), BAD_ENTRIES.items(), ids=map(ascii, BAD_ENTRIES))
def test_encode_leaves_no_file_of_a_folder_out_in_silence(capsys, tmp_path, page_path, name, mention):
    write(tmp_path, "docs/a.txt")
    write(tmp_path, f"docs/{name}", content=b"\x89PNG\xff")
    finished = call(capsys, "encode", page_path, "--input", tmp_path / "docs", "-o", tmp_path / "out.npz")
    refused(finished, mention)
    assert not (tmp_path / "out.npz").exists()


def test_encode_raises_the_first_bad_entry(capsys, tmp_path, page_path):
    write(tmp_path, "docs/a.txt", "docs/c.pdf", "docs/b.pdf")
    finished = call(capsys, "encode", page_path, "--input", tmp_path / "docs", "-o", tmp_path / "out.npz")
    refused(finished, "b.pdf is no PDF")


@pytest.mark.parametrize("bundle", ["tiny", "page"])
def test_encode_names_the_empty_text_of_a_folder(capsys, tmp_path, tiny_path, page_path, bundle):
    write(tmp_path, "docs/a.txt")
    write(tmp_path, "docs/sub/b.txt", content=b" \n")
    arguments = {"tiny": (tiny_path, *FAKE), "page": (page_path,)}[bundle]
    finished = call(capsys, "encode", *arguments, "--input", tmp_path / "docs", "-o", tmp_path / "out.npz")
    refused(finished, "sub/b.txt", "empty", "--allow-empty")


@pytest.mark.parametrize(
    "arguments",
    [
        "encode {bundle} -o new.npz --image a.png",
        "encode {bundle} list -o new.npz --image a.png",
        "search {bundle} tiny.index --image a.png",
        "search {bundle} tiny.index list --image a.png",
        "explain {bundle} list --image a.png",
    ],
    ids=["encode", "encode, both", "search", "search, both", "explain"],
)
def test_a_bundle_of_texts_refuses_images(capsys, monkeypatch, tmp_path, tiny_path, arguments):
    monkeypatch.chdir(tmp_path)
    picture(0).save("a.png")
    with Encoder.open(tiny_path, engine="fake") as texts:
        Index.create("tiny.index", texts).add(["a"], texts.encode_document(["a list"]))
    before = tree(tmp_path)
    refused(call(capsys, *arguments.format(bundle=tiny_path).split(), *FAKE), "['image']", "text only")
    assert tree(tmp_path) == before
