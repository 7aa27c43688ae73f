"""`smartrt demo` and its corpus: the standard library read without running it, the cache, the columns."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from commandline import FAKE, call, refused, tree
from smartrt import Bundle, Encoder, Index
from smartrt.benchmarks import demo
from smartrt.index.build import fill
from smartrt.jsonl import Record
from support import flip_bit, set_key

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "accuracy_minilm.json"
RECORDS = [Record(f"module{i}.name{i}", f"module{i}.name{i}(a, b)\nText number {i} on lists and files.", {})
           for i in range(30)]  # fmt: skip


@pytest.fixture
def cache(tmp_path, tiny_path, monkeypatch):
    """A cache that holds a bundle, and a standard library of 30 records."""
    shutil.copytree(tiny_path, tmp_path / "cache" / "minilm.smartrt")
    monkeypatch.setattr(demo, "read_stdlib", lambda: RECORDS)
    return tmp_path / "cache"


def index_in(cache):
    (path,) = cache.glob("stdlib-*.index")
    return path


def test_every_question_is_answered_in_three_columns(capsys, cache):
    finished = call(capsys, "demo", "--cache", cache, *FAKE, "-k", "2")
    assert finished.code == 0
    assert "30 functions, classes and methods" in finished.out
    blocks = re.findall(r"^\? (.*?)   \((.*)\)\n(.*)\n(.*)\n(.*)\n\n", finished.out, re.MULTILINE)
    assert [question for question, *_ in blocks] == list(demo.QUESTIONS)
    for _, times, head, *rows in blocks:
        assert re.fullmatch(r"encode \d+ ms, pooled \d+ ms, late \d+ ms, hybrid \d+ ms", times)
        assert head.split() == ["pooled", "late", "hybrid"]
        for row in rows:
            assert re.fullmatch(r"  (-?\d\.\d{3} module\d+\.name\d+ *){3}", row)
    assert demo.worth() in finished.out


def test_the_columns_hold_the_hits_of_the_index(capsys, cache):
    out = call(capsys, "demo", "--cache", cache, *FAKE, "-k", "1").out
    with Encoder.open(cache / "minilm.smartrt", engine="fake") as encoder:
        index = Index.open(index_in(cache), encoder)
        query = encoder.encode_query(demo.QUESTIONS[0])
        best = [index.search(query, k=1, pooled=p, late=late)[0][0] for p, late in ((1, 0), (0, 1), (1, 1))]
    row = out.split(f"? {demo.QUESTIONS[0]}")[1].splitlines()[2]
    assert row.split() == [word for hit in best for word in (f"{hit.score:.3f}", hit.id)]


def test_a_long_name_keeps_its_end_and_its_column():
    name = "package.module.SomeVeryLongClassName.some_very_long_method_name"
    fitted = demo._fit(name)
    assert fitted.startswith("…")
    assert name.endswith(fitted[1:])
    assert len(f"0.000 {fitted}") == demo._COLUMN - 2
    assert demo._fit("json.loads") == "json.loads"


def test_more_hits_than_documents_are_as_many_as_there_are(capsys, cache):
    finished = call(capsys, "demo", "--cache", cache, *FAKE, "-k", "99")
    assert finished.code == 0
    assert len(re.findall(r"^  -?\d\.\d{3} ", finished.out, re.MULTILINE)) == 30 * len(demo.QUESTIONS)


def test_a_second_run_uses_what_the_first_one_made(capsys, monkeypatch, cache):
    first = call(capsys, "demo", "--cache", cache, *FAKE)
    before = tree(cache)
    monkeypatch.setattr(Encoder, "encode_document", lambda *_, **__: pytest.fail("a document was encoded again"))
    second = call(capsys, "demo", "--cache", cache, *FAKE)
    assert second.code == 0
    assert tree(cache) == before
    assert re.sub(r"\d+ ms", "", second.out) == re.sub(r"\d+ ms", "", first.out)
    assert len(list(cache.iterdir())) == 2


def test_another_standard_library_gets_an_index_of_its_own(capsys, monkeypatch, cache):
    call(capsys, "demo", "--cache", cache, *FAKE)
    monkeypatch.setattr(demo, "read_stdlib", lambda: RECORDS[:20])
    assert "20 functions" in call(capsys, "demo", "--cache", cache, *FAKE).out
    assert len(list(cache.glob("stdlib-*.index"))) == 2


def test_an_index_that_was_interrupted_is_completed(capsys, cache):
    whole = call(capsys, "demo", "--cache", cache, *FAKE).out
    path = index_in(cache)
    shutil.rmtree(path)
    with Encoder.open(cache / "minilm.smartrt", engine="fake") as encoder:
        fill(Index.create(path, encoder), encoder, RECORDS[:10])
    again = call(capsys, "demo", "--cache", cache, *FAKE).out
    assert re.sub(r"\d+ ms", "", again) == re.sub(r"\d+ ms", "", whole)
    assert Index.open(path).ids() == [record.id for record in RECORDS]


def lose(path):
    (path / "segment-000001" / "codes.npy").unlink()


def shorten(path):
    (path / "index.json").write_bytes((path / "index.json").read_bytes()[:-9])


def belong_elsewhere(path):
    set_key(path / "index.json", "bundle/identity", "0" * 64)


@pytest.mark.parametrize("damage", [lose, shorten, belong_elsewhere])
def test_a_cached_index_that_cannot_be_used_is_built_again_with_a_note(capsys, cache, damage):
    whole = call(capsys, "demo", "--cache", cache, *FAKE).out
    damage(index_in(cache))
    finished = call(capsys, "demo", "--cache", cache, *FAKE)
    assert finished.code == 0
    assert "the cached index is not usable, building again: " in finished.err
    assert re.sub(r"\d+ ms", "", finished.out) == re.sub(r"\d+ ms", "", whole)
    Index.open(index_in(cache)).check()


def test_a_cached_bundle_that_is_corrupt_is_exported_again_with_a_note(capsys, monkeypatch, cache, tiny_path):
    def export(source, path, report):
        report("tracing")
        assert source == "minilm"
        return Bundle.open(shutil.copytree(tiny_path, path))

    pytest.importorskip("torch", reason="without PyTorch nothing is exported again")
    monkeypatch.setattr("smartrt.export.command.load_pipeline", lambda: SimpleNamespace(export=export))
    flip_bit(cache / "minilm.smartrt" / "tokenizer.json")
    finished = call(capsys, "demo", "--cache", cache, *FAKE)
    assert finished.code == 0
    assert "the cached bundle is not usable, exporting again: " in finished.err
    assert "tracing" in finished.err
    assert tree(cache / "minilm.smartrt") == tree(tiny_path)


def test_without_bundle_and_without_pytorch_the_demo_says_what_to_install(capsys, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    refused(call(capsys, "demo", "--cache", tmp_path / "cache"), "pip install 'smartrt[cpu,export,demo,bench]'")
    assert tree(tmp_path) == {}


def test_with_a_cached_bundle_the_demo_needs_no_pytorch(capsys, monkeypatch, cache):
    for name in ("torch", "transformers", "optimum"):
        monkeypatch.setitem(sys.modules, name, None)
    assert call(capsys, "demo", "--cache", cache, *FAKE).code == 0


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo._default_cache() == tmp_path / "smartrt"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert demo._default_cache() == tmp_path / ".cache" / "smartrt"


@pytest.mark.parametrize("end", ["", EOFError()], ids=["an empty line", "end of input"])
def test_the_conversation_answers_until_it_is_ended(capsys, monkeypatch, cache, end):
    typed = iter(["sort a list", "  open  ", end])

    def answer(_):
        line = next(typed)
        if isinstance(line, Exception):
            raise line
        return line

    monkeypatch.setattr("builtins.input", answer)
    with Encoder.open(cache / "minilm.smartrt", engine="fake") as encoder:
        index = Index.create(cache / "i", encoder)
        fill(index, encoder, RECORDS)
        demo._converse(index, encoder, 2)
    assert re.findall(r"^\? (.*?)   \(", capsys.readouterr().out, re.MULTILINE) == ["sort a list", "open"]


def test_the_line_of_worth_says_what_the_committed_results_say():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
    figures = r"([\d.]+) / ([\d.]+) / ([\d.]+) / ([\d.]+)"
    found = re.findall(rf"(\w+) {figures}( \(hybrid - pooled is noise here\))?", demo.worth())
    assert [name for name, *_ in found] == [result["set"] for result in results]
    for (_, *numbers, noise), result in zip(found, results, strict=True):
        systems = {row["system"]: row for row in result["systems"] if row["stored"] is None}
        wanted = [systems[name]["ndcg@10"] for name in ("pooled", "late", "hybrid", "bm25")]
        assert [float(number) for number in numbers] == pytest.approx(wanted, abs=5.01e-4)
        low, high = systems["hybrid"]["interval"]
        assert bool(noise) == (low <= 0 <= high)


def test_a_cached_bundle_of_another_version_is_exported_again(capsys, cache, monkeypatch):
    monkeypatch.setattr(demo, "__version__", "99.0")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    finished = call(capsys, "demo", "--cache", cache, *FAKE)
    assert finished.code == 2
    assert "of another version of smartrt" in finished.err
    assert not (cache / "minilm.smartrt").exists()
