"""`search` and `explain` with images: an index of a folder is asked, a match is explained."""

from __future__ import annotations

import json

import pytest

from commandline import call, finish, refused, start
from folders import IDS, IMAGES, TEXTS, make_folder, make_index, picture, write
from smartrt import Encoder, Index
from smartrt.backbones import qwen_vl
from smartrt.pdf import render_page

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


def ask(capsys, page_path, built, *arguments):
    finished = call(capsys, "search", page_path, built, *arguments, "--json")
    assert (finished.code, finished.err) == (0, "")
    return finished.json


def scores(hits):
    return {hit["id"]: (hit["pooled"], hit["late"]) for hit in hits}


def test_hits_say_from_where_they_are(capsys, page_path, built):
    (answer,) = ask(capsys, page_path, built, "a list")
    assert answer["query"] == "a list"
    assert {hit["id"]: hit["meta"] for hit in answer["hits"]} == (
        {name: {"path": name} for name in IMAGES}
        | {name: {"path": name, "text": text} for name, text in TEXTS.items()}
        | {f"paper.pdf#page={page}": {"path": "paper.pdf", "page": page} for page in (1, 2)}
    )
    said = call(capsys, "search", page_path, built, "a list").out.splitlines()
    assert said[0] == "a list"
    assert [line.split("late  ")[1].split("  ")[0] for line in said[1:]] == [hit["id"] for hit in answer["hits"]]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_finds_itself_first(capsys, page_path, place, built, name):
    image = place / "docs" / name
    (answer,) = ask(capsys, page_path, built, "--image", image, "-k", "2")
    first, second = answer["hits"]
    assert (answer["query"], first["id"]) == (str(image), name)
    assert first["score"] == pytest.approx(2, abs=1e-5)
    assert second["score"] < 1.9999


@pytest.mark.parametrize("page", [1, 2])
def test_the_picture_of_a_page_finds_the_page_first(capsys, tmp_path, page_path, place, built, page):
    render_page("paper.pdf", place / "docs" / "paper.pdf", page).save(tmp_path / "page.png")
    (answer,) = ask(capsys, page_path, built, "--image", tmp_path / "page.png", "-k", "1")
    assert answer["hits"][0]["id"] == f"paper.pdf#page={page}"
    assert answer["hits"][0]["score"] == pytest.approx(2, abs=1e-5)


def test_each_query_is_asked_with_the_image_and_the_instruction(capsys, page_path, place, built, encoder):
    image, texts = place / "docs" / "a.png", ("a list", "a file")
    for extra in ({"image": str(image)}, {"instruction": "Find it"}, {"image": str(image), "instruction": "Find it"}):
        flags = [word for key, value in extra.items() for word in (f"--{key}", value)]
        answers = ask(capsys, page_path, built, *texts, *flags, "-k", "7")
        wanted = Index.open(built).search(encoder.encode_query([extra | {"text": text} for text in texts]), k=7)
        assert [answer["query"] for answer in answers] == list(texts)
        for answer, hits in zip(answers, wanted, strict=True):
            assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]
            assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit.score for hit in hits], abs=1e-5)


def test_an_instruction_changes_the_scores(capsys, page_path, built):
    (plain,), (told,) = (
        ask(capsys, page_path, built, "a list", *flags) for flags in ((), ("--instruction", "Find it"))
    )
    assert scores(plain["hits"]) != scores(told["hits"])


def test_the_mask_text_only_keeps_the_image_of_a_query_out_of_late_interaction(
    capsys, page_path, place, built, encoder
):
    flags = ("--image", place / "docs" / "a.png", "-k", "7")
    (plain,), (masked,) = (
        ask(capsys, page_path, built, "a list", *flags, "--query-mask", mask) for mask in ("bundle", "text-only")
    )
    before, after = scores(plain["hits"]), scores(masked["hits"])
    for name in IDS:
        assert after[name][0] == pytest.approx(before[name][0], abs=1e-6)
        assert abs(after[name][1] - before[name][1]) > 1e-4
    query = {"text": "a list", "image": str(flags[1])}
    kept = [len(encoder.encode_query(query, query_mask=mask).tokens[0]) for mask in ("bundle", "text-only")]
    assert kept[0] - kept[1] == 4  # 64 x 64 pixels


def test_without_an_image_the_mask_changes_nothing(capsys, page_path, built):
    answers = [ask(capsys, page_path, built, "a list", "--query-mask", mask) for mask in ("bundle", "text-only")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("mask", ["none", "text", ""])
def test_an_unknown_mask_is_refused(capsys, monkeypatch, page_path, built, mask):
    arguments = ("search", page_path, built, "a list")
    refused(call(capsys, *arguments, "--query-mask", mask), "--query-mask", repr(mask), "bundle", "text-only")
    monkeypatch.setenv("SMARTRT_QUERY_MASK", mask)
    refused(call(capsys, *arguments), f"SMARTRT_QUERY_MASK={mask!r}", "bundle, text-only")


@pytest.mark.parametrize(
    ("flags", "mention"),
    [
        (("--image", "no.png"), "there is no image file 'no.png'"),
        (("--image", "table.csv"), "not an image"),
        (("list", "--image", "paper.pdf"), "not an image in a known format"),
        (("--image", "https://example.org/a.png"), "is a URL: nothing is fetched"),
        (("--image", "a.png", "--max-image-pixels", "9"), "64 x 64"),
        (("", "--instruction", "Find it"), "query 0 is empty"),
    ],
    ids=["missing", "junk", "PDF", "URL", "too large", "an instruction alone"],
)
def test_a_query_that_cannot_be_asked_is_refused(capsys, monkeypatch, page_path, place, built, flags, mention):
    monkeypatch.chdir(place / "docs")
    refused(call(capsys, "search", page_path, built, *flags), "query 0", mention)


def test_queries_of_standard_input_take_the_flags_too(page_path, built):
    process = start("search", page_path, built, "--instruction", "Find it", "-k", "1", "--json", stdin=-1)
    finished = finish(process, b"a list\n\na file\n")
    assert (finished.code, finished.err) == (0, "")
    assert [json.loads(line)["query"] for line in finished.out.splitlines()] == ["a list", "a file"]


def test_a_query_of_text_never_loads_the_vision_graph(capsys, monkeypatch, page_path, place, built):
    loaded, load = [], qwen_vl.open_engine

    def note(bundle, graph, **options):
        loaded.append(graph)
        return load(bundle, graph, **options)

    monkeypatch.setattr(qwen_vl, "open_engine", note)
    ask(capsys, page_path, built, "a list", "a file", "--query-mask", "text-only", "--instruction", "Find it")
    assert call(capsys, "explain", page_path, "a list", "a file").code == 0
    assert loaded == ["decoder"] * 2
    ask(capsys, page_path, built, "--image", place / "docs" / "a.png")
    assert loaded[2:] == ["decoder", "vision"]


def test_an_encoder_loads_the_vision_graph_with_its_first_image(page_path, place):
    with Encoder.open(page_path) as opened:
        opened.encode_query(["a list", {"text": "a file", "instruction": "Find it"}])
        opened.encode_document("a list")
        opened.describe("a list", "query")
        assert opened.backbone.vision.engine is None
        opened.encode_document({"image": place / "docs" / "a.png"})
        assert opened.backbone.vision.engine is not None


# A match is explained.


def test_explain_names_the_places_of_an_image(capsys, tmp_path, page_path, encoder):
    picture(0, 96, 64).save(tmp_path / "a.png")
    finished = call(capsys, "explain", page_path, "a list", "--image", tmp_path / "a.png", "--json")
    assert (finished.code, finished.err) == (0, "")
    names = encoder.describe({"image": tmp_path / "a.png"}, "document")
    places = [f"image 1, row {row}, column {column}" for row in range(2) for column in range(3)]
    assert [name for name in names if name.startswith("image")] == places
    query, document = encoder.encode_query("a list"), encoder.encode_document({"image": tmp_path / "a.png"})
    products = query.tokens[0] @ document.tokens[0].T
    assert [match["position"] for match in finished.json["matches"]] == products.argmax(axis=1).tolist()
    assert [match["document_token"] for match in finished.json["matches"]] == [
        names[match["position"]] for match in finished.json["matches"]
    ]
    assert finished.json["late"] == pytest.approx(products.max(axis=1).mean(), abs=1e-5)
    said = call(capsys, "explain", page_path, "a list", "--image", tmp_path / "a.png").out.splitlines()
    assert len(said) == 2 + len(finished.json["matches"])


def test_explain_takes_one_document_that_can_be_used(capsys, tmp_path, page_path):
    picture(0).save(tmp_path / "a.png")
    write(tmp_path, "junk.png", content=b"junk")
    explain = ("explain", page_path, "a list")
    refused(call(capsys, *explain), "--image", "one of the two")
    refused(call(capsys, *explain, "a file", "--image", tmp_path / "a.png"), "--image", "one of the two")
    refused(call(capsys, *explain, "--image", tmp_path / "junk.png"), "not an image")
    refused(call(capsys, *explain, "--image", tmp_path / "no.png"), "no.png")
