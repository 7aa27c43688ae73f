"""Text to ids: special tokens, truncation, the late mask, prompts."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from smartrt import Bundle
from smartrt.text import TextTokenizer
from support import edit_json, rehash, set_key

PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def tokenizer(tiny_path):
    return TextTokenizer.open(Bundle.open(tiny_path))


@pytest.fixture(scope="module")
def untruncated(tiny_path):
    """The same tokenizer file as the library reads it, nothing cut."""
    loaded = Tokenizer.from_file(str(tiny_path / "tokenizer.json"))
    loaded.encode_special_tokens = True
    return loaded


def test_a_text_gets_the_template_once(tokenizer):
    (text,) = tokenizer(["sort a list"], "query")
    assert tokenizer.pieces(text.ids)[0] == "[CLS]"
    assert tokenizer.pieces(text.ids)[-1] == "[SEP]"
    assert text.ids.dtype == np.int64
    assert text.truncated == 0


@pytest.mark.parametrize("written", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "a [SEP] b", "[SEP][SEP]"])
def test_a_special_token_written_by_a_user_is_text(tokenizer, written):
    (text,) = tokenizer([written], "document")
    assert not np.isin(text.ids[1:-1], [PAD, CLS, SEP, MASK]).any()
    assert text.keep[1:-1].all()
    assert "[" in tokenizer.pieces(text.ids)


def test_the_mask_drops_the_template_and_keeps_unknown_words(tokenizer):
    (text,) = tokenizer(["list ☃ key"], "query")
    assert UNK in text.ids
    assert text.keep.tolist() == [False, *[True] * (len(text.ids) - 2), False]


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.sampled_from(["a", "sorted", "北京", "x☃", "[SEP]", "café"]), min_size=1, max_size=200))
def test_truncation_keeps_the_start_and_counts_what_was_lost(tokenizer, untruncated, words):
    whole = untruncated.encode(" ".join(words)).ids
    (text,) = tokenizer([" ".join(words)], "document")
    assert text.truncated == max(0, len(whole) - tokenizer.max_length)
    assert text.ids.tolist() == ([*whole[: tokenizer.max_length - 1], SEP] if text.truncated else whole)
    assert len(text.keep) == len(text.ids)


def test_texts_do_not_influence_each_other(tokenizer):
    texts = ["a", "a much longer text about lists", "word " * 100, ""]
    together = tokenizer(texts, "query")
    for text, batched in zip(texts, together, strict=True):
        (alone,) = tokenizer([text], "query")
        assert (alone.ids.tolist(), alone.truncated) == (batched.ids.tolist(), batched.truncated)


def test_a_prompt_stands_in_front_of_its_own_side_only(tiny_copy, tokenizer):
    set_key(tiny_copy / "manifest.json", "prompts", {"query": "find: ", "document": "text: "})
    prompted = TextTokenizer.open(Bundle.open(tiny_copy))
    for side, prompt in (("query", "find: "), ("document", "text: ")):
        (got,), (wanted,) = prompted(["a list"], side), tokenizer([prompt + "a list"], side)
        assert got.ids.tolist() == wanted.ids.tolist()
        assert len(got.ids) > len(tokenizer(["a list"], side)[0].ids)


def test_a_prompt_counts_for_truncation(tiny_copy, tokenizer):
    set_key(tiny_copy / "manifest.json", "prompts/query", "find: ")
    prompted = TextTokenizer.open(Bundle.open(tiny_copy))
    prompt_tokens = len(tokenizer(["find:"], "query")[0].ids) - 2
    assert prompted(["a " * 100], "query")[0].truncated == 100 + 2 + prompt_tokens - prompted.max_length


def test_each_side_has_its_own_mask(tiny_copy):
    comma = 7
    set_key(tiny_copy / "manifest.json", "late_mask/query", [PAD, CLS, SEP, comma])
    masked = TextTokenizer.open(Bundle.open(tiny_copy))
    (query,), (document,) = masked(["a, b"], "query"), masked(["a, b"], "document")
    assert query.ids.tolist() == document.ids.tolist()
    assert not query.keep[query.ids == comma].any()
    assert document.keep[document.ids == comma].all()


def test_truncation_and_padding_in_the_tokenizer_file_do_not_count(tiny_copy, tokenizer):
    def change(data):
        data["truncation"] = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        data["padding"] = {
            "strategy": {"Fixed": 60},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }

    edit_json(tiny_copy / "tokenizer.json", change)
    rehash(tiny_copy)
    changed = TextTokenizer.open(Bundle.open(tiny_copy))
    for text in ("a list of words", "word " * 100):
        (got,), (wanted,) = changed([text], "query"), tokenizer([text], "query")
        assert (got.ids.tolist(), got.truncated) == (wanted.ids.tolist(), wanted.truncated)


def test_pieces_spell_what_the_vocabulary_has_and_show_what_it_has_not(tokenizer, tiny_path):
    vocabulary = json.loads((tiny_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert tokenizer.pieces(np.array([vocabulary["a"], CLS, 9999])) == ["a", "[CLS]", "<9999>"]


def test_the_probe_is_not_cut_by_a_short_max_length(tiny_copy):
    """The probe is 33 tokens long; a bundle that cuts texts earlier must still open."""
    set_key(tiny_copy / "manifest.json", "tokenizer/max_length", 16)
    short = TextTokenizer.open(Bundle.open(tiny_copy))
    assert short.max_length == len(short(["word " * 30], "query")[0].ids) == 16


def test_a_bundle_on_another_path_reads_the_same(tiny_path, tmp_path, tokenizer):
    moved = shutil.copytree(tiny_path, tmp_path / "büro spaces" / "moved.smartrt")
    (got,), (wanted,) = TextTokenizer.open(Bundle.open(moved))(["a list"], "query"), tokenizer(["a list"], "query")
    assert got.ids.tolist() == wanted.ids.tolist()
