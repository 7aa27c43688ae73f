"""`smartrt index` and `smartrt search`: building, resuming, describing, checking, asking."""

from __future__ import annotations

import json

import numpy as np
import pytest

from commandline import FAKE, TEXTS, build_index, call, one_line, refused, tree, write_corpus
from folders import stored_vectors
from smartrt import Encoder, Index, files, strict_json
from smartrt.engines.fake import FakeEngine
from smartrt.index.build import fill
from smartrt.jsonl import read_records
from support import flip_bit

KEYS = {
    "index", "format_version", "bundle", "documents", "deleted", "tokens", "truncated", "options", "dims", "segments",
    "bytes", "bytes_per_document", "largest_error",
}  # fmt: skip
LONG = "sort a list of keys by their order in the file " * 8  # 48 tokens fit; 512 such documents are 3 MB


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


@pytest.fixture
def built(tmp_path, tiny_path, corpus):
    return build_index(tmp_path / "docs.index", tiny_path, corpus)


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_build_writes_what_the_library_writes_and_describes_it(capsys, tmp_path, tiny_path, corpus, engine):
    finished = call(capsys, "index", "build", tiny_path, corpus, "-o", tmp_path / "a", "--engine", engine, "--json")
    with Encoder.open(tiny_path, engine=engine) as encoder:
        index = Index.create(tmp_path / "b", encoder)
        fill(index, encoder, read_records(corpus))
        states = encoder.encode_document(TEXTS).tokens
    pairs = zip(stored_vectors(index.path).values(), states, strict=True)
    errors = [np.linalg.norm(kept - given, axis=1).max() for kept, given in pairs]
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert (finished.code, finished.err) == (0, "")
    assert set(finished.json) == KEYS
    assert finished.json["bundle"] == {"name": "tiny", "identity": encoder.bundle.identity}
    assert finished.json["dims"] == {"pooled": 32, "token": 32, "stored": 32}
    assert finished.json["options"] == {"storage": "int16", "pooling": 1, "projection": None, "dim": None}
    assert (finished.json["format_version"], finished.json["deleted"]) == (2, 0)
    assert (finished.json["documents"], finished.json["tokens"]) == (3, index.tokens)
    assert (finished.json["truncated"], finished.json["segments"]) == (0, 1)
    files = [content for name, content in tree(tmp_path / "b").items() if content is not None and "/" in name]
    assert finished.json["bytes"] == sum(map(len, files))
    assert finished.json["bytes_per_document"] == finished.json["bytes"] // 3
    assert max(errors) <= finished.json["largest_error"] < 1e-4


def test_info_describes_an_index_as_build_did(capsys, tmp_path, tiny_path, corpus):
    arguments = ("index", "build", tiny_path, corpus, *FAKE, "-o")
    said, data = call(capsys, *arguments, tmp_path / "a"), call(capsys, *arguments, tmp_path / "b", "--json")
    assert said.code == 0
    assert call(capsys, "index", "info", tmp_path / "a") == said
    assert call(capsys, "index", "info", tmp_path / "b", "--json") == data
    assert said.out.startswith(f"{tmp_path / 'a'}: 3 documents, ")


def test_info_describes_an_index_without_documents(capsys, tmp_path, tiny_path):
    with Encoder.open(tiny_path, engine="fake") as encoder:
        Index.create(tmp_path / "docs.index", encoder)
    assert call(capsys, "index", "info", tmp_path / "docs.index", "--json").json["documents"] == 0
    assert call(capsys, "index", "info", tmp_path / "docs.index").code == 0


@pytest.mark.parametrize("candidates", ["1", "100", "all"])
def test_an_index_without_documents_answers_with_no_hits_and_says_so(capsys, tmp_path, tiny_path, candidates):
    with Encoder.open(tiny_path, engine="fake") as encoder:
        Index.create(tmp_path / "docs.index", encoder)
    arguments = ("search", tiny_path, tmp_path / "docs.index", "list", *FAKE, "--candidates", candidates)
    finished = call(capsys, *arguments)
    assert (finished.code, finished.out) == (0, "list\n")
    one_line(finished.err, tmp_path / "docs.index", "holds no document", "smartrt index build --resume")
    assert call(capsys, *arguments, "--json").json == [{"query": "list", "hits": []}]


def test_a_document_of_a_megabyte_is_indexed_and_counted_as_truncated(capsys, tmp_path, tiny_path):
    corpus = write_corpus(tmp_path / "corpus.jsonl", ["short", "word " * 200_000])
    arguments = ("index", "build", tiny_path, corpus, *FAKE, "-o")
    assert call(capsys, *arguments, tmp_path / "a", "--json").json["truncated"] == 1
    assert "truncated documents: 1" in call(capsys, *arguments, tmp_path / "b").out
    assert call(capsys, "index", "info", tmp_path / "a", "--json").json["truncated"] == 1


BAD_LINES = {
    "not UTF-8": (b'{"id": "x", "text": "\xff"}', "line 3 is not UTF-8"),
    "not JSON": (b"{'id'}", "line 3 is not JSON"),
    "not an object": (b"[1]", "line 3 must be an object"),
    "no id": (b'{"text": "x"}', "line 3 needs 'id'"),
    "no text": (b'{"id": "x"}', "line 3 needs 'text'"),
    "an id that is a number": (b'{"id": 7, "text": "x"}', "line 3 needs 'id' as a string, got 7"),
    "an id used before": (b'{"id": "d1", "text": "x"}', "line 3: id 'd1' was used on line 2"),
    "an empty text": (b'{"id": "x", "text": " "}', "line 3: document 'x' has an empty text"),
    "half a surrogate pair in a text": (b'{"id": "x", "text": "\\ud800"}', "line 3"),
    "half a surrogate pair in an id": (b'{"id": "\\ud800", "text": "x"}', "line 3"),
    "a number that is none": (b'{"id": "x", "text": "x", "score": NaN}', "line 3"),
}


@pytest.mark.parametrize(("line", "mention"), BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("command", ["index build", "encode"])
def test_a_bad_line_is_known_by_its_number_before_anything_is_written(
    capsys, tmp_path, tiny_path, command, line, mention
):
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS[:2])
    corpus.write_bytes(corpus.read_bytes() + line + b"\n")
    before = tree(tmp_path)
    arguments = (corpus,) if command == "index build" else ("--input", corpus)
    finished = call(capsys, *command.split(), tiny_path, *arguments, "-o", tmp_path / "out", *FAKE)
    refused(finished, corpus, mention)
    assert tree(tmp_path) == before


def test_empty_documents_are_let_in_where_that_is_asked_for(capsys, tmp_path, tiny_path):
    corpus = write_corpus(tmp_path / "corpus.jsonl", ["a list", "", " \n"])
    arguments = ("index", "build", tiny_path, corpus, "-o", tmp_path / "docs.index", *FAKE)
    refused(call(capsys, *arguments), "line 2", "--allow-empty")
    assert call(capsys, *arguments, "--allow-empty", "--json").json["documents"] == 3
    (answer,) = call(capsys, "search", tiny_path, tmp_path / "docs.index", "list", *FAKE, "-k", "3", "--json").json
    assert {hit["id"] for hit in answer["hits"]} == {"d0", "d1", "d2"}


def interrupt_after(monkeypatch, calls):
    """Let the fake engine run that many times and no more."""
    run, left = FakeEngine.run, iter(range(calls))

    def stop(engine, feeds):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return run(engine, feeds)

    monkeypatch.setattr(FakeEngine, "run", stop)


@pytest.mark.parametrize(("calls", "committed"), [(0, 0), (20, 512), (27, 1024)])
def test_resume_completes_an_interrupted_build_to_the_same_index(
    capsys, monkeypatch, tmp_path, tiny_path, calls, committed
):
    corpus = write_corpus(tmp_path / "corpus.jsonl", [f"{i} {LONG}" for i in range(1100)])
    arguments = ("index", "build", tiny_path, corpus, *FAKE, "--token-budget", "2048", "--commit-mb", "1", "-o")
    assert call(capsys, *arguments, tmp_path / "whole").code == 0
    interrupt_after(monkeypatch, calls)
    line = refused(call(capsys, *arguments, tmp_path / "parts"), "interrupted", "--resume", tmp_path / "parts")
    monkeypatch.undo()
    kept = Index.open(tmp_path / "parts")
    kept.check()
    assert len(kept) == committed
    assert f"; {committed:,} of 1,100 documents are committed in " in line
    assert kept.ids() == Index.open(tmp_path / "whole").ids()[: len(kept)]
    assert call(capsys, *arguments, tmp_path / "parts", "--resume").code == 0
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("module", "name"), [(files, "sync_directory"), (strict_json, "load")], ids=["flushing", "reading back"]
)
def test_an_interruption_right_behind_a_commit_counts_what_was_committed(
    capsys, monkeypatch, tmp_path, tiny_path, corpus, module, name
):
    path, function, interrupted = tmp_path / "docs.index", getattr(module, name), []

    def interrupt(where):
        manifest = path / "index.json"
        if where in (path, manifest) and not interrupted and "segment-000001" in manifest.read_text():
            interrupted.append(True)
            raise KeyboardInterrupt
        return function(where)

    monkeypatch.setattr(module, name, interrupt)
    finished = call(capsys, "index", "build", tiny_path, corpus, "-o", path, *FAKE)
    if interrupted:
        refused(finished, "interrupted; 3 of 3 documents are committed")
    assert Index.open(path).ids() == ["d0", "d1", "d2"]


def test_resume_starts_where_there_is_nothing_and_adds_only_what_is_new(capsys, tmp_path, tiny_path):
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS[:2])
    arguments = ("index", "build", tiny_path, corpus, "-o", tmp_path / "docs.index", *FAKE, "--resume")
    assert call(capsys, *arguments, "--json").json["documents"] == 2
    before = tree(tmp_path / "docs.index")
    assert call(capsys, *arguments, "--json").json["documents"] == 2
    assert tree(tmp_path / "docs.index") == before
    write_corpus(corpus, TEXTS)
    assert call(capsys, *arguments, "--json").json["segments"] == 2
    assert Index.open(tmp_path / "docs.index").ids() == ["d0", "d1", "d2"]


def test_check_agrees_with_a_sound_index(capsys, built):
    finished = call(capsys, "index", "check", built)
    assert (finished.code, finished.err) == (0, "")
    assert one_line(finished.out, "every byte of 3 documents")
    assert call(capsys, "index", "check", built, "--json").json == {"index": str(built), "ok": True, "problem": None}


@pytest.mark.parametrize("name", ["pooled.npy", "codes.npy", "bounds.npy", "truncated.npy", "documents.jsonl"])
def test_check_returns_1_and_one_line_on_a_flipped_byte(capsys, built, name):
    flip_bit(built / "segment-000001" / name, -2)
    finished = call(capsys, "index", "check", built)
    assert (finished.code, finished.out) == (1, "")
    one_line(finished.err, name, "build the index again")
    data = call(capsys, "index", "check", built, "--json")
    assert (data.code, data.err) == (1, "")
    assert set(data.json) == {"index", "ok", "problem"}
    assert data.json["ok"] is False
    assert name in data.json["problem"]


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_search_gives_the_hits_of_the_library(capsys, tmp_path, tiny_path, engine):
    corpus, path = tmp_path / "corpus.jsonl", tmp_path / "docs.index"
    lines = [{"id": f"é{i}", "text": text, "place": [i]} for i, text in enumerate(TEXTS)]
    corpus.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert call(capsys, "index", "build", tiny_path, corpus, "-o", path, "--engine", engine).code == 0
    queries = ("a list", "open")
    arguments = ("search", tiny_path, path, *queries, "-k", "2", "--late", "0.5", "--engine", engine)
    answers = call(capsys, *arguments, "--json").json
    with Encoder.open(tiny_path, engine=engine) as encoder:
        wanted = Index.open(path, encoder).search(encoder.encode_query(queries), k=2, late=0.5)
    assert [answer["query"] for answer in answers] == list(queries)
    assert [[hit["id"] for hit in answer["hits"]] for answer in answers] == [[h.id for h in hits] for hits in wanted]
    first = answers[0]["hits"][0]
    assert set(first) == {"id", "score", "pooled", "late", "meta"}
    assert first["score"] == first["pooled"] + 0.5 * first["late"]
    assert first["meta"] == {"place": lines[int(first["id"][1:])]["place"], "text": TEXTS[int(first["id"][1:])]}
    text = call(capsys, *arguments).out.splitlines()
    assert [line for line in text if not line.startswith(" ")] == list(queries)
    assert wanted[0][0].id in text[1]


def test_identical_documents_keep_the_order_of_the_corpus(capsys, tmp_path, tiny_path):
    path = build_index(tmp_path / "i", tiny_path, write_corpus(tmp_path / "c.jsonl", ["a list", "a file"] * 4))
    (answer,) = call(capsys, "search", tiny_path, path, "list", *FAKE, "-k", "8", "--json").json
    ids = [hit["id"] for hit in answer["hits"]]
    assert [name for name in ids if int(name[1:]) % 2 == 0] == ["d0", "d2", "d4", "d6"]
    assert [name for name in ids if int(name[1:]) % 2] == ["d1", "d3", "d5", "d7"]


@pytest.mark.parametrize("mark", ["\u0085", "\u2028", "\u2029", "\x0b", "\x1c"], ids=ascii)
def test_line_separators_inside_a_text_split_neither_corpus_nor_hits(capsys, tmp_path, tiny_path, mark):
    text = f"sort{mark}a list{mark}{{"
    path = tmp_path / "docs.index"
    corpus = write_corpus(tmp_path / "corpus.jsonl", [text, "open"])
    assert call(capsys, "index", "build", tiny_path, corpus, "-o", path, *FAKE, "--json").json["documents"] == 2
    arguments = ("search", tiny_path, path, "sort", *FAKE, "-k", "1")
    (answer,) = call(capsys, *arguments, "--json").json
    assert answer["hits"][0]["meta"] == {"text": text}
    assert len(call(capsys, *arguments).out.splitlines()) == 2
