"""Random changes to an index beside a plain dict that they are made to as well."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import STORAGES, assert_true_top, loud
from smartrt import Bundle, Embeddings, Index, IndexOptions
from smartrt.errors import InputError
from support import embeddings

QUERIES = embeddings([3, 1], seed=99)
IDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["add", "replace"]), IDS, st.integers(0, 10**6), st.booleans()),
    st.tuples(st.just("delete"), IDS),
    st.tuples(st.sampled_from(["compact", "reopen"])),
)


@pytest.fixture(scope="module")
def bundle(tiny_path):
    return Bundle.open(tiny_path)


class Model:
    """An index, and what it should hold."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.held: dict[str, Embeddings] = {}

    def apply(self, name: str, *details) -> None:
        """Do the same to both; what the dict cannot do the index must refuse."""
        if name == "reopen":
            self.index = Index.open(self.index.path)
        elif name == "compact":
            self.index.compact()
        elif name == "delete":
            self._delete(*details)
        else:
            self._add(*details, replace=name == "replace")

    def _delete(self, ids: list[str]) -> None:
        if not set(ids) <= set(self.held):
            with pytest.raises(InputError):
                self.index.delete(ids)
            return
        self.index.delete(ids)
        for each in ids:
            del self.held[each]

    def _add(self, ids: list[str], seed: int, is_loud: bool, *, replace: bool) -> None:
        lengths = np.random.default_rng(seed).integers(1, 20, len(ids))
        parts = [loud(int(n), seed + i, 2.0 if is_loud else 1.0) for i, n in enumerate(lengths)]
        batch = Embeddings.concatenate(parts)
        if not replace and set(ids) & set(self.held):
            with pytest.raises(InputError):
                self.index.add(ids, batch)
            return
        self.index.add(ids, batch, [[each, seed] for each in ids], replace=replace)
        for each, part in zip(ids, parts, strict=True):
            self.held.pop(each, None)
            self.held[each] = part

    def compare(self) -> None:
        """Ids in order, counts, vectors and what a search finds."""
        index = self.index
        assert index.ids() == list(self.held)
        assert len(index) == len(self.held)
        assert index.tokens == sum(len(part.tokens.values) for part in self.held.values())
        for segment in index.segments:
            for row in segment.alive:
                part, tokens = self.held[segment.document(int(row)).id], segment.documents.tokens
                stored = tokens.exact(int(row))[: segment.lengths[row]]
                assert np.linalg.norm(stored - part.tokens.values, axis=1).max() <= tokens.errors[row] <= 0.1
        if self.held:
            assert_true_top(index, QUERIES, 3)
            assert_true_top(index, QUERIES, 20, (0.5, 2.0))


@settings(deadline=None, max_examples=60)
@given(storage=st.sampled_from(STORAGES), operations=st.lists(OPERATIONS, min_size=1, max_size=12))
def test_an_index_is_a_dict_on_disk(bundle, storage, operations):
    with tempfile.TemporaryDirectory() as directory:
        model = Model(Index.create(Path(directory) / "docs.index", bundle, IndexOptions(storage)))
        for operation in operations:
            model.apply(*operation)
            model.compare()
        model.index.check()
        model.apply("reopen")
        model.compare()
