"""`--per-query` and `bench wins`: what each query found, written, read back strictly, and compared by hand."""

from __future__ import annotations

import json

import pytest

from commandline import FAKE, call, refused
from smartrt.benchmarks.accuracy.per_query import read_per_query
from smartrt.benchmarks.accuracy.wins import Duel, compare
from smartrt.errors import InputError
from smartrt.evaluation.metrics import ndcg
from support import message_of


def line(query="q0", name="s", text="sort a list", relevant=None, **systems):
    found = systems or {"a": (1.0, ["d1"]), "b": (0.0, ["d2"])}
    return {
        "set": name,
        "query": query,
        "text": text,
        "relevant": {"d1": 1.0} if relevant is None else relevant,
        "systems": {key: {"ndcg": value, "best": best} for key, (value, best) in found.items()},
    }


def write(path, lines):
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines), encoding="utf-8")
    return path


@pytest.fixture
def results(tmp_path):
    return write(
        tmp_path / "q.jsonl",
        [
            line("w1", a=(0.5, ["x", "d1"]), b=(0.25, ["x", "y", "d1"])),
            line("t1", a=(0.5, ["d1"]), b=(0.5, ["d1"])),
            line("w2", "s", "a  list\n of files", {"d1": 1.0, "d2": 3.0, "d3": 1.0}, a=(0.9, ["d2"]), b=(0.1, ["d1"])),
            line("l1", a=(0.0, []), b=(0.5, ["d1"])),
            line("w1", "other", a=(0.5, ["d1"]), b=(0.25, ["d1"])),
        ],
    )


def test_wins_and_losses_are_ordered_by_size_and_then_as_in_the_file(results):
    found = compare(read_per_query(results), Duel("a", "b"))
    assert [(case["set"], case["query"]) for case in found["wins"]] == [("s", "w2"), ("s", "w1"), ("other", "w1")]
    assert [case["difference"] for case in found["wins"]] == pytest.approx([0.8, 0.25, 0.25])
    assert [case["query"] for case in found["losses"]] == ["l1"]
    assert found["sets"] == [
        {"set": "s", "won": 2, "lost": 1, "tied": 1, "difference": pytest.approx(0.1375)},
        {"set": "other", "won": 1, "lost": 0, "tied": 0, "difference": 0.25},
    ]


def test_a_case_says_where_every_relevant_document_stood(results):
    (case, *_) = compare(read_per_query(results), Duel("a", "b"))["wins"]
    assert case["ndcg"] == {"a": 0.9, "b": 0.1}
    assert case["relevant"] == [
        {"id": "d2", "gain": 3.0, "rank": {"a": 1, "b": None}},
        {"id": "d1", "gain": 1.0, "rank": {"a": None, "b": 1}},
        {"id": "d3", "gain": 1.0, "rank": {"a": None, "b": None}},
    ]


def test_the_other_way_round_wins_are_losses(results):
    one, other = (compare(read_per_query(results), duel) for duel in (Duel("a", "b"), Duel("b", "a")))
    assert [case["query"] for case in one["wins"]] == [case["query"] for case in other["losses"]]
    assert [each["won"] for each in one["sets"]] == [each["lost"] for each in other["sets"]]


def test_one_set_and_a_number_of_cases_can_be_chosen(results):
    found = compare(read_per_query(results), Duel("a", "b", "s", 1))
    assert [case["query"] for case in found["wins"]] == ["w2"]
    assert [each["set"] for each in found["sets"]] == ["s"]


@pytest.mark.parametrize(
    ("duel", "mentions"),
    [
        (Duel("c", "b"), ["'c'", "'a', 'b'"]),
        (Duel("a", "c"), ["'c'", "'a', 'b'"]),
        (Duel("a", "b", "t"), ["'t'", "s, other"]),
        (Duel("a", "a"), ["'a'", "itself"]),
    ],
    ids=["system", "against", "set", "the same"],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(results, duel, mentions):
    with pytest.raises(InputError) as caught:
        compare(read_per_query(results), duel)
    message_of(caught.value, *mentions)


def test_a_system_that_one_set_lacks_is_compared_on_the_others(tmp_path):
    path = write(tmp_path / "q.jsonl", [line(), line(name="short", a=(1.0, ["d1"]), c=(0.5, ["d1"]))])
    with pytest.raises(InputError) as caught:
        compare(read_per_query(path), Duel("a", "b"))
    message_of(caught.value, "'b' was not measured on short", "--set")
    assert compare(read_per_query(path), Duel("a", "b", "s"))["sets"][0]["won"] == 1


BAD = {
    "empty": [b""],
    "an empty line": [b"\n"],
    "not JSON": [b"{"],
    "not UTF-8": [b'"\xff"'],
    "a list": [b"[]"],
    "NaN": [json.dumps(line(a=(float("nan"), []))).encode()],
    "an unknown key": [json.dumps(line() | {"x": 1}).encode()],
    "a missing key": [json.dumps({key: value for key, value in line().items() if key != "text"}).encode()],
    "a number as a text": [json.dumps(line() | {"text": 1}).encode()],
    "no relevant document": [json.dumps(line(relevant={})).encode()],
    "a gain of 0": [json.dumps(line(relevant={"d1": 0})).encode()],
    "no system": [json.dumps(line() | {"systems": {}}).encode()],
    "nDCG above 1": [json.dumps(line(a=(1.5, []))).encode()],
    "nDCG below 0": [json.dumps(line(a=(-0.5, []))).encode()],
    "eleven documents": [json.dumps(line(a=(0.5, [str(i) for i in range(11)]))).encode()],
    "a document twice": [json.dumps(line(a=(0.5, ["d1", "d1"]))).encode()],
    "a query twice": [json.dumps(line()).encode()] * 2,
    "other systems": [json.dumps(line()).encode(), json.dumps(line("q1", a=(0.5, []))).encode()],
    "deep nesting": [b"[" * 100_000],
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_no_measurement_wrote_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\n".join(content))
    with pytest.raises(InputError) as caught:
        read_per_query(path)
    message_of(caught.value, str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    refused(call(capsys, "bench", "wins", tmp_path / "x", "--system", "a", "--against", "b"), "cannot read")


@pytest.fixture
def set_on_disk(tmp_path):
    directory = tmp_path / "made_up"
    directory.mkdir()
    texts = {
        "corpus": ["sort a list", "open a file", "read a\u2028line"] * 5,
        "queries": ["sort\u2028it", "a file", "x"],
    }
    for name, values in texts.items():
        rows = [json.dumps({"id": f"{name[0]}{i}", "text": text}) for i, text in enumerate(values)]
        (directory / f"{name}.jsonl").write_text("\n".join(rows))
    (directory / "qrels.tsv").write_text("query\tdocument\tgain\nq0\tc0\t2\nq0\tc3\t1\nq1\tc1\t1\nq1\tc14\t0\n")
    return directory


def test_a_measurement_keeps_what_each_query_found(capsys, tiny_path, set_on_disk, tmp_path):
    path = tmp_path / "q.jsonl"
    arguments = ("bench", "accuracy", tiny_path, *FAKE, "--no-use-cache", "--data", set_on_disk)
    finished = call(capsys, *arguments, "--stored", "int8", "--per-query", path, "--json")
    assert (finished.code, finished.err) == (0, "")
    found = read_per_query(path)
    assert [(each.set, each.query, each.text) for each in found] == [
        ("made_up", "q0", "sort\u2028it"),
        ("made_up", "q1", "a file"),
    ]
    assert [each.relevant for each in found] == [{"c0": 2.0, "c3": 1.0}, {"c1": 1.0}]
    (result,) = finished.json["results"]
    for system in result["systems"]:
        own = [each.systems[system["name"]] for each in found]
        assert sum(each.ndcg for each in own) / 2 == pytest.approx(system["ndcg@10"])
        for each, kept in zip(found, own, strict=True):
            gains = {int(name[1:]): gain for name, gain in each.relevant.items()}
            assert len(kept.best) == 10
            assert ndcg([int(name[1:]) for name in kept.best], gains) == pytest.approx(kept.ndcg)


def test_the_command_prints_the_cases_or_json(capsys, results):
    arguments = ("bench", "wins", results, "--system", "a", "--against", "b", "-n", 2)
    finished = call(capsys, *arguments)
    assert (finished.code, finished.err) == (0, "")
    lines = finished.out.splitlines()
    assert lines[0] == "a against b, nDCG@10"
    assert [row.split() for row in lines[2:4]] == [["s", "2", "1", "1", "+0.1375"], ["other", "1", "0", "0", "+0.2500"]]
    start = lines.index("the largest wins of a")
    assert lines[start + 1] == "  +0.800  0.100 -> 0.900  s w2: a list of files"
    assert [row.split() for row in lines[start + 2 : start + 5]] == [
        ["not", "in", "10", "->", "rank", "1", "d2", "(gain", "3)"],
        ["rank", "1", "->", "not", "in", "10", "d1", "(gain", "1)"],
        ["1", "relevant", "not", "in", "10", "of", "either"],
    ]
    assert len([row for row in lines if " -> " in row and row.startswith("  +")]) == 2
    assert call(capsys, *arguments, "--json").json == compare(read_per_query(results), Duel("a", "b", None, 2))


def test_an_unknown_system_is_one_line(capsys, results):
    refused(call(capsys, "bench", "wins", results, "--system", "c", "--against", "b"), "'c'", "'a', 'b'")
