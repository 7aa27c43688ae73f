"""Retrieval sets: a directory with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`.

The first two hold ``{"id", "text"}`` lines; the third has a header line, then
``query_id <tab> doc_id <tab> relevance``, where a relevance above 0 is relevant and higher is better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..jsonl import Record, check_records, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class RetrievalSet:
    """Documents, the queries that have a judgement, and the judgements.

    Attributes:
        name: The directory's name.
        documents: In file order; ties in a ranking keep it.
        queries: In file order, without those that no document is relevant for.
        gains: Per query, position of a document -> its relevance, above 0 only.
        unjudged: Queries left out.
    """

    name: str
    documents: tuple[Record, ...]
    queries: tuple[Record, ...]
    gains: tuple[dict[int, float], ...]
    unjudged: int

    @classmethod
    def read(cls, directory: Path) -> RetrievalSet:
        """Read and check a set.

        Raises:
            InputError: A file is missing or a line is wrong; no query has a relevant document.
        """
        documents = _records(directory / "corpus.jsonl")
        queries = _records(directory / "queries.jsonl")
        position = {record.id: i for i, record in enumerate(documents)}
        gains: dict[str, dict[int, float]] = {record.id: {} for record in queries}
        for number, query, document, relevance in _judgements(directory / "qrels.tsv"):
            if query not in gains or document not in position:
                missing = f"query {query!r}" if query not in gains else f"document {document!r}"
                raise InputError(f"{directory / 'qrels.tsv'} line {number} judges {missing}, which is not in the set")
            if relevance > 0:
                gains[query][position[document]] = relevance
        judged = tuple(record for record in queries if gains[record.id])
        if not judged:
            raise InputError(f"{directory}: no query has a relevant document; check the ids in qrels.tsv")
        return cls(
            Path(directory).resolve().name,
            documents,
            judged,
            tuple(gains[record.id] for record in judged),
            len(queries) - len(judged),
        )


def _records(path: Path) -> tuple[Record, ...]:
    check_records(path, allow_empty=True)
    return tuple(read_records(path))


def _judgements(path: Path) -> Iterator[tuple[int, str, str, float]]:
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    for number, line in enumerate(lines, start=1):
        fields = line.rstrip("\r").split("\t")
        relevance = _number(fields[2]) if len(fields) == 3 else None
        if number == 1:
            if relevance is not None:
                raise InputError(f"{path} line 1 is a judgement, it must be a header: query_id, doc_id, relevance")
        elif relevance is not None:
            yield number, fields[0], fields[1], relevance
        elif line.strip():
            raise InputError(f"{path} line {number} must be query_id, doc_id, relevance by tabs, got {line[:60]!r}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
