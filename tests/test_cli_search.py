"""`smartrt search`: how many candidates late interaction ranks, and how scores are fused."""

from __future__ import annotations

import numpy as np
import pytest

from commandline import FAKE, build_index, call, one_line, refused, write_corpus
from smartrt import Encoder, Index

WORDS = "sort open copy a list file key by line lines of two remove read words count merge the"
LATE = ("--pooled", "0", "--late", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_path):
    """An index of 130 texts of 1 to 9 words, and the beginning of a search in it."""
    rng, directory = np.random.default_rng(5), tmp_path_factory.mktemp("search")
    texts = [" ".join(rng.choice(WORDS.split(), rng.integers(1, 10))) for _ in range(130)]
    path = build_index(directory / "docs.index", tiny_path, write_corpus(directory / "corpus.jsonl", texts))
    return path, ("search", tiny_path, path, *FAKE, "--json")


@pytest.fixture(scope="module")
def encoder(tiny_path):
    return Encoder.open(tiny_path, engine="fake")


QUERIES = ("sort a list", "merge two lines of the file", "read", "count words")


def by_library(place, encoder, **options):
    hits = Index.open(place[0], encoder).search(encoder.encode_query(QUERIES), **options)
    return [[(hit.id, hit.score, hit.pooled, hit.late) for hit in row] for row in hits]


def by_command(capsys, place, *flags):
    finished = call(capsys, *place[1], *QUERIES, *flags)
    assert (finished.code, finished.err) == (0, "")
    return [[(h["id"], h["score"], h["pooled"], h["late"]) for h in answer["hits"]] for answer in finished.json]


@pytest.mark.parametrize(
    ("flag", "candidates"), [("1", 1), ("7", 7), ("100", 100), ("100000", 100_000), ("all", "all")]
)
@pytest.mark.parametrize("k", [1, 10])
def test_candidates_are_those_of_the_library(capsys, place, encoder, flag, candidates, k):
    wanted = by_library(place, encoder, k=k, candidates=candidates)
    assert by_command(capsys, place, "-k", k, "--candidates", flag) == wanted


def test_without_the_flag_the_100_best_by_the_pooled_vector_are_ranked(capsys, place):
    found = by_command(capsys, place, "-k", 100, *LATE)
    assert found == by_command(capsys, place, "-k", 100, *LATE, "--candidates", 100)
    assert found != by_command(capsys, place, "-k", 100, *LATE, "--candidates", "all")


def test_there_are_at_least_k_candidates(capsys, place):
    every = by_command(capsys, place, "-k", 1000, *LATE, "--candidates", "all")
    assert by_command(capsys, place, "-k", 1000, *LATE, "--candidates", 1) == every
    assert [len(row) for row in every] == [130] * len(QUERIES)


def test_one_candidate_is_the_best_by_the_pooled_vector_and_all_find_the_true_best(capsys, place):
    best = by_command(capsys, place, "-k", 1, "--late", 0)
    one = by_command(capsys, place, "-k", 1, *LATE, "--candidates", 1)
    every = by_command(capsys, place, "-k", 1, *LATE, "--candidates", "all")
    assert [row[0][0] for row in one] == [row[0][0] for row in best]
    assert all(few[0][1] <= many[0][1] for few, many in zip(one, every, strict=True))
    assert one != every


def test_environment_variables_choose_candidates_and_fusion(capsys, monkeypatch, place):
    wanted = by_command(capsys, place, "--candidates", "all", "--fusion", "zscore")
    monkeypatch.setenv("SMARTRT_CANDIDATES", "all")
    monkeypatch.setenv("SMARTRT_FUSION", "zscore")
    assert by_command(capsys, place) == wanted
    monkeypatch.setenv("SMARTRT_CANDIDATES", "0")
    refused(call(capsys, *place[1], "list"), "SMARTRT_CANDIDATES='0'", "from 1 up, or all")


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "All", ""])
def test_a_number_of_candidates_that_is_none_is_refused(capsys, place, value):
    refused(call(capsys, *place[1], "list", "--candidates", value), "--candidates", f"'{value}'", "from 1 up, or all")


@pytest.mark.parametrize("method", ["sum", "zscore", "rrf"])
@pytest.mark.parametrize("candidates", [20, "all"])
def test_fusion_is_that_of_the_library(capsys, place, encoder, method, candidates):
    wanted = by_library(place, encoder, k=5, fusion=method, candidates=candidates)
    assert by_command(capsys, place, "-k", 5, "--fusion", method, "--candidates", candidates) == wanted


def test_rrf_scores_are_reciprocal_ranks_of_both_signals(capsys, place):
    every = by_command(capsys, place, "-k", 130, "--candidates", "all")
    fused = by_command(capsys, place, "-k", 130, "--candidates", "all", "--fusion", "rrf")
    for plain, row in zip(every, fused, strict=True):
        assert {name for name, *_ in plain} == {name for name, *_ in row}
        scores = [score for _, score, _, _ in row]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] <= 2 / 61 + 1e-12
        assert sum(scores) == pytest.approx(2 * sum(1 / (60 + rank) for rank in range(1, 131)))


def test_an_unknown_fusion_is_refused(capsys, place):
    refused(call(capsys, *place[1], "list", "--fusion", "max"), "--fusion", "'max'", "zscore", "rrf")


def test_the_text_of_an_answer_shows_the_fused_score_and_both_terms(capsys, place):
    finished = call(capsys, *place[1][:-1], "sort a list", "--fusion", "rrf", "-k", "2")
    assert finished.code == 0
    query, first, _ = finished.out.splitlines()
    assert query == "sort a list"
    one_line(f"{first}\n", "  1  0.0", " pooled, ", " late  d")
