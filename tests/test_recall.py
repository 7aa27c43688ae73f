"""What two-stage search misses: `measure_recall` against a search by definition, and documents as queries."""

from __future__ import annotations

import numpy as np
import pytest

from smartrt import Bundle, Embeddings, Index, IndexOptions, Weights
from smartrt.errors import InputError
from smartrt.index.recall import LEVELS, measure_recall, sampled_documents
from support import embeddings, message_of


@pytest.fixture
def make(tmp_path, tiny_path):
    """Makes an index of random documents in segments of 40, some of them deleted."""
    made = []

    def build(count, *, options=None, deleted=(), seed=0, longest=12):
        index = Index.create(tmp_path / f"{len(made)}.index", Bundle.open(tiny_path), options)
        made.append(index)
        lengths = np.random.default_rng(seed).integers(1, longest + 1, count)
        documents = embeddings(lengths, seed=seed)
        for first in range(0, count, 40):
            rows = range(first, min(first + 40, count))
            index.add([f"d{row}" for row in rows], documents.take(rows))
        index.delete([f"d{row}" for row in deleted])
        return index

    return build


def stored(index):
    """Of every document that counts: position, pooled vector and token vectors as they are stored, in float64."""
    start, rows = 0, []
    for segment in index.segments:
        documents = segment.documents
        rows += [
            (start + row, documents.pooled[row].astype(np.float64), documents.tokens.exact(row))
            for row in segment.alive.tolist()
        ]
        start += segment.entry.documents
    return rows


def ranks_by_definition(index, queries, k, own=None, weights=(1.0, 1.0)):
    """For each query the places among all documents by the pooled vector of its k best by both scores."""
    ranks = []
    for row in range(len(queries)):
        pooled, tokens = queries.pooled[row].astype(np.float64), queries.tokens[row].astype(np.float64)
        cosines, scores = {}, {}
        for position, vector, rows in stored(index):
            if own is None or position != own[row]:
                cosines[position] = vector @ pooled / np.linalg.norm(pooled)
                scores[position] = weights[0] * cosines[position] + weights[1] * (tokens @ rows.T).max(axis=1).mean()
        by_pooled = sorted(cosines, key=lambda position: -cosines[position])
        best = sorted(scores, key=lambda position: -scores[position])[:k]
        ranks.append([by_pooled.index(position) for position in best])
    return np.array(ranks)


def check(recall, ranks, documents):
    """The figures are those of these ranks among so many documents."""
    assert (recall.queries, recall.k) == ranks.shape
    levels = [level for level in LEVELS if ranks.shape[1] <= level < documents] or [documents]
    assert list(recall.found) == list(recall.whole) == levels
    for level in levels:
        assert recall.found[level] == pytest.approx(np.mean(ranks < level), abs=1e-12)
        assert recall.whole[level] == pytest.approx(np.mean((ranks < level).all(axis=1)), abs=1e-12)
    held = [100 * int((ranks < count).sum()) >= 99 * ranks.size for count in range(documents + 1)]
    assert recall.enough == held.index(True)


@pytest.mark.parametrize("seed", range(8))
def test_the_figures_are_those_of_a_search_by_definition(make, seed):
    rng = np.random.default_rng(seed)
    count, k = int(rng.integers(2, 140)), int(rng.integers(1, 15))
    deleted = rng.choice(count, int(rng.integers(0, count - 1)), replace=False) if seed % 2 else []
    index = make(count, seed=seed, deleted=deleted)
    queries = embeddings(rng.integers(1, 9, 11), seed=seed + 100)
    alive = count - len(deleted)
    recall = measure_recall(index, queries, k=k)
    assert recall.documents == alive
    check(recall, ranks_by_definition(index, queries, min(k, alive)), alive)


OPTIONS = {
    "int16": IndexOptions(),
    "int8": IndexOptions("int8"),
    "float32": IndexOptions("float32"),
    "pooled": IndexOptions("int8", pooling=3),
    "projected": IndexOptions("int16", projection="pca", dim=10),
    "projected at random": IndexOptions("float16", projection="orthogonal", dim=20),
    "everything": IndexOptions("int8", 2, "pca", 8),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_index_is_measured_as_it_keeps_its_vectors(make, options):
    if options.pooling > 1:
        pytest.importorskip("scipy", reason="pooling needs scipy")
    index = make(60, options=options, deleted=[3, 4, 41], seed=5)
    queries = index.in_store(embeddings([4, 5, 6, 7], seed=9))
    assert queries.tokens.dim == index.manifest.stored_dim
    check(measure_recall(index, queries, k=5), ranks_by_definition(index, queries, 5), 57)
    sampled, own = sampled_documents(index, 6)
    recall = measure_recall(index, sampled, k=5, leave_out=own)
    check(recall, ranks_by_definition(index, sampled, 5, own), 56)


def test_what_is_found_is_what_a_search_with_so_many_candidates_finds(make):
    index, queries = make(120, seed=3), embeddings([3] * 20, seed=4)
    recall = measure_recall(index, queries, k=10)
    exact = index.search(queries, k=10, candidates="all")
    for level in (10, 20, 50, 100):
        fast = index.search(queries, k=10, candidates=level)
        same = [len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in zip(exact, fast, strict=True)]
        assert recall.found[level] == pytest.approx(sum(same) / 200)
        assert recall.whole[level] == pytest.approx(sum(n == 10 for n in same) / 20)
    assert 0 < recall.found[10] < recall.found[100] <= 1
    fast = index.search(queries, k=10, candidates=recall.enough)
    same = sum(len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in zip(exact, fast, strict=True))
    assert 198 <= same < 200 + (recall.enough == 120)


def test_deleted_documents_are_neither_found_nor_in_the_way(make):
    index, queries = make(90, seed=1), embeddings([3, 3, 3], seed=2)
    best = [hits[0].id for hits in index.search(queries, k=1, pooled=1, late=0)]
    index.delete(sorted(set(best)))
    recall = measure_recall(index, queries, k=4)
    check(recall, ranks_by_definition(index, queries, 4), 90 - len(set(best)))
    before = measure_recall(index, queries, k=4)
    index.compact()
    assert measure_recall(Index.open(index.path), queries, k=4) == before


def test_a_document_that_stands_in_for_a_query_is_no_answer(make):
    index = make(30, seed=6)
    queries, own = sampled_documents(index, 30)
    assert own == list(range(30))
    alone = measure_recall(index, queries, k=1)
    assert (alone.documents, alone.enough) == (30, 1)  # each finds itself
    others = measure_recall(index, queries, k=1, leave_out=own)
    check(others, ranks_by_definition(index, queries, 1, own), 29)
    assert others.enough > 1


def test_k_above_the_documents_compares_all_of_them(make):
    index = make(7, deleted=[2])
    queries, own = sampled_documents(index, 3)
    recall = measure_recall(index, queries, k=50, leave_out=own)
    assert (recall.k, recall.enough) == (5, 5)
    assert (recall.found, recall.whole) == ({5: 1.0}, {5: 1.0})
    assert measure_recall(index, queries, k=50).k == 6


@pytest.mark.parametrize("weights", [Weights(1, 0), Weights(0, 1), Weights(0.3, 2.0)], ids=["pooled", "late", "both"])
def test_the_hits_are_those_of_the_weights(make, weights):
    index, queries = make(50, seed=8), embeddings([2, 3, 4], seed=9)
    recall = measure_recall(index, queries, k=5, weights=weights)
    check(recall, ranks_by_definition(index, queries, 5, weights=(weights.pooled, weights.late)), 50)
    if not weights.late:
        assert (recall.enough, recall.found[10]) == (5, 1.0)


def test_every_query_is_counted_and_threads_change_nothing(make):
    index, queries, done = make(20), embeddings([3] * 7, seed=3), []
    recall = measure_recall(index, queries, advance=done.append)
    assert done == [1] * 7
    assert measure_recall(index, queries, threads=1) == recall == measure_recall(index, queries, threads=3)


def test_sampled_documents_are_the_same_every_time(make):
    index = make(100, deleted=range(10, 60), longest=60)
    queries, own = sampled_documents(index, 20)
    again, same = sampled_documents(Index.open(index.path), 20)
    assert own == same
    np.testing.assert_array_equal(queries.tokens.values, again.tokens.values)
    np.testing.assert_array_equal(queries.tokens.offsets, again.tokens.offsets)
    np.testing.assert_array_equal(queries.pooled, again.pooled)
    assert sampled_documents(index, 20, seed=1)[1] != own
    assert len(own) == len(set(own)) == 20
    assert own == sorted(own)
    assert not set(own) & set(range(10, 60))


@pytest.mark.parametrize(("storage", "off"), [("float32", 1e-6), ("float16", 2e-3), ("int16", 1e-3), ("int8", 5e-2)])
def test_sampled_documents_are_runs_of_their_own_vectors_of_length_one(make, storage, off):
    index = make(50, options=IndexOptions(storage), longest=70, seed=2)
    queries, own = sampled_documents(index, 1000)
    assert isinstance(queries, Embeddings)
    assert own == list(range(50))
    for row, (_, pooled, rows) in enumerate(stored(index)):
        segment = index.segments[row // 40]
        rows = rows[: int(segment.lengths[row % 40])].astype(np.float32)
        np.testing.assert_array_equal(queries.pooled[row], pooled.astype(np.float32))
        taken = queries.tokens[row]
        assert len(taken) == min(len(rows), 32)
        starts = [at for at in range(len(rows) - len(taken) + 1) if np.array_equal(rows[at : at + len(taken)], taken)]
        assert len(starts) == 1
    np.testing.assert_allclose(np.linalg.norm(queries.pooled, axis=1), 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(queries.tokens.values, axis=1), 1, rtol=0, atol=off)
    assert not queries.truncated.any()


@pytest.mark.parametrize("deleted", [0, 3], ids=["new", "everything deleted"])
def test_an_index_without_documents_has_none_to_sample_and_nothing_to_measure(make, deleted):
    index = make(deleted, deleted=range(deleted))
    queries, own = sampled_documents(index, 10)
    assert (len(queries), own, queries.tokens.dim, queries.pooled.shape) == (0, [], 32, (0, 32))
    for asked in (queries, embeddings([3])):
        with pytest.raises(InputError) as caught:
            measure_recall(index, asked)
        message_of(caught.value, str(index.path), "recall needs")


def test_one_document_has_no_other_to_find_but_may_be_asked_for(make):
    index = make(1)
    queries, own = sampled_documents(index, 10)
    with pytest.raises(InputError) as caught:
        measure_recall(index, queries, leave_out=own)
    message_of(caught.value, str(index.path), "recall needs")
    recall = measure_recall(index, queries)
    assert (recall.documents, recall.k, recall.found, recall.enough) == (1, 1, {1: 1.0}, 1)


def test_no_query_is_refused(make):
    index = make(3)
    with pytest.raises(InputError) as caught:
        measure_recall(index, embeddings([3]).take([]))
    message_of(caught.value, "recall needs queries")
