"""What an encoder finds and what another loses, against direct computations and made-up rankings."""

from __future__ import annotations

import json
import zlib
from dataclasses import FrozenInstanceError, asdict, astuple, replace

import numpy as np
import pytest

import smartrt
from smartrt import Embeddings, TokenStates, Weights
from smartrt.errors import InputError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.evaluation.metrics import ndcg, paired_bootstrap
from smartrt.evaluation.quality import SYSTEMS, Quality, compare, encode_once, measure
from smartrt.jsonl import Record
from support import embeddings, message_of

TEXTS = [f"document {i}" for i in range(30)]
QUERIES = [f"query {i}" for i in range(6)]
GAINS = [{i: 2.0, 29 - i: 1.0} for i in range(6)]


def made_up(documents=TEXTS, queries=QUERIES, gains=GAINS, name="made up"):
    found = tuple(Record(f"d{i}", text, {}) for i, text in enumerate(documents))
    asked = tuple(Record(f"q{i}", text, {}) for i, text in enumerate(queries))
    return RetrievalSet(name, found, asked, tuple(gains), 0)


def item(text, side):
    """An item's vectors from its text alone."""
    seed = zlib.crc32(f"{side} {text}".encode())
    return embeddings([1 + seed % 5], seed=seed, dim=8)


def encode(texts, side):
    return Embeddings.concatenate([item(text, side) for text in texts])


def quality(values, queries=None, sha256="0" * 64, documents=9):
    values = {name: np.asarray(each, np.float64) for name, each in values.items()}
    count = len(next(iter(values.values()))) if queries is None else queries
    return Quality("made up", sha256, count, documents, values)


WEIGHTS = {"pooled": (1, 0), "late": (0, 1), "hybrid": (0.7, 1.3)}


def test_the_systems_find_what_a_direct_computation_finds():
    data = made_up()
    found = measure(encode, data, Weights(0.7, 1.3))
    assert (found.name, found.queries, found.documents) == ("made up", 6, 30)
    assert tuple(found.ndcg) == SYSTEMS == tuple(WEIGHTS)
    for name, (pooled, late) in WEIGHTS.items():
        scores = smartrt.score(encode(QUERIES, "query"), encode(TEXTS, "document"), pooled=pooled, late=late)
        order = np.argsort(-scores, axis=1, kind="stable").tolist()
        assert found.ndcg[name].tolist() == [ndcg(row, gains) for row, gains in zip(order, GAINS, strict=True)]
        assert found.ndcg[name].dtype == np.float64
    assert len({each.tobytes() for each in found.ndcg.values()}) == 3


def test_identical_texts_are_encoded_once_and_each_side_at_once():
    calls = []

    def listening(texts, side):
        calls.append((side, list(texts)))
        return encode(texts, side)

    data = made_up(["b", "a", "b", "", "a"], ["a", "a"], [{0: 1.0}, {1: 1.0}])
    measure(listening, data, Weights())
    assert calls == [("query", ["a"]), ("document", ["b", "a", ""])]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("target", [0, 4, 9, 10])
def test_identical_documents_tie_in_the_order_of_the_set(system, target):
    found = measure(encode, made_up(["same"] * 12, ["asked"], [{target: 1.0}]), Weights())
    assert found.ndcg[system][0] == pytest.approx(1 / np.log2(target + 2) if target < 10 else 0)


def test_vectors_that_differ_for_equal_texts_cannot_break_a_tie():
    count = iter(range(100))
    found = measure(
        lambda texts, _: embeddings([3] * len(texts), seed=next(count)),
        made_up(["same"] * 12, ["asked"], [{0: 1.0}]),
        Weights(),
    )
    assert [found.ndcg[name].tolist() for name in SYSTEMS] == [[1.0]] * 3


def test_texts_come_back_in_their_order():
    texts = ["b", "a", "b", "c", "a"]
    found = encode_once(encode, texts, "query")
    for row, text in enumerate(texts):
        assert found.pooled[row].tolist() == item(text, "query").pooled[0].tolist()
        assert found.tokens[row].tolist() == item(text, "query").tokens[0].tolist()


def test_what_has_no_duplicate_is_not_copied():
    given = encode(["a", "b"], "query")
    assert encode_once(lambda *_: given, ["a", "b"], "query") is given


def test_one_query_and_one_document_are_a_set():
    found = measure(encode, made_up(["d"], ["q"], [{0: 1.0}]), Weights())
    assert [found.ndcg[name].tolist() for name in SYSTEMS] == [[1.0]] * 3


def test_progress_counts_every_text():
    steps = []
    measure(encode, made_up(["a", "a", "b"], ["a", "a"], [{0: 1.0}, {0: 1.0}]), Weights(), steps.append)
    assert steps == [2, 3]


def test_an_encoder_of_a_bundle_is_measured(encoder):
    def of_bundle(texts, side):
        return Embeddings.concatenate(list(encoder.embed(texts, side=side, allow_empty=True)))

    found = measure(of_bundle, made_up(["sort a list", "", "open a file"], ["sort"], [{0: 1.0}]), Weights())
    assert all(0 < values[0] <= 1 for values in found.ndcg.values())


SAME = {
    "another name": made_up(name="another"),
    "gains in another order": made_up(gains=[dict(reversed(gains.items())) for gains in GAINS]),
    "gains as whole numbers": made_up(gains=[{at: int(gain) for at, gain in gains.items()} for gains in GAINS]),
}
OTHER = {
    "another document": made_up(documents=[*TEXTS[:-1], "another"]),
    "another order": made_up(documents=TEXTS[::-1]),
    "another query": made_up(queries=[*QUERIES[:-1], "another"]),
    "a document that became a query": made_up(TEXTS[1:], [*QUERIES, TEXTS[0]], [*GAINS, {0: 1.0}]),
    "another gain": made_up(gains=[{0: 2.5, 29: 1.0}, *GAINS[1:]]),
    "another judgement": made_up(gains=[{1: 2.0, 29: 1.0}, *GAINS[1:]]),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_the_hash_is_of_what_decides_the_measurement(data):
    found = measure(encode, data, Weights()).sha256
    assert found == measure(encode, made_up(), Weights(0, 1)).sha256
    assert len(found) == 64


@pytest.mark.parametrize("data", OTHER.values(), ids=OTHER)
def test_another_set_has_another_hash(data):
    assert measure(encode, data, Weights()).sha256 != measure(encode, made_up(), Weights()).sha256


@pytest.mark.parametrize("side", ["query", "document"])
@pytest.mark.parametrize("where", ["pooled", "tokens"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(side, where, value):
    def broken(texts, wanted):
        found = encode(texts, wanted)
        if wanted == side:
            (found.pooled if where == "pooled" else found.tokens.values)[-1, 3] = value
        return found

    with pytest.raises(InputError) as caught:
        measure(broken, made_up(), Weights())
    message_of(caught.value, side, "NaN or infinity")


def test_too_few_rows_are_refused():
    with pytest.raises(InputError) as caught:
        measure(lambda texts, side: encode(texts[1:], side), made_up(), Weights())
    message_of(caught.value, "6 texts", "query", "5 rows")


@pytest.mark.parametrize(
    "data", [made_up(queries=[], gains=[]), made_up([], ["q"], [{}])], ids=["queries", "documents"]
)
def test_an_empty_set_is_refused(data):
    with pytest.raises(InputError) as caught:
        measure(encode, data, Weights())
    message_of(caught.value, "made up", "needs both")


def test_losses_are_those_of_a_direct_computation(rng):
    one, other = ({name: rng.random(40) for name in SYSTEMS} for _ in range(2))
    lost = compare(quality(one), quality(other))
    assert (lost.name, lost.sha256, lost.queries, lost.documents) == ("made up", "0" * 64, 40, 9)
    for name in SYSTEMS:
        low, high = paired_bootstrap(other[name] - one[name])
        loss = lost.losses[name]
        assert (loss.low, loss.high) == (low, high)
        assert (loss.reference, loss.found) == (one[name].mean(), other[name].mean())
        assert loss.difference == pytest.approx(loss.found - loss.reference)
        assert low <= loss.difference <= high


def test_a_loss_is_negative_and_a_gain_positive():
    better, worse = quality({"late": [1.0, 0.9, 0.8]}), quality({"late": [0.5, 0.4, 0.3]})
    assert astuple(compare(better, worse).losses["late"]) == pytest.approx((0.9, 0.4, -0.5, -0.5, -0.5))
    assert compare(worse, better).losses["late"].difference == pytest.approx(0.5)


def test_nothing_is_lost_against_itself():
    found = measure(encode, made_up(), Weights())
    for loss in compare(found, found).losses.values():
        assert (loss.difference, loss.low, loss.high) == (0, 0, 0)


def test_one_query_has_an_interval_of_no_width():
    loss = compare(quality({"late": [1.0]}), quality({"late": [0.5]})).losses["late"]
    assert (loss.difference, loss.low, loss.high) == (-0.5, -0.5, -0.5)


def test_a_comparison_is_json_and_cannot_be_changed(rng):
    lost = compare(*(quality({name: rng.random(5) for name in SYSTEMS}) for _ in range(2)))
    assert json.loads(json.dumps(asdict(lost), allow_nan=False)) == asdict(lost)
    with pytest.raises(FrozenInstanceError):
        lost.name = "another"


GOOD = quality({"late": [1.0, 0.5]})
INCOMPARABLE = {
    "another set": (replace(GOOD, sha256="1" * 64), "different sets"),
    "another number of queries": (replace(GOOD, queries=3), "3 queries"),
    "another number of documents": (replace(GOOD, documents=8), "8 documents"),
    "more figures than queries": (quality({"late": [1.0, 0.5, 0.2]}, queries=2), "nDCG of 2 and 3 queries"),
    "another system": (quality({"pooled": [1.0, 0.5]}), "late and pooled"),
    "not finite": (quality({"late": [1.0, np.nan]}), "not finite"),
}


@pytest.mark.parametrize(("other", "mention"), INCOMPARABLE.values(), ids=INCOMPARABLE)
def test_what_does_not_compare_is_refused(other, mention):
    for pair in ((GOOD, other),) if mention.startswith("nDCG") else ((GOOD, other), (other, GOOD)):
        with pytest.raises(InputError) as caught:
            compare(*pair)
        message_of(caught.value, *([mention] if pair[0] is GOOD else []))


def test_no_query_at_all_does_not_compare():
    with pytest.raises(InputError) as caught:
        compare(quality({"late": []}), quality({"late": []}))
    message_of(caught.value, "at least 1")


def test_what_is_ranked_may_be_normalised_token_states_of_float16():
    def half(texts, side):
        found = encode(texts, side)
        tokens = TokenStates(found.tokens.values.astype(np.float16), found.tokens.offsets)
        return Embeddings(found.pooled, tokens, found.truncated)

    lost = compare(measure(encode, made_up(), Weights()), measure(half, made_up(), Weights()))
    assert lost.losses["pooled"].difference == 0
    assert abs(lost.losses["late"].difference) < 0.2
