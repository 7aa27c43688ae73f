"""`smartrt index`: how vectors are kept, replacing, deleting, compacting, and what is said of it."""

from __future__ import annotations

import json

import pytest

from commandline import FAKE, TEXTS, build_index, call, one_line, refused, tree, write_corpus
from folders import stored_vectors
from smartrt import Bundle, Encoder, Index, IndexOptions
from smartrt.engines.fake import FakeEngine
from smartrt.index.build import fill
from smartrt.jsonl import read_records
from support import flip_bit


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


@pytest.fixture
def built(tmp_path, tiny_path, corpus):
    return build_index(tmp_path / "docs.index", tiny_path, corpus)


@pytest.fixture
def build(tmp_path, tiny_path, corpus):
    """The beginning of a command that builds `new.index`."""
    return "index", "build", tiny_path, corpus, "-o", tmp_path / "new.index", *FAKE


def info(capsys, path):
    return call(capsys, "index", "info", path, "--json").json


def options(storage="int16", pooling=1, projection=None, dim=None):
    return {"storage": storage, "pooling": pooling, "projection": projection, "dim": dim}


KEPT = {
    "nothing said": ("", options(), "int16: "),
    "int8": ("--storage int8", options("int8"), "int8: "),
    "float16": ("--storage float16", options("float16"), "float16: "),
    "float32": ("--storage float32", options("float32"), "float32: "),
    "pooled": ("--pool 2", options(pooling=2), "int16, tokens pooled by 2: "),
    "a pool of one": ("--pool 1", options(), "int16: "),
    "random": ("--projection orthogonal --dim 8", options("int16", 1, "orthogonal", 8), "32 dims to 8 by orthogonal"),
    "pca": ("--projection pca --dim 4", options("int16", 1, "pca", 4), "int16, 32 dims to 4 by pca: "),
    "all at once": (
        "--storage int8 --pool 2 --projection pca --dim 4", options("int8", 2, "pca", 4),
        "int8, tokens pooled by 2, 32 dims to 4 by pca: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "wanted", "words"), KEPT.values(), ids=KEPT)
def test_how_vectors_are_kept_is_recorded_and_is_what_the_library_does(
    capsys, tmp_path, tiny_path, corpus, build, flags, wanted, words
):
    if wanted["pooling"] > 1:
        pytest.importorskip("scipy", reason="pooling needs scipy")
    finished = call(capsys, *build, *flags.split(), "--json")
    assert (finished.code, finished.err) == (0, "")
    assert finished.json["options"] == wanted
    assert finished.json["dims"] == {"pooled": 32, "token": 32, "stored": wanted["dim"] or 32}
    assert info(capsys, tmp_path / "new.index") == finished.json
    text = call(capsys, "index", "info", tmp_path / "new.index").out
    assert words in text
    assert f"token vectors of {wanted['dim'] or 32} dims" in text
    with Encoder.open(tiny_path, engine="fake") as encoder:
        fill(Index.create(tmp_path / "lib.index", encoder, IndexOptions(**wanted)), encoder, read_records(corpus))
    assert tree(tmp_path / "new.index") == tree(tmp_path / "lib.index")
    hits = call(capsys, "search", tiny_path, tmp_path / "new.index", "list", *FAKE, "--json").json[0]["hits"]
    assert {hit["id"] for hit in hits} == {"d0", "d1", "d2"}


def test_fewer_numbers_take_fewer_bytes_and_are_further_off(capsys, tmp_path, tiny_path):
    corpus, about = write_corpus(tmp_path / "many.jsonl", [f"{i} sort a list of keys" for i in range(50)]), {}
    for storage in ("int8", "int16", "float16", "float32"):
        path = tmp_path / storage
        arguments = ("index", "build", tiny_path, corpus, "-o", path, *FAKE, "--storage", storage, "--json")
        about[storage] = call(capsys, *arguments).json
    sizes = {storage: data["bytes_per_document"] for storage, data in about.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["int16"] < sizes["float32"]  # int16 has a scale beside it
    errors = {storage: data["largest_error"] for storage, data in about.items()}
    assert 0 <= errors["float32"] < 1e-30 < errors["int16"] < errors["float16"] < errors["int8"] < 0.1


def test_environment_variables_say_how_vectors_are_kept(capsys, monkeypatch, build):
    given = {"STORAGE": "int8", "PROJECTION": "orthogonal", "DIM": "5"}
    for name, value in given.items():
        monkeypatch.setenv(f"SMARTRT_{name}", value)
    assert call(capsys, *build, "--dim", "6", "--json").json["options"] == options("int8", 1, "orthogonal", 6)


BAD = {
    "unknown storage": ("--storage int4", ["--storage", "'int4'", "int16", "float32"]),
    "unknown projection": ("--projection svd --dim 4", ["--projection", "'svd'", "pca"]),
    "a pool of nothing": ("--pool 0", ["--pool", "'0'", "from 1 up"]),
    "a pool of too much": ("--pool 65", ["pooling", "1 to 64", "65"]),
    "a projection without dim": ("--projection pca", ["projection and dim go together", "'pca'", "None"]),
    "dim without a projection": ("--dim 4", ["projection and dim go together", "None", "4"]),
    "more dims than there are": ("--projection orthogonal --dim 33", ["dim 33", "32"]),
    "dim of 0": ("--projection pca --dim 0", ["--dim", "'0'", "from 1 up"]),
}


@pytest.mark.parametrize(("flags", "mentions"), BAD.values(), ids=BAD)
def test_what_vectors_cannot_be_kept_as_is_refused_and_nothing_is_made(capsys, tmp_path, build, flags, mentions):
    refused(call(capsys, *build, *flags.split()), *mentions)
    assert not (tmp_path / "new.index").exists()


def test_a_pca_without_enough_vectors_says_how_many_it_needs(capsys, build):
    refused(call(capsys, *build, "--projection", "pca", "--dim", "31"), "needs at least 31", "'orthogonal'")


@pytest.mark.parametrize("flag", ["--resume", "--replace"])
@pytest.mark.parametrize(
    ("given", "mentions"),
    [
        ("--storage int16", ["storage int8", "int16"]),
        ("--pool 3", ["pooling 1", "3"]),
        ("--projection pca", ["projection orthogonal", "pca"]),
        ("--dim 9", ["dim 8", "9"]),
    ],
)
def test_an_index_goes_on_only_as_it_was_made(capsys, tmp_path, build, flag, given, mentions):
    made = ("--storage", "int8", "--projection", "orthogonal", "--dim", "8")
    assert call(capsys, *build, *made).code == 0
    before = tree(tmp_path / "new.index")
    refused(call(capsys, *build, flag, *given.split()), tmp_path / "new.index", *mentions, "build a new index")
    assert tree(tmp_path / "new.index") == before
    for same in ((), made, made[:2]):
        assert call(capsys, *build, flag, *same, "--json").json["options"] == options("int8", 1, "orthogonal", 8)


def test_replace_encodes_again_and_keeps_one_document_an_id(capsys, tmp_path, tiny_path, corpus, built):
    write_corpus(corpus, [TEXTS[0], "zebra", TEXTS[2], "new"])
    add = ("index", "build", tiny_path, corpus, "-o", built, *FAKE)
    assert call(capsys, *add, "--resume", "--json").json["documents"] == 4
    find = ("search", tiny_path, built, "zebra", *FAKE, "-k", "1", "--json")
    assert call(capsys, *find).json[0]["hits"][0]["meta"] != {"text": "zebra"}
    data = call(capsys, *add, "--replace", "--json").json
    assert (data["documents"], data["deleted"]) == (4, 4)
    assert Index.open(built).ids() == ["d0", "d1", "d2", "d3"]
    (hit,) = call(capsys, *find).json[0]["hits"]
    assert (hit["id"], hit["meta"]) == ("d1", {"text": "zebra"})
    assert (hit["pooled"], hit["late"]) == (pytest.approx(1, abs=1e-4), pytest.approx(1, abs=1e-4))
    call(capsys, "index", "compact", built)
    fresh = call(capsys, "index", "build", tiny_path, corpus, "-o", tmp_path / "fresh", *FAKE, "--json").json
    now = info(capsys, built)
    assert {key: now[key] for key in ("documents", "deleted", "tokens", "truncated", "segments", "bytes")} == {
        key: fresh[key] for key in ("documents", "deleted", "tokens", "truncated", "segments", "bytes")
    }


def test_replace_starts_where_there_is_nothing_and_leaves_other_documents_alone(capsys, tmp_path, build, corpus):
    assert call(capsys, *build, "--replace", "--json").json["documents"] == 3
    corpus.write_text(json.dumps({"id": "d1", "text": "copy a file"}))
    assert call(capsys, *build, "--replace", "--json").json["documents"] == 3
    index = Index.open(tmp_path / "new.index")
    assert index.ids() == ["d0", "d2", "d1"]
    index.check()


def test_deleted_documents_are_not_found_and_info_says_how_to_compact(capsys, tiny_path, built):
    finished = call(capsys, "index", "delete", built, "d0", "d2")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith(f"{built}: 1 documents, ")
    assert f"2 deleted documents still take space: smartrt index compact {built}\n" in finished.out
    assert call(capsys, "index", "info", built) == finished
    data = info(capsys, built)
    assert (data["documents"], data["deleted"], data["tokens"]) == (1, 2, len(stored_vectors(built)["d1"]))
    hits = call(capsys, "search", tiny_path, built, "list", *FAKE, "--json").json[0]["hits"]
    assert [hit["id"] for hit in hits] == ["d1"]
    assert call(capsys, "index", "check", built).code == 0


def test_delete_prints_json_and_may_take_every_document(capsys, tiny_path, built):
    data = call(capsys, "index", "delete", built, "d2", "d0", "d1", "--json").json
    assert (data["documents"], data["deleted"], data["tokens"]) == (0, 3, 0)
    finished = call(capsys, "search", tiny_path, built, "list", *FAKE)
    assert (finished.code, finished.out) == (0, "list\n")
    one_line(finished.err, built, "holds no document")
    data = call(capsys, "index", "compact", built, "--json").json
    assert (data["documents"], data["deleted"], data["segments"], data["bytes"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("ids", "mentions"),
    [
        (["nobody"], ["'nobody'", "not in the index", "nothing was deleted"]),
        (["d0", "nobody", "d1"], ["'nobody'", "not in the index", "nothing was deleted"]),
        (["d0", "d0"], ["'d0'", "twice"]),
        ([""], ["non-empty", "''"]),
        ([], ["ID"]),
    ],
    ids=["unknown", "unknown among known", "twice", "empty", "none"],
)
def test_what_cannot_be_deleted_is_refused_and_nothing_is(capsys, built, ids, mentions):
    before = tree(built)
    refused(call(capsys, "index", "delete", built, *ids), *mentions)
    assert tree(built) == before


def test_a_document_that_was_deleted_cannot_be_deleted_again_but_comes_back_with_resume(
    capsys, tiny_path, corpus, built
):
    assert call(capsys, "index", "delete", built, "d1").code == 0
    refused(call(capsys, "index", "delete", built, "d1"), "'d1'", "not in the index")
    assert call(capsys, "index", "build", tiny_path, corpus, "-o", built, *FAKE, "--resume").code == 0
    assert Index.open(built).ids() == ["d0", "d2", "d1"]


def test_compact_gives_back_the_space_and_changes_no_answer(capsys, tiny_path, built):
    call(capsys, "index", "delete", built, "d1")
    search = ("search", tiny_path, built, "a list", *FAKE, "--json")
    hits, before = call(capsys, *search), info(capsys, built)
    finished = call(capsys, "index", "compact", built, "--json")
    assert (finished.code, finished.err) == (0, "")
    assert (finished.json["documents"], finished.json["deleted"]) == (2, 0)
    assert finished.json["bytes"] < before["bytes"]
    assert call(capsys, *search) == hits
    assert not list(built.rglob("deleted-*"))
    text = call(capsys, "index", "compact", built)  # nothing is left to do
    assert "smartrt index compact" not in text.out
    assert text == call(capsys, "index", "info", built)
    assert call(capsys, "index", "check", built).code == 0


@pytest.mark.parametrize("action", ["delete", "compact"])
def test_an_index_that_is_not_there_cannot_be_changed(capsys, tmp_path, action):
    ids = ["d0"] if action == "delete" else []
    refused(call(capsys, "index", action, tmp_path / "no.index", *ids), "no.index", "smartrt index build")


@pytest.mark.parametrize("name", ["projection.npy", "segment-000001/scale.npy", "segment-000001/lines.npy"])
def test_check_returns_1_after_a_flipped_bit(capsys, tmp_path, build, name):
    path = tmp_path / "new.index"
    assert call(capsys, *build, "--storage", "int8", "--projection", "orthogonal", "--dim", "8").code == 0
    flip_bit(path / name, -4)
    finished = call(capsys, "index", "check", path)
    assert (finished.code, finished.out) == (1, "")
    one_line(finished.err, path / name, "build the index again")
    data = call(capsys, "index", "check", path, "--json")
    assert (data.code, data.err, data.json["ok"]) == (1, "", False)
    assert str(path / name) in data.json["problem"]


def test_a_deletion_that_changed_on_disk_is_refused_by_every_action(capsys, built):
    assert call(capsys, "index", "delete", built, "d1").code == 0
    (stones,) = built.glob("segment-000001/deleted-*.npy")
    flip_bit(stones)
    for action in ("check", "info", "compact", "delete"):
        ids = ["d0"] if action == "delete" else []
        refused(call(capsys, "index", action, built, *ids), stones, "deletes 2 documents, the index says 1")


@pytest.mark.parametrize("flag", ["--resume", "--replace"])
def test_a_stopped_build_counts_the_documents_of_its_corpus(capsys, monkeypatch, tiny_path, corpus, built, flag):
    corpus.write_text(json.dumps({"id": "new", "text": "a list"}))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "run", interrupt)
    line = refused(call(capsys, "index", "build", tiny_path, corpus, "-o", built, *FAKE, flag), "interrupted")
    assert "3 of 1" not in line


def test_an_empty_index_that_was_there_is_not_removed(capsys, tmp_path, tiny_path, build):
    made = Index.create(tmp_path / "new.index", Bundle.open(tiny_path), IndexOptions(projection="pca", dim=31))
    refused(call(capsys, *build, "--resume"), "needs at least 31")
    assert Index.open(made.path).manifest == made.manifest


def test_a_pca_without_enough_vectors_is_no_documents_fault(capsys, build):
    line = refused(call(capsys, *build, "--projection", "pca", "--dim", "31"))
    assert "--skip-bad" not in line
