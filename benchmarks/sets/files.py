"""A retrieval set to disk, as `RetrievalSet.read` takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from smartrt.errors import InputError
from smartrt.files import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.jsonl import Record

_SEPARATORS = frozenset("\t\r\n")


def write_set(data: RetrievalSet, directory: Path) -> None:
    """Write `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` into a new directory, all of them or nothing.

    Read back it is equal to `data`, but for the name, which is the directory's, and for `unjudged`, which is 0:
    queries without a relevant document are not part of the set.

    Raises:
        InputError: A judged id holds a tab or a line end, which the table of judgements has no way to say.
        StorageError: `directory` exists already, or the disk refuses.
    """
    judgements = "".join(["query_id\tdoc_id\trelevance\n", *_judgements(data)])
    with new_directory(directory) as temporary:
        (temporary / "corpus.jsonl").write_bytes(_lines(data.documents))
        (temporary / "queries.jsonl").write_bytes(_lines(data.queries))
        (temporary / "qrels.tsv").write_bytes(judgements.encode())


def _lines(records: Sequence[Record]) -> bytes:
    rows = ({"id": record.id, "text": record.text} | record.meta for record in records)
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _judgements(data: RetrievalSet) -> Iterator[str]:
    for query, gains in zip(data.queries, data.gains, strict=True):
        for position, gain in gains.items():
            document = data.documents[position]
            for each in (query.id, document.id):
                if _SEPARATORS.intersection(each):
                    raise InputError(f"{data.name}: id {each!r} holds a tab or a line end; qrels.tsv cannot say it")
            yield f"{query.id}\t{document.id}\t{gain!r}\n"
