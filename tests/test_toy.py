"""`smartrt bench toy`: decisions and their intervals, readers of every kind, the files, the command."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import smartrt
from commandline import FAKE, call, refused, tree
from smartrt import Embeddings, Encoder, TokenStates, TruncationWarning, Weights
from smartrt.benchmarks.toy.bindings import Toy
from smartrt.benchmarks.toy.content import Content, Digest, describe
from smartrt.benchmarks.toy.drawing import draw_pair
from smartrt.benchmarks.toy.measure import measure
from smartrt.benchmarks.toy.scoring import Accuracy, decide
from smartrt.benchmarks.toy.text import page_text, query_text
from smartrt.benchmarks.toy.written import write
from smartrt.corpus import Corpus
from smartrt.errors import InputError, StorageError
from smartrt.evaluation.dataset import RetrievalSet
from support import message_of

SYSTEMS = ("pooled", "late", "hybrid")
UNIT = Weights(1.0, 1.0)
BINDING = re.compile(r"([A-Z]\d[A-Z]) labels the (\w+ \w+)")


@pytest.fixture(scope="module")
def toy():
    return Toy.make(seed=0, pairs=3)


class Reader:
    """An encoder of one vector per piece of a page, a piece being what `read` finds in a text; it knows pictures."""

    def __init__(self, read, known=()):
        self.read, self.known, self.asked = read, dict(known), []

    def encode_query(self, items):
        return self._encode(items)

    def encode_document(self, items):
        return self._encode([self.known[item["image"].tobytes()] if "image" in item else item for item in items])

    def _encode(self, items):
        self.asked.append(list(items))
        tokens = [np.stack([vector(piece) for piece in self.read(text)]) for text in items]
        pooled = np.stack([rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0)) for rows in tokens])
        return Embeddings(pooled, TokenStates.from_arrays(tokens), np.zeros(len(items), np.int64))


def vector(piece):
    seed = int.from_bytes(hashlib.sha256(repr(piece).encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).normal(size=256).astype(np.float32)
    return values / np.linalg.norm(values)


def bindings(text):
    return BINDING.findall(text)


def words(text):
    return [word for binding in BINDING.findall(text) for word in binding]


@pytest.mark.parametrize(
    ("scores", "weights", "outcome"),
    [
        ((0.5, 0.4), UNIT, 1.0),
        ((0.4, 0.5), UNIT, 0.0),
        ((0.5, 0.5), UNIT, 0.5),
        ((-0.1, -0.2), UNIT, 1.0),
        ((0.5, 0.5 + 1.5e-5), UNIT, 0.5),
        ((0.5, 0.5 + 1.5e-5), Weights(1.0, 0.0), 0.0),
        ((0.5 + 1.5e-5, 0.5), Weights(-1.0, 0.0), 1.0),
        ((0.5 + 3e-5, 0.5), UNIT, 1.0),
    ],
    ids=["higher", "lower", "equal", "negative", "rounding", "rounding of one term", "a negative weight", "a hair"],
)
def test_a_decision_is_right_above_wrong_below_and_half_within_rounding(scores, weights, outcome):
    assert decide(np.array([scores], np.float32), weights).tolist() == [outcome]


@pytest.mark.parametrize("scores", [np.zeros((3, 3)), np.zeros(2), np.array([[np.nan, 1.0]]), np.array([[0, np.inf]])])
def test_scores_that_decide_nothing_are_refused(scores):
    with pytest.raises(InputError) as caught:
        decide(scores, UNIT)
    message_of(caught.value, "[queries, 2]")


def test_the_interval_resamples_pairs_not_decisions():
    clustered = np.repeat(np.arange(40) % 2, 25).reshape(40, 25).astype(float)  # a pair is right or wrong as a whole
    mixed = np.tile((np.arange(25) % 2).astype(float), (40, 1))
    of_pairs, of_equal = Accuracy.of(clustered), Accuracy.of(mixed)
    # The deviation of a mean of 40 pairs is 0.5 / sqrt(40); of 1,000 decisions it would be a fifth of that.
    assert of_pairs.interval == pytest.approx([0.5 - 1.96 * 0.079, 0.5 + 1.96 * 0.079], abs=0.01)
    assert of_equal.interval == pytest.approx([0.48, 0.48])
    assert Accuracy.of(clustered) == of_pairs


@pytest.mark.parametrize(("share", "at_chance"), [(0.5, True), (0.75, False), (0.25, False)])
def test_chance_is_what_the_interval_holds(share, at_chance):
    found = Accuracy.of((np.random.default_rng(5).random((40, 25)) < share).astype(float))
    assert found.at_chance is at_chance
    assert found.interval[0] < found.accuracy < found.interval[1]
    assert found.accuracy == pytest.approx(share, abs=0.03)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4), min_size=2, max_size=8))
def test_turning_every_decision_mirrors_the_result(rows):
    outcomes = np.array(rows)
    found, turned = Accuracy.of(outcomes), Accuracy.of(1 - outcomes)
    assert turned.accuracy == pytest.approx(1 - found.accuracy)
    assert turned.interval == pytest.approx([1 - found.interval[1], 1 - found.interval[0]])
    assert turned.ties == found.ties == sum(row.count(0.5) for row in rows)


@pytest.mark.parametrize("shape", [(1, 25), (2, 0), (25,)])
def test_an_interval_needs_two_pairs(shape):
    with pytest.raises(InputError) as caught:
        Accuracy.of(np.ones(shape))
    message_of(caught.value, "at least 2 pairs")


def test_who_reads_the_bindings_is_right_every_time(toy):
    for values in measure(Reader(bindings), toy, "text", UNIT)["systems"].values():
        assert values == {"accuracy": 1.0, "interval": [1.0, 1.0], "at_chance": False, "ties": 0}


def test_who_sees_codes_and_markers_apart_ties_every_time(toy):
    for values in measure(Reader(words), toy, "text", UNIT)["systems"].values():
        assert values == {"accuracy": 0.5, "interval": [0.5, 0.5], "at_chance": True, "ties": 75}


def test_a_negative_weight_turns_every_decision(toy):
    systems = measure(Reader(bindings), toy, "text", Weights(0.0, -1.0))["systems"]
    assert [systems[name]["accuracy"] for name in SYSTEMS] == [1.0, 1.0, 0.0]


def test_pictures_are_what_is_encoded_the_positive_first(toy):
    known = {}
    for pair in toy.pairs:
        for page, picture in zip((pair.positive, pair.negative), draw_pair(pair), strict=True):
            known[picture.tobytes()] = page_text(page)
    reader = Reader(bindings, known)
    result = measure(reader, toy, "image", UNIT)
    assert result["systems"]["late"]["accuracy"] == 1.0
    pair = toy.pairs[1]
    assert reader.asked[2] == [page_text(pair.positive), page_text(pair.negative)]
    assert reader.asked[3] == [query_text(binding) for binding in pair.positive.bindings]
    assert result["pillow"]


def test_the_result_is_json_and_says_what_was_shown(toy):
    done = []
    result = measure(Reader(bindings), toy, "text", UNIT, done.append)
    assert done == [1, 1, 1]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {
        "modality", "seed", "pairs", "queries", "decisions", "sha256", "pillow", "truncated_pages",
        "truncated_queries", "weights", "systems", "interval", "ties",
    }  # fmt: skip
    assert (result["modality"], result["seed"], result["pairs"], result["decisions"]) == ("text", 0, 3, 75)
    assert result["sha256"]["bindings"] == toy.sha256
    assert list(result["systems"]) == list(SYSTEMS)
    other = measure(Reader(bindings), Toy.make(1, 3), "text", UNIT)
    assert other["sha256"]["shown"] != result["sha256"]["shown"]


def test_the_digest_sees_every_pixel_and_every_query(toy):
    picture = Image.new("RGB", (2, 2))
    other = Image.new("RGB", (2, 2), (0, 0, 1))
    shown = [Content((), (picture, picture), ("a", "b")), Content((), (picture, other), ("a", "b")),
             Content((), (picture, picture), ("ab", "")), Content(("a",), (), ("b",))]  # fmt: skip
    found = set()
    for content in shown:
        digest = Digest()
        digest.add(content)
        found.add(describe(toy, "text", digest)["sha256"]["shown"])
    assert len(found) == len(shown)


@pytest.mark.filterwarnings("ignore::smartrt.TruncationWarning")
def test_the_scores_are_those_of_smartrt_score(encoder, toy):
    result = measure(encoder, toy, "text", Weights(0.5, 2.0))
    for name, (pooled, late) in {"pooled": (1.0, 0.0), "late": (0.0, 1.0), "hybrid": (0.5, 2.0)}.items():
        outcomes = []
        for pair in toy.pairs:
            pages = encoder.encode_document([page_text(pair.positive), page_text(pair.negative)])
            queries = encoder.encode_query([query_text(binding) for binding in pair.positive.bindings])
            one, other = smartrt.score(queries, pages, pooled=pooled, late=late).T.astype(float)
            outcomes += np.where(abs(one - other) <= 1e-5 * (pooled + late), 0.5, one > other).tolist()
        assert result["systems"][name]["accuracy"] == pytest.approx(np.mean(outcomes))
    assert (result["truncated_pages"], result["truncated_queries"]) == (6, 30)


def test_an_encoder_that_loses_rows_is_refused(toy):
    class Loses(Reader):
        def encode_query(self, items):
            return super().encode_query(items[1:])

    with pytest.raises(InputError) as caught:
        measure(Loses(bindings), toy, "text", UNIT)
    message_of(caught.value, "25 queries were encoded, 24 rows came back")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_what_is_written_is_a_retrieval_set(tmp_path, toy, modality):
    summary = write(toy, modality, tmp_path / "toy", lambda _: None)
    data = RetrievalSet.read(tmp_path / "toy")
    assert (len(data.documents), len(data.queries), data.unjudged) == (6, 75, 0)
    for query, gains in zip(data.queries, data.gains, strict=True):
        ((position, gain),) = gains.items()
        (asked,) = bindings(query.text)
        assert gain == 1
        assert asked in bindings(data.documents[position].text)
        assert asked not in bindings(data.documents[position ^ 1].text)
    first = [record.id.endswith("-a") for record in data.documents[::2]]
    assert first == [True, False, True], "file order must not favour the right page where scores tie"
    assert json.loads((tmp_path / "toy" / "toy.json").read_text(encoding="utf-8")) == summary
    if modality == "text":  # of the pictures: the next test
        assert summary.items() <= measure(Reader(bindings), toy, "text", UNIT).items()


def test_the_pictures_that_are_written_are_those_that_are_measured(tmp_path, toy):
    summary = write(toy, "image", tmp_path / "toy")
    corpus = Corpus.open(tmp_path / "toy" / "images.jsonl", ("text", "image"), allow_empty=False)
    digest = Digest()
    found = {source.id: Image.open(source.load()["image"][0]) for source in corpus}
    for pair in toy.pairs:
        pictures = tuple(found[page.id] for page in (pair.positive, pair.negative))
        digest.add(Content((), pictures, Content.of(pair, "text").queries))
    assert digest.hexdigest() == summary["sha256"]["shown"]
    assert [source.id for source in corpus] == [r.id for r in RetrievalSet.read(tmp_path / "toy").documents]


def test_a_set_that_is_not_finished_leaves_nothing(tmp_path, toy):
    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(toy, "image", tmp_path / "toy", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_exists_is_refused(tmp_path, toy):
    with pytest.raises(StorageError) as caught:
        write(toy, "text", tmp_path)
    message_of(caught.value, str(tmp_path), "exists already")


def test_the_command_prints_a_table_for_every_bundle(capsys, tiny_path, tmp_path):
    finished = call(capsys, "bench", "toy", tiny_path, tiny_path, "--pairs", 3, "-o", tmp_path / "toy", *FAKE)
    assert (finished.code, finished.err) == (0, "")
    heads = [line for line in finished.out.splitlines() if not line.startswith(" ")]
    assert [head.split(":")[0] for head in heads] == [str(tmp_path / "toy"), "tiny", "tiny"]
    assert all("text pages, seed 0, 3 pairs, 75 decisions, sha256 " in head for head in heads)
    assert len({head.rsplit(" ", 1)[1] for head in heads}) == 1
    for name in SYSTEMS:
        assert sum(line.startswith(f"  {name}") for line in finished.out.splitlines()) == 2
    assert finished.out.count("not seen whole: 6 pages and 30 queries\n") == 2
    assert sorted(tree(tmp_path / "toy")) == ["corpus.jsonl", "qrels.tsv", "queries.jsonl", "toy.json"]


def test_the_command_prints_json(capsys, tiny_path):
    finished = call(capsys, "bench", "toy", tiny_path, "--pairs", 2, "--seed", 7, "--json", *FAKE)
    assert (finished.code, finished.err) == (0, "")
    assert set(finished.json) == {"machine", "written", "results"}
    (result,) = finished.json["results"]
    assert (result["bundle"]["name"], result["seed"], finished.json["written"]) == ("tiny", 7, None)
    with Encoder.open(tiny_path, engine="fake") as encoder, pytest.warns(TruncationWarning):
        assert result == {"bundle": result["bundle"]} | measure(encoder, Toy.make(7, 2), "text", UNIT)


def test_without_a_bundle_the_set_is_written_and_nothing_measured(capsys, tmp_path):
    finished = call(capsys, "bench", "toy", "--pairs", 1, "--modality", "image", "-o", tmp_path / "toy", "--json")
    assert (finished.code, finished.json["results"]) == (0, [])
    assert finished.json["written"]["directory"] == str(tmp_path / "toy")
    assert {"images.jsonl", "pages/p000-a.png", "pages/p000-b.png"} <= set(tree(tmp_path / "toy"))


def test_a_bundle_that_takes_images_decides_on_pages(capsys, page_path):
    finished = call(capsys, "bench", "toy", page_path, "--pairs", 2, "--modality", "image", "--json", *FAKE)
    assert (finished.code, finished.err) == (0, "")
    (result,) = finished.json["results"]
    assert (result["modality"], result["decisions"], result["truncated_pages"]) == ("image", 50, 0)


REFUSED = {
    "nothing to do": ((), ("give bundles", "-o DIR")),
    "images for a bundle of texts": (("BUNDLE", "--modality", "image"), ("takes text, no image",)),
    "an interval of one pair": (("BUNDLE", "--pairs", "1"), ("at least 2",)),
    "no pair": (("BUNDLE", "--pairs", "0"), ("--pairs", "'0'")),
    "another modality": (("BUNDLE", "--modality", "video"), ("--modality", "'video'")),
}


@pytest.mark.parametrize(("given", "mentions"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_and_nothing_is_written(capsys, tiny_path, tmp_path, given, mentions):
    arguments = [tiny_path if word == "BUNDLE" else word for word in given]
    output = ["-o", tmp_path / "toy"] if arguments else []
    refused(call(capsys, "bench", "toy", *arguments, *output, *FAKE), *mentions)
    assert list(tmp_path.iterdir()) == []
