"""`smartrt bench accuracy` as a user meets it: tables, JSON, the cache, and one line for every mistake."""

from __future__ import annotations

import itertools
import json
import shutil
import sys

import pytest

from commandline import FAKE, call, refused
from smartrt import Encoder
from smartrt.benchmarks.accuracy.stored import VARIANTS
from support import set_key

DOCUMENTS = ("sort a list by key", "open a file", "copy a list", "read a file", "join lines", "the", "")
QUERIES = ("how to sort a list", "read a file", "lines")


def write_set(directory, documents=DOCUMENTS):
    directory.mkdir()
    for name, texts in (("corpus", documents), ("queries", QUERIES)):
        lines = [json.dumps({"id": f"{name[0]}{i}", "text": text}) for i, text in enumerate(texts)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    (directory / "qrels.tsv").write_text("query\tdocument\tgain\nq0\tc0\t2\nq0\tc2\t1\nq1\tc3\t1\nq2\tc4\t1\n")
    return directory


@pytest.fixture
def set_on_disk(tmp_path):
    return write_set(tmp_path / "made_up")


@pytest.fixture
def twin(tiny_copy):
    """The tiny bundle under another name, with late interaction switched off."""
    set_key(tiny_copy / "manifest.json", "name", "twin")
    set_key(tiny_copy / "manifest.json", "scoring/late_weight", 0.0)
    return tiny_copy


@pytest.fixture
def bench(capsys, tmp_path, tiny_path, set_on_disk):
    """Run it on the tiny bundle and the set on disk, with a cache of its own."""

    def run(*more, bundles=(tiny_path,), data=(set_on_disk,)):
        cache = () if "--no-use-cache" in more else ("--cache", tmp_path / "cache")
        return call(capsys, "bench", "accuracy", *bundles, *FAKE, *cache, *more, "--data", *data)

    return run


@pytest.fixture
def nothing_is_encoded(monkeypatch):
    monkeypatch.setattr(Encoder, "embed", lambda *_, **__: pytest.fail("texts were encoded"))


def test_json_has_every_bundle_and_set(bench, tiny_path, twin, set_on_disk, tmp_path):
    second = write_set(tmp_path / "second", DOCUMENTS[::-1])
    finished = bench("--json", bundles=(tiny_path, twin), data=(set_on_disk, second))
    assert (finished.code, finished.err) == (0, "")
    found = finished.json
    assert [each["label"] for each in found["encoders"]] == ["tiny", "twin"]
    assert [each["set"] for each in found["results"]] == ["made_up", "second"]
    assert set(found["machine"]) >= {"command", "smartrt", "python", "cpu", "cores", "system", "libraries"}
    names = [f"{label} {system}" for label in ("tiny", "twin") for system in ("pooled", "late", "hybrid")]
    for result in found["results"]:
        assert [each["name"] for each in result["systems"]] == [*names, "bm25"]
    assert found["comparisons"] == 2 * 6
    # One identity under two names: the vectors of the twin, and the queries of the second set, came from the cache.
    assert found["cache"] == {"hits": 5, "misses": 3}


def test_the_table_has_a_line_for_every_system_and_says_what_its_mark_means(bench):
    finished = bench("--stored", "int8", "--baseline", "bm25")
    assert (finished.code, finished.err) == (0, "")
    lines = finished.out.splitlines()
    assert lines[0] == "made_up: 7 documents, 3 queries"
    assert "ndcg - bm25" in lines[1]
    (result,) = bench("--stored", "int8", "--baseline", "bm25", "--json").json["results"]
    assert len(lines) == 2 + len(result["systems"]) + 2
    for line, each in zip(lines[2:], result["systems"], strict=False):
        assert line.startswith(f"  {each['name']}  ")
        assert f" {each['ndcg@10']:.4f} " in line
        assert each["name"] == "bm25" or f" {each['difference']:+.4f}" in line
    assert lines[-1].startswith("* differs from bm25: p < 0.05")
    assert "over 4 comparisons" in lines[-1]


def test_a_significant_difference_has_a_mark(bench, tmp_path):
    """Each query asks for its own text, all of stop words: BM25 sees nothing in them, and differs by more than luck."""
    directory = tmp_path / "words"
    directory.mkdir()
    texts = [" ".join(words) for words in itertools.combinations(("the", "of", "and", "in", "to", "a"), 3)]
    lines = "\n".join(json.dumps({"id": text, "text": text}) for text in texts)
    for name in ("corpus", "queries"):
        (directory / f"{name}.jsonl").write_text(lines)
    (directory / "qrels.tsv").write_text("q\td\tg\n" + "".join(f"{text}\t{text}\t1\n" for text in texts))
    finished = bench(data=(directory,))
    (result,) = bench("--json", data=(directory,)).json["results"]
    marked = {each["name"] for each in result["systems"] if each["significant"]}
    assert marked == {"bm25"}
    rows = finished.out.splitlines()[2:6]
    assert ["*" in row for row in rows] == [False, False, False, True]


def test_a_second_run_reads_what_the_first_encoded_and_says_so(bench, monkeypatch):
    first = bench()
    monkeypatch.setattr(Encoder, "embed", lambda *_, **__: pytest.fail("texts were encoded"))
    second = bench()
    assert (first.err, second.out) == ("", first.out)
    assert "2 of 2 encoded sides came from" in second.err


def test_without_a_cache_nothing_is_kept(bench, tmp_path):
    assert bench("--no-use-cache", "--json").json["cache"] == {"hits": 0, "misses": 0}
    assert not (tmp_path / "cache").exists()


def test_unchecked_bundles_are_not_cached_and_that_is_said(bench, tmp_path):
    finished = bench("--no-check-hashes")
    assert finished.code == 0
    assert "not cached" in finished.err
    assert list((tmp_path / "cache").iterdir()) == []


def test_variants_without_a_name_are_all_and_those_left_out_are_named(bench, monkeypatch):
    pytest.importorskip("scipy", reason="some variants pool tokens, which needs scipy")
    finished = bench("--stored")
    assert all(name in finished.out for name in VARIANTS)
    assert "tiny has too few or too short token vectors for: 'int16, pca 128'" in finished.out
    monkeypatch.setenv("SMARTRT_STORED", "int8:int16")
    names = [each["stored"] for each in bench("--json").json["results"][0]["systems"] if each["stored"]]
    assert names == ["int16", "int8"]


@pytest.mark.parametrize(
    ("given", "mentions"),
    [
        (["--stored", "int7"], ["'int7'", "'int8, pool 2'"]),
        (["--stored", "int16, pca 128"], ["128 dimensions"]),
        (["--baseline", "pooled"], ["'pooled'", "'tiny pooled'", "'bm25'"]),
        (["--reference", "fp32"], ["--source"]),
        (["--source", "/nowhere"], ["/nowhere"]),
        (["--per-query", "/nowhere/q.jsonl"], ["/nowhere"]),
        (["--cache-gb", "0"], ["--cache-gb"]),
        (["--cache-gb", "nan"], ["--cache-gb"]),
        (["--engine", "warp"], ["warp"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
@pytest.mark.usefixtures("nothing_is_encoded")
def test_a_mistake_is_one_line_before_anything_is_encoded(bench, given, mentions):
    refused(bench(*given), *mentions)


@pytest.mark.usefixtures("nothing_is_encoded")
def test_what_is_not_there_or_twice_is_one_line(bench, tiny_path, set_on_disk, tmp_path):
    copy = shutil.copytree(set_on_disk, tmp_path / "copy")
    refused(bench(bundles=(tiny_path, tmp_path / "none.smartrt")), "none.smartrt", "no such directory")
    refused(bench(bundles=(tiny_path, tiny_path)), "'tiny'", "manifest.json")
    refused(bench(data=(set_on_disk, tmp_path / "nothing")), "nothing")
    refused(bench(data=(set_on_disk, set_on_disk)), "two sets are called 'made_up'")
    refused(bench(data=(set_on_disk, copy)), "the texts and judgements of made_up")
    (copy / "qrels.tsv").write_text("x\n")
    refused(bench(data=(copy,)), "no query has a relevant document")


@pytest.mark.parametrize("module", ["bm25s", "scipy.cluster.hierarchy"])
@pytest.mark.usefixtures("nothing_is_encoded")
def test_a_missing_library_is_one_line_before_anything_is_encoded(bench, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    refused(bench("--stored"), "pip install 'smartrt[")
