"""The BM25 line of `smartrt bench accuracy`: its scores and its libraries."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from smartrt.benchmarks.accuracy.lexical import bm25
from smartrt.errors import MissingDependencyError
from support import message_of

DOCUMENTS = ("sort a list by key", "open a file", "copy a list", "the", "")


def test_bm25_scores_a_query_of_stop_words_only_as_zero():
    assert bm25(["the of and", ""], DOCUMENTS).tolist() == [[0.0] * len(DOCUMENTS)] * 2


def test_bm25_scores_words_that_no_document_has_as_zero():
    scores = bm25(["zebra", "zebra sort", "sort"], DOCUMENTS)
    assert not scores[0].any()
    assert scores[1].tolist() == scores[2].tolist()


def test_bm25_ties_on_identical_documents():
    scores = bm25(["sort a list", "file"], ["sort list", "file", "sort list", "file"])
    assert scores[:, 0].tolist() == scores[:, 2].tolist()
    assert scores[:, 1].tolist() == scores[:, 3].tolist()
    assert scores[0, 0] > scores[0, 1]


def test_bm25_reads_words_as_its_settings_say():
    scores = bm25(["sorting", "LIST", "key"], ["sorted", "list", "by_key"])
    assert (scores > 0).tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize("documents", [["", ""], ["the", "of the"]], ids=["empty", "stop words"])
def test_bm25_scores_documents_without_a_word_as_zero(documents):
    assert bm25(["sort"], documents).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["bm25s", "Stemmer"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError) as caught:
        bm25(["a"], ["b"])
    message_of(caught.value, name, "pip install 'smartrt[bench]'")
