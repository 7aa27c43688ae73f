"""The rows of all parts of a run, which of them count, and why what is missing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .suite import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_SUFFIX = ".smartrt"


@dataclass(frozen=True)
class Row:
    """A row of a result of `smartrt bench latency`.

    Attributes:
        cell: Its label.
        contender: As the result's grid describes it.
        found: The row.
    """

    cell: str
    contender: Mapping[str, Any]
    found: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the contender."""
        return str(self.contender["name"])

    @property
    def bundle(self) -> str | None:
        """Name of the bundle that ran; None for PyTorch."""
        return None if self.contender["kind"] else str(self.contender["bundle"]).removesuffix(_SUFFIX)

    @property
    def recorded(self) -> bool:
        """Whether launches were recorded and replayed as one: TensorRT does unless told not to."""
        return bool(self.contender["options"].get("cuda_graphs", self.contender["engine"] == "trt"))

    @property
    def problem(self) -> str | None:
        """Why its time does not count; None if it does. Outputs that nothing was compared with may be wrong."""
        if self.found["status"] == "ok" and self.found["outputs"] is not None:
            return None
        status = "" if self.found["status"] == "ok" else f"{self.found['status']}: "
        return f"{self.name}: {status}{self.found.get('message')}"


class Evidence:
    """What the parts of a run found."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        self.rows = list(_rows(parts))

    def find(self, cell: str, which: Callable[[Row], bool]) -> tuple[list[Row], str | None]:
        """Rows of a cell that count, and why the first of the others does not."""
        rows = [row for row in self.rows if row.cell == cell and which(row)]
        problem = next((row.problem for row in rows if row.problem), None)
        return [row for row in rows if row.problem is None], problem

    def missing(self, names: Sequence[str]) -> str:
        """Why none of these parts has what was looked for in its rows."""
        entries = [self._parts[name] for name in names if name in self._parts]
        failed = [entry["reason"] for entry in entries if entry["status"] == "failed"]
        if failed:
            return str(failed[0])
        if entries and all(entry["status"] == "skipped" for entry in entries):
            return str(entries[0]["reason"])
        return NOT_RUN


def _rows(parts: Mapping[str, Any]) -> Iterator[Row]:
    for part in parts.values():
        result = part.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("latency"), dict):
            continue
        latency = result["latency"]
        contenders = {each["name"]: each for each in latency["grid"]["contenders"]}
        for group in latency["groups"]:
            for cell in group["cells"]:
                for row in cell["rows"]:
                    yield Row(cell["cell"], contenders[row["contender"]], row)
