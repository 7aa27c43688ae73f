"""Who scores: smartrt with each storage, NumPy as one would first write it, PyTorch as SMART and ColPali do.

Each contender is made once from the data, which is when copying and quantising happen and no clock runs, and is then
called; it returns late scores ``[queries, documents]``, or with `search` in its name the ten best documents.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.documents import Documents
from smartrt.fusion import Weights
from smartrt.scoring.storage import Storage, store
from smartrt.scoring.stored import late_of, rough_of
from smartrt.search import SearchOptions, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cases import Data

    Scorer = Callable[[], Any]

TOP = 10
STORAGES: tuple[Storage, ...] = ("int16", "int8", "float16", "float32")
_SMART_CHUNK = 128
"""Candidates that SMART's evaluation script scores at a time by default."""

_COLPALI_BATCH = 128
"""Queries and documents that colpali-engine's `score_multi_vector` scores at a time by default."""


def contenders(data: Data, threads: int) -> dict[str, Scorer]:
    """Those that this environment can run, by name."""
    made = {f"smartrt {storage}": _stored(data, storage, threads) for storage in STORAGES}
    for storage in ("int16", "int8"):
        documents = Documents.of(data.documents, storage)
        made[f"search {storage}"] = _search(data, documents, threads, "off")
        if rough_of(data.queries.tokens, documents.tokens, threads=1) is not None:
            made[f"search {storage}, 8 bits first"] = _search(data, documents, threads, "on")
    made["numpy loop"] = lambda: _numpy_loop(data)
    made["numpy padded"] = _numpy_padded(data)
    if importlib.util.find_spec("torch") is not None:
        made["torch, as SMART"] = _torch_smart(data, threads)
        made["torch, as ColPali"] = _torch_colpali(data, threads)
    return made


def _stored(data: Data, storage: Storage, threads: int) -> Scorer:
    tokens = store(data.documents.tokens, storage)
    return lambda: late_of(data.queries.tokens, tokens, threads=threads)


def _search(data: Data, documents: Documents, threads: int, rough: Any) -> Scorer:
    weights, options = Weights(0.0, 1.0), SearchOptions("all", threads=threads, rough=rough)
    return lambda: search(data.queries, [documents], k=TOP, weights=weights, options=options)


def _numpy_loop(data: Data) -> np.ndarray:
    """A product for each pair."""
    queries, documents = data.queries.tokens, data.documents.tokens
    return np.array([[(query @ document.T).max(axis=1).mean() for document in documents] for query in queries])


def _numpy_padded(data: Data) -> Scorer:
    """One product with all documents, padded with zeros that the maximum skips."""
    padded, valid = _padded(data)
    hidden = np.where(valid, np.float32(0), np.float32(-np.inf))

    def score() -> np.ndarray:
        rows = padded.reshape(-1, padded.shape[2])
        return np.stack(
            [
                ((rows @ query.T).reshape(*valid.shape, -1) + hidden[:, :, None]).max(axis=1).mean(axis=1)
                for query in data.queries.tokens
            ]
        )

    return score


def _padded(data: Data) -> tuple[np.ndarray, np.ndarray]:
    tokens = data.documents.tokens
    longest = int(tokens.lengths.max())
    padded = np.zeros((len(tokens), longest, tokens.dim), np.float32)
    valid = np.arange(longest) < tokens.lengths[:, None]
    padded[valid] = tokens.values
    return padded, valid


def _torch_smart(data: Data, threads: int) -> Scorer:
    """Chunks of padded candidates: einsum, mask, maximum, mean over the query's tokens (SMART, arXiv 2605.24938)."""
    import torch

    documents = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in data.documents.tokens]
    queries = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in data.queries.tokens]

    def score() -> np.ndarray:
        torch.set_num_threads(threads)
        scores = np.empty((len(queries), len(documents)), np.float32)
        for first in range(0, len(documents), _SMART_CHUNK):
            chunk = documents[first : first + _SMART_CHUNK]
            padded = torch.nn.utils.rnn.pad_sequence(chunk, batch_first=True)
            lengths = torch.tensor([len(rows) for rows in chunk])
            valid = torch.arange(padded.shape[1])[None] < lengths[:, None]
            for row, query in enumerate(queries):
                products = torch.einsum("qd,ntd->nqt", query, padded)
                products = products.masked_fill(~valid[:, None], float("-inf"))
                scores[row, first : first + len(chunk)] = products.max(dim=2).values.mean(dim=1).numpy()
        return scores

    return score


def _torch_colpali(data: Data, threads: int) -> Scorer:
    """Batches padded with zeros that take part in the maximum, einsum, maximum, sum (here: mean, to compare)."""
    import torch

    documents = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in data.documents.tokens]
    queries = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in data.queries.tokens]
    counts = torch.tensor([len(rows) for rows in queries])[:, None]

    def pad(rows: list[Any]) -> Any:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def score() -> np.ndarray:
        torch.set_num_threads(threads)
        parts = []
        for at in range(0, len(queries), _COLPALI_BATCH):
            asked = pad(queries[at : at + _COLPALI_BATCH])
            columns = [
                torch.einsum("bnd,csd->bcns", asked, pad(documents[first : first + _COLPALI_BATCH]))
                .max(dim=3)[0]
                .sum(dim=2)
                for first in range(0, len(documents), _COLPALI_BATCH)
            ]
            parts.append(torch.cat(columns, dim=1))
        scores: np.ndarray = (torch.cat(parts) / counts).numpy()
        return scores

    return score
