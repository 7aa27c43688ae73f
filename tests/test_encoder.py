"""Encoder: the contract every engine keeps, and every input it must refuse."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smartrt import Bundle, Encoder, TruncationWarning
from smartrt.backbones.text import TextBackbone
from smartrt.engines import TensorSpec
from smartrt.errors import EngineError, InputError, OptionError, SaturationWarning, SmartrtError
from smartrt.text import TextTokenizer
from support import message_of, set_key

TOLERANCE = 1e-5
WORDS = ("sort", "a", "list", "北京", "naïve", "x(y)[0]", "🙂", "[SEP]", "unbelievable-compound")

quiet_truncation = pytest.mark.filterwarnings("ignore::smartrt.TruncationWarning")
texts_of_any_length = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join), min_size=1, max_size=7
)


def with_budget(encoder: Encoder, token_budget: int) -> Encoder:
    return Encoder(encoder.bundle, encoder.backbone, token_budget)


def assert_equal(got, wanted, tolerance=0.0):
    assert got.tokens.offsets.tolist() == wanted.tokens.offsets.tolist()
    assert got.truncated.tolist() == wanted.truncated.tolist()
    np.testing.assert_allclose(got.pooled, wanted.pooled, rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.tokens.values, wanted.tokens.values, rtol=0, atol=tolerance)


# An item's vectors do not depend on its neighbours.


@quiet_truncation
@settings(deadline=None, max_examples=25)
@given(texts=texts_of_any_length, budget=st.integers(1, 400))
def test_a_batch_gives_what_each_text_gives_alone(encoder, texts, budget):
    together = with_budget(encoder, budget).encode_document(texts)
    for i, text in enumerate(texts):
        assert_equal(together.take([i]), encoder.encode_document(text), TOLERANCE)


@quiet_truncation
@settings(deadline=None, max_examples=20)
@given(texts=texts_of_any_length, seed=st.integers(0, 1000), budget=st.integers(1, 400))
def test_results_come_in_the_order_given(encoder, texts, seed, budget):
    order = np.random.default_rng(seed).permutation(len(texts))
    shuffled = with_budget(encoder, budget).encode_query([texts[i] for i in order])
    assert_equal(shuffled, encoder.encode_query(texts).take(order), TOLERANCE)


@quiet_truncation
@settings(deadline=None, max_examples=20)
@given(texts=texts_of_any_length, budget=st.integers(1, 200))
def test_equal_texts_get_equal_vectors_to_the_last_bit(encoder, texts, budget):
    twice = with_budget(encoder, budget).encode_document([*texts, *texts])
    half = len(texts)
    assert_equal(twice.take(range(half)), twice.take(range(half, 2 * half)))


@quiet_truncation
@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
@example(texts=["\u200b", "\x00", "", "a\u2028b", "\ufeff"])
def test_any_unicode_text_gives_unit_vectors_and_at_least_one_token(encoder, texts):
    got = encoder.encode_document(texts, allow_empty=True)
    assert len(got) == len(texts)
    assert got.tokens.lengths.all()
    assert got.pooled.dtype == got.tokens.values.dtype == np.float32
    for vectors in (got.pooled, got.tokens.values):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=TOLERANCE)


def test_no_items_give_no_rows_of_the_right_shape(encoder):
    got = encoder.encode_document([])
    assert got.pooled.shape == (0, 32)
    assert (len(got.tokens), got.tokens.dim, len(got.truncated)) == (0, 32, 0)


def test_a_text_a_dict_and_lists_of_them_mean_the_same(encoder):
    wanted = encoder.encode_query(["a list"])
    for items in ("a list", {"text": "a list"}, [{"text": "a list"}], ("a list",), (text for text in ["a list"])):
        assert_equal(encoder.encode_query(items), wanted)


def test_queries_and_documents_get_their_own_prompts(tiny_copy):
    set_key(tiny_copy / "manifest.json", "prompts/query", "find: ")
    with Encoder.open(tiny_copy, engine="fake") as prompted:
        query, document = prompted.encode_query("a list"), prompted.encode_document("a list")
        assert_equal(query, prompted.encode_document("find: a list"))
    assert query.tokens.lengths[0] > document.tokens.lengths[0]


def test_padding_on_the_left_changes_nothing(tiny_copy, tiny_path):
    texts = ["a", "a longer list of words", "sort"]
    set_key(tiny_copy / "manifest.json", "tokenizer/padding_side", "left")
    with Encoder.open(tiny_copy, engine="fake") as left, Encoder.open(tiny_path, engine="fake") as right:
        assert_equal(left.encode_document(texts), right.encode_document(texts))


# Streams.


def test_embed_reads_a_window_at_a_time_and_no_further(encoder):
    consumed = []

    def stream():
        for i in range(5):
            consumed.append(i)
            yield f"text number {i}"

    parts = encoder.embed(stream(), window=2)
    assert consumed == []
    assert [(len(part), len(consumed)) for part in parts] == [(2, 2), (2, 4), (1, 5)]


@quiet_truncation
@settings(deadline=None, max_examples=15)
@given(texts=texts_of_any_length, window=st.integers(1, 8), side=st.sampled_from(["query", "document"]))
def test_embed_gives_what_encoding_at_once_gives(encoder, texts, window, side):
    parts = list(encoder.embed(texts, side=side, window=window))
    whole = encoder.encode_query(texts) if side == "query" else encoder.encode_document(texts)
    assert_equal(type(whole).concatenate(parts), whole, TOLERANCE)


def test_embed_of_nothing_yields_nothing(encoder):
    assert list(encoder.embed([])) == []


@pytest.mark.parametrize("item", ["abc", {"text": "abc"}], ids=["text", "dict"])
def test_embed_does_not_take_one_item_for_a_stream_of_letters_or_keys(encoder, item):
    """Either one item, as in encode_document, or an error; never its characters."""
    try:
        parts = list(encoder.embed(item))
    except InputError as error:
        message_of(error)
    else:
        assert_equal(parts[0], encoder.encode_document("abc"))


def test_embed_counts_positions_through_the_whole_stream(encoder):
    with pytest.raises(InputError, match="document 3 is empty"):
        list(encoder.embed(["a", "b", "c", " "], window=2))
    with pytest.warns(TruncationWarning, match="document 3 lost most"):
        list(encoder.embed(["a", "b", "c", "word " * 100], window=2))


@pytest.mark.parametrize("options", [{"window": 0}, {"side": "passage"}], ids=["window 0", "unknown side"])
def test_embed_refuses_bad_options(encoder, options):
    with pytest.raises(OptionError) as caught:
        list(encoder.embed(["a"], **options))
    message_of(caught.value, str(next(iter(options.values()))))


# Texts it refuses.


@pytest.mark.parametrize("text", ["", " ", "\n\t \u2003"], ids=["empty", "space", "whitespace"])
@pytest.mark.parametrize("wrap", [str, lambda text: {"text": text}], ids=["text", "dict"])
def test_an_empty_text_is_refused_by_position(encoder, text, wrap):
    with pytest.raises(InputError) as caught:
        encoder.encode_query(["fine", wrap(text)])
    message_of(caught.value, "query 1", "allow_empty=True")


@pytest.mark.parametrize("text", ["", " \n"], ids=["empty", "whitespace"])
def test_an_empty_text_that_is_allowed_has_its_pooled_vector_as_its_one_token(encoder, text):
    got = encoder.encode_document(["a list", text], allow_empty=True).take([1])
    assert got.tokens.lengths.tolist() == [1]
    np.testing.assert_allclose(got.tokens[0], got.pooled, atol=1e-6)


BAD_ITEMS = {
    "None": (None, "NoneType"),
    "int": (7, "int"),
    "bytes": (b"text", "bytes"),
    "list": (["text"], "list"),
    "dict of None": ({"text": None}, "empty"),
    "dict of int": ({"text": 7}, "int"),
    "dict without text": ({}, "empty"),
    "unknown key": ({"text": "a", "image": "p.png"}, "['image']"),
    "unknown keys of several types": ({"text": "a", 1: 2, "image": 3}, "image"),
    "lone surrogate": ("a\ud800", "not valid Unicode"),
    "lone surrogate in a dict": ({"text": "a\udfff"}, "not valid Unicode"),
}


@pytest.mark.parametrize(("item", "mentions"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_an_item_that_is_no_text_is_refused_by_position(encoder, item, mentions):
    with pytest.raises(InputError) as caught:
        encoder.encode_document(["fine", item])
    message_of(caught.value, "document 1", mentions)


@pytest.mark.parametrize("items", [None, 7, b"text"], ids=["None", "int", "bytes"])
def test_what_is_neither_a_text_nor_a_sequence_is_refused(encoder, items):
    with pytest.raises(InputError) as caught:
        encoder.encode_query(items)
    message_of(caught.value)


def test_a_token_budget_below_1_is_refused(tiny_path):
    with pytest.raises(OptionError) as caught:
        Encoder.open(tiny_path, engine="fake", token_budget=0)
    message_of(caught.value, "token_budget", "0")


# Truncation is never silent.


def test_a_text_that_is_too_long_warns_once_with_counts_and_is_marked(encoder):
    texts = ["short", "word " * 100, "short too", "word " * 200]
    with pytest.warns(TruncationWarning) as caught:
        got = encoder.encode_document(texts)
    (warning,) = caught
    limit = encoder.backbone.max_length
    assert str(warning.message).startswith(f"2 of 4 texts were cut to {limit} tokens; document 3 lost most")
    assert str(int(got.truncated[3])) in str(warning.message)
    assert warning.filename == __file__
    assert got.truncated[0] == got.truncated[2] == 0
    assert got.truncated[3] > got.truncated[1] > 0
    assert got.tokens.lengths.max() == limit - 2


def test_a_text_that_fits_exactly_is_not_cut(encoder):
    letters = encoder.backbone.max_length - 2
    assert encoder.encode_document("a " * letters).truncated.tolist() == [0]
    with pytest.warns(TruncationWarning, match="lost most: 1 tokens"):
        assert encoder.encode_document("a " * (letters + 1)).truncated.tolist() == [1]


# Engines that are closed or misbehave.


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_a_closed_encoder_says_so(tiny_path, engine):
    with Encoder.open(tiny_path, engine=engine) as encoder:
        encoder.encode_query("a list")
    encoder.close()
    with pytest.raises(EngineError) as caught:
        encoder.encode_query("a list")
    message_of(caught.value, "closed")


class StubEngine:
    """The tiny bundle's interface around a function from attention mask to outputs."""

    inputs = tuple(TensorSpec(name, "int64", ("batch", "length")) for name in ("input_ids", "attention_mask"))

    def __init__(self, run, dtype="float32"):
        self._run = run
        self.outputs = (
            TensorSpec("pooled", dtype, ("batch", 32)),
            TensorSpec("token_states", dtype, ("batch", "length", 32)),
        )

    def run(self, feeds):
        rows, length = feeds["attention_mask"].shape
        dtype = self.outputs[0].dtype
        outputs = {"pooled": np.ones((rows, 32), dtype), "token_states": np.ones((rows, length, 32), dtype)}
        self._run(feeds["attention_mask"] == 1, outputs)
        return outputs


@pytest.fixture
def stubbed(tiny_path):
    """An encoder of the tiny bundle around a stub engine."""

    def build(run, dtype="float32"):
        bundle = Bundle.open(tiny_path)
        return Encoder(bundle, TextBackbone(bundle, TextTokenizer.open(bundle), StubEngine(run, dtype)), 4096)

    return build


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["NaN", "infinity"])
@pytest.mark.parametrize("output", ["pooled", "token_states"])
def test_numbers_that_are_none_are_an_engine_error(stubbed, output, bad):
    def spoil(_, outputs):
        outputs[output][0, ..., 1] = bad

    with pytest.raises(EngineError) as caught:
        stubbed(spoil).encode_document(["a list", "b"])
    message_of(caught.value, "NaN or infinity")


def test_whatever_stands_on_padding_is_never_looked_at(stubbed):
    def spoil(mask, outputs):
        outputs["token_states"][~mask] = np.nan

    got = stubbed(spoil).encode_document(["a", "a longer list of words"])
    assert np.isfinite(got.tokens.values).all()


def test_a_float16_graph_gives_float32_vectors(stubbed):
    got = stubbed(lambda *_: None, "float16").encode_document(["a list", "b"])
    assert got.pooled.dtype == got.tokens.values.dtype == np.float32


def test_a_pooled_vector_that_is_not_normalised_stays_raw_and_its_token_is_unit(stubbed):
    def scale(_, outputs):
        outputs["pooled"] *= 3

    got = stubbed(scale).encode_document("", allow_empty=True)
    np.testing.assert_array_equal(got.pooled, np.full((1, 32), 3, np.float32))
    np.testing.assert_allclose(np.linalg.norm(got.tokens[0]), 1.0, rtol=1e-6)


def test_a_graph_that_asks_for_an_unknown_input_is_refused_by_name(stubbed):
    encoder = stubbed(lambda *_: None)
    encoder.backbone.engine.inputs = (*StubEngine.inputs, TensorSpec("position_ids", "int64", ("batch", "length")))
    with pytest.raises(SmartrtError) as caught:
        encoder.encode_document("a list")
    message_of(caught.value, "position_ids")


@pytest.mark.parametrize("options", [{"token_budget": 10.5}, {"token_budget": None}, {"device": 7}], ids=str)
def test_an_option_of_the_wrong_kind_is_refused_by_name(tiny_path, options):
    (name,) = options
    with pytest.raises(OptionError, match=name):
        Encoder.open(tiny_path, **options)


@pytest.mark.parametrize(("activations", "saturated"), [("dynamic", True), ("dynamic", False), ("float", True)])
def test_a_processor_that_saturates_is_named_where_it_matters(monkeypatch, tiny_path, activations, saturated):
    bundle = Bundle.open(tiny_path)
    precision = dataclasses.replace(bundle.manifest.precision, activations=activations)
    bundle = Bundle(bundle.path, dataclasses.replace(bundle.manifest, precision=precision))
    monkeypatch.setattr("smartrt.encoder.saturates", lambda: saturated)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Encoder.from_bundle(bundle).close()
    expected = activations == "dynamic" and saturated
    assert [entry.category for entry in caught] == [SaturationWarning] * expected
