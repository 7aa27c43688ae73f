"""The inputs of every cell: as many tokens as were asked for, all different, and the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from latency_runs import TINY
from smartrt import Embeddings, Encoder
from smartrt.benchmarks.latency import workload as module
from smartrt.benchmarks.latency.grid import Cell, parse_cells
from smartrt.benchmarks.latency.workload import Workload, check_cells
from smartrt.errors import OptionError
from smartrt.manifest import Side
from support import message_of

pytestmark = pytest.mark.usefixtures("library_read_once")

LEAST, MOST = 3, 48
"""Tokens of a text of one word, and of the longest text that the tiny model takes."""


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    return Encoder.open(TINY)


@pytest.fixture(scope="module")
def vocabulary(library_read_once: None) -> list[str]:  # noqa: ARG001  (whoever asks for it reads once)
    return module._words()


def count_of(text: str) -> int:
    """What the tokenizer itself says, nothing cut off."""
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return len(tokenizer.encode(text).ids)


def make(encoder: Encoder, cells: tuple[Cell, ...], folder: Path, corpus: int = 4) -> Workload:
    folder.mkdir(exist_ok=True)

    def encode(texts: Sequence[str], side: Side) -> Embeddings:
        assert side == "document"
        return encoder.encode_document(texts)

    return Workload.make(encoder, encode, cells, corpus, folder)


def test_every_length_from_one_word_to_the_longest_is_hit_exactly(tiny: Encoder, tmp_path: Path) -> None:
    shapes = [f"1x{tokens}" for tokens in range(LEAST, MOST + 1)]
    cells = parse_cells(shapes, shapes)
    made = make(tiny, cells, tmp_path)
    for cell, texts in zip(cells, made.items, strict=True):
        assert [count_of(text) for text in texts] == [cell.tokens]


@given(st.integers(LEAST, MOST), st.sampled_from(["query", "document"]), st.integers(0, 10**6))
def test_a_text_of_any_length_is_found_from_any_first_word(
    tiny: Encoder, vocabulary: list[str], tokens: int, side: Any, seed: int
) -> None:
    text = module._text(tiny, Cell(side, 1, tokens), vocabulary, random.Random(seed))  # noqa: S311  (words, no secrets)
    assert count_of(text) == tokens


@pytest.mark.parametrize("shape", ["32x8", "32x16", "16x48"])
def test_each_text_of_a_batch_is_another(tiny: Encoder, tmp_path: Path, shape: str) -> None:
    made = make(tiny, parse_cells([], [shape]), tmp_path)
    (texts,) = made.items
    assert len(set(texts)) == len(texts) == int(shape.split("x")[0])


@pytest.mark.parametrize("shape", ["32x3", "32x4", "32x5", "64x8"])
def test_each_short_text_of_a_batch_is_another_or_the_cell_is_refused(
    tiny: Encoder, tmp_path: Path, shape: str
) -> None:
    try:
        made = make(tiny, parse_cells([], [shape]), tmp_path)
    except OptionError:
        return
    (texts,) = made.items
    assert len(set(texts)) == len(texts)


def test_cells_of_one_shape_on_both_sides_have_other_texts(tiny: Encoder, tmp_path: Path) -> None:
    made = make(tiny, parse_cells(["4x12"], ["4x12"]), tmp_path)
    assert not set(made.items[0]) & set(made.items[1])


def test_the_same_is_made_twice(tiny: Encoder, tmp_path: Path) -> None:
    cells = parse_cells(["2x8"], ["3x12"])
    one, other = (make(tiny, cells, tmp_path / name) for name in "ab")
    assert one.items == other.items
    np.testing.assert_array_equal(one.corpus.tokens.values, other.corpus.tokens.values)
    assert (tmp_path / "a" / "cells.json").read_bytes() == (tmp_path / "b" / "cells.json").read_bytes()


def test_a_process_reads_what_was_made(tiny: Encoder, tmp_path: Path) -> None:
    made = make(tiny, parse_cells(["2x8"], ["3x12"]), tmp_path, corpus=7)
    assert Workload.read_items(tmp_path) == [list(items) for items in made.items]
    corpus = Workload.read_corpus(tmp_path)
    assert len(corpus) == 7
    np.testing.assert_array_equal(corpus.pooled, made.corpus.pooled)
    np.testing.assert_array_equal(corpus.tokens.values, made.corpus.tokens.values)
    np.testing.assert_array_equal(corpus.tokens.offsets, made.corpus.tokens.offsets)


def test_the_corpus_is_said_to_be_cut_and_nobody_is_warned(tiny: Encoder, tmp_path: Path) -> None:
    """Warnings are errors here: the tiny model takes 48 tokens, documents have hundreds."""
    made = make(tiny, parse_cells(["1x8"], []), tmp_path)
    assert (made.corpus.truncated > 0).sum() == len(made.corpus) == 4
    assert made.corpus.tokens.lengths.min() > 0
    np.testing.assert_allclose(np.linalg.norm(made.corpus.pooled, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, LEAST - 1, MOST + 1, 32768])
@pytest.mark.parametrize("side", ["query", "document"])
def test_a_length_that_the_model_does_not_have_is_refused(tiny: Encoder, side: Any, tokens: int) -> None:
    with pytest.raises(OptionError) as caught:
        check_cells(tiny, [Cell(side, 1, tokens)])
    message_of(caught.value, f"{side} 1x{tokens}", "tiny", f"makes {LEAST} tokens", f"takes {MOST} at most")


@pytest.mark.parametrize("tokens", [LEAST, MOST])
def test_the_shortest_and_the_longest_text_are_not(tiny: Encoder, tokens: int) -> None:
    check_cells(tiny, [Cell("query", 1, tokens), Cell("document", 1, tokens)])


def test_images_for_a_bundle_of_texts_are_refused(tiny: Encoder) -> None:
    with pytest.raises(OptionError) as caught:
        check_cells(tiny, parse_cells([], ["1x64x64"]))
    message_of(caught.value, "tiny takes no images", "page 1x64x64")


def test_a_length_that_no_text_has_is_said_to_be_so(tiny: Encoder, tmp_path: Path) -> None:
    """Shorter than one word, where `check_cells` was not asked first."""
    with pytest.raises(OptionError) as caught:
        make(tiny, (Cell("document", 1, LEAST - 1),), tmp_path)
    message_of(caught.value, f"no text of exactly {LEAST - 1} tokens")
