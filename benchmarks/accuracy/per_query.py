"""What every system found for every query, one JSON line each: written by `bench accuracy`, read by `bench wins`.

A line is ``{"set", "query", "text", "relevant": {document: gain}, "systems": {name: {"ndcg", "best": [document]}}}``:
the set's name, the query's id and text, the ids and gains of all relevant documents, and per system its nDCG@10 and the
ids of its ten best documents, best first. Every line of a set has the same systems.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.errors import InputError, StorageError
from smartrt.evaluation.metrics import CUT
from smartrt.files import replace_file

from .report import DECISIVE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .report import SetFindings


@dataclass(frozen=True)
class SystemResult:
    """nDCG@10 of one query, and the ids of the ten best documents."""

    ndcg: float
    best: tuple[str, ...]


@dataclass(frozen=True)
class QueryResult:
    """One line. See the module for its keys."""

    set: str
    query: str
    text: str
    relevant: dict[str, float]
    systems: dict[str, SystemResult]


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before hours of work.

    Raises:
        StorageError: Its directory is not there, or it is no file.
    """
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no directory {path.parent}; make it first")
    if path.exists() and not path.is_file():
        raise StorageError(f"cannot write {path}: it is there and no file; choose another name")


def write_per_query(path: Path, findings: Sequence[SetFindings]) -> None:
    """Write all lines in one step.

    Raises:
        StorageError: The disk refuses.
    """
    lines = [json.dumps(dataclasses.asdict(line), ensure_ascii=False) for each in findings for line in _lines(each)]
    replace_file(path, "".join(f"{line}\n" for line in lines).encode())


def read_per_query(path: Path) -> list[QueryResult]:
    """Read and check a file of `write_per_query`.

    Raises:
        InputError: It cannot be read, a line is none of ours, a query comes twice, or two lines of a set have other
            systems.
    """
    found: list[QueryResult] = []
    systems: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path} line {number}"
                result = _parse(line, where)
                if (result.set, result.query) in seen:
                    raise InputError(f"{where}: query {result.query!r} of {result.set} is there twice")
                if set(result.systems) != systems.setdefault(result.set, set(result.systems)):
                    raise InputError(f"{where}: its systems are not those of the first query of {result.set}")
                seen.add((result.set, result.query))
                found.append(result)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not found:
        raise InputError(f"{path} holds no line: make it with `smartrt bench accuracy --per-query`")
    return found


def _lines(findings: SetFindings) -> Iterator[QueryResult]:
    data, systems = findings.data, list(findings.systems)
    for row, (query, gains) in enumerate(zip(data.queries, data.gains, strict=True)):
        ranked = {
            found.name: SystemResult(
                float(found.metrics[DECISIVE][row]), tuple(data.documents[i].id for i in found.rankings[row])
            )
            for found in systems
        }
        relevant = {data.documents[i].id: float(gain) for i, gain in gains.items()}
        yield QueryResult(data.name, query.id, query.text, relevant, ranked)


def _parse(line: bytes, where: str) -> QueryResult:
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        result = strict_json.parse(QueryResult, data)
    except (ValueError, RecursionError, strict_json.StrictJsonError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{where} is no line of `smartrt bench accuracy --per-query`: {reason}") from None
    if problem := _problem(result):
        raise InputError(f"{where}: {problem}")
    return result


def _problem(result: QueryResult) -> str | None:
    """What the types allow and no measurement gives."""
    if not result.relevant or not all(gain > 0 for gain in result.relevant.values()):
        return "a query has a relevant document, with a gain above 0"
    if not result.systems:
        return "it names no system"
    for name, system in result.systems.items():
        if not 0 <= system.ndcg <= 1 + 1e-9:
            return f"nDCG of {name} must be 0 to 1, got {system.ndcg}"
        if len(system.best) > CUT or len(set(system.best)) < len(system.best):
            return f"{name} must have at most {CUT} different documents, got {len(system.best)}"
    return None


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
