"""The page's latency tables: a group for each thread count, with cold starts and a table for each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..clock import in_order
from .markup import Html, markup, tag
from .page_variants import NOISY, why
from .quantities import INTERVAL, NONE, TIMES, count, significant, span, times
from .scale import Scale
from .strips import distribution, ends_of
from .tables import Cell, Column, Row, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")


def latency(result: dict[str, Any]) -> Html:
    """Every group of a result of `smartrt bench latency`."""
    note = (
        f"{TIMES} is how many times as fast as {result['grid']['reference']}, by wall-clock time and by CPU time. "
        "Stages are medians in ms. A percentile that too few calls support is left out. "
        "The strip is logarithmic and the same for all rows of a table: 1st to 99th percentile, middle half, median."
    )
    return markup(tag("p", note, class_="note"), [_group(result, group) for group in result["groups"]])


def _group(result: dict[str, Any], group: dict[str, Any]) -> Html:
    threads = count(group["threads"], "thread")
    moved = ", ".join(f"{name} {probe['moved']:.1%}" for name, probe in group["probes"].items())
    facts = (
        f"{count(group['starts'], 'start')} of each contender; probes moved by {moved or 'nothing: there are none'}."
    )
    heading = tag("h3", threads, [" ", NOISY] if group["noisy"] else None)
    return markup(
        heading,
        tag("p", facts, class_="note"),
        _titled(f"Cold start, {threads}", ["Cold start"], "Contender", _COLD, [_cold(row) for row in group["cold"]]),
        [_cell(result, group, cell) for cell in group["cells"]],
    )


def _titled(caption: str, title: list[str], names: str, columns: Sequence[Column], rows: Sequence[Row]) -> Html:
    return markup(tag("h4", title), table(caption, names, columns, rows))


_COLD = (
    Column("wall s", "from a new process to its first vectors"),
    Column("CPU s", "processor time of the same"),
    Column(TIMES, "speed against the reference", down=True),
    Column(INTERVAL, sort=None, kind="range"),
    Column("Peak MiB", "resident memory after the first vectors"),
    Column("at the end", "peak of resident memory when everything was measured, MiB"),
    Column("on the device", "MiB of the accelerator's memory"),
)


def _cold(row: dict[str, Any]) -> Row:
    if row["failed"]:
        return Row(row["contender"], message=why({"status": "failed", "message": row["failed"]}))
    return Row(row["contender"], [
        number(row["wall_s"], significant), number(row["cpu_s"], significant), *_ratio(row, "ratio"),
        *(number(row[key], _whole) for key in ("peak_rss_mb", "end_peak_rss_mb", "end_device_mb")),
    ])  # fmt: skip


def _cell(result: dict[str, Any], group: dict[str, Any], cell: dict[str, Any]) -> Html:
    good = [row for row in cell["rows"] if row["status"] == "ok"]
    stages = in_order(stage for row in good for stage in row["stages"])
    ends = [end for row in good for end in ends_of(row["samples_ms"])]
    scale = Scale.around(ends, log=True) if ends else None
    measured = any(isinstance(row["joules"], dict) for row in good)
    columns = [
        *(Column(f"{key[:3]} ms" if key == "p50_ms" else key[:3], "milliseconds of a call") for key in _PERCENTILES),
        Column("CPU ms", "processor time of a call, median"),
        Column("items/s", f"{cell['batch']} per call", down=True),
        Column(TIMES, "speed against the reference", down=True),
        Column(INTERVAL, sort=None, kind="range"),
        Column(f"CPU {TIMES}", "the same by processor time", down=True),
        Column(INTERVAL, sort=None, kind="range"),
        *(Column(stage, "median of this stage, ms", kind="stage") for stage in stages),
        *([Column("J/call", "energy of a call, idle power included")] if measured else []),
        Column("Calls", "1st to 99th percentile, middle half and median of all calls", sort=None),
    ]
    total = result["sensors"]["total"]
    rows = [_row(row, stages, scale, total if measured else None) for row in cell["rows"]]
    title = [cell["cell"], *([" ", NOISY] if group["noisy"] else [])]
    return _titled(f"{cell['cell']}, {count(group['threads'], 'thread')}", title, "Contender", columns, rows)


def _row(row: dict[str, Any], stages: Sequence[str], scale: Scale | None, total: Sequence[str] | None) -> Row:
    if row["status"] != "ok":
        return Row(row["contender"], message=why(row))
    note = tag("span", row["message"], class_="aside") if row["message"] else None
    return Row([row["contender"], note], [
        *(number(row[key], significant) for key in _PERCENTILES),
        number(row["cpu_ms"], significant),
        number(row["items_per_s"], significant),
        *_ratio(row, "ratio"),
        *_ratio(row, "cpu_ratio"),
        *(number(row["stages"].get(stage, {}).get("p50_ms"), significant) for stage in stages),
        *([] if total is None else [_joules(row["joules"], total)]),
        Cell(distribution(row["samples_ms"], scale) if scale else NONE),
    ])  # fmt: skip


def _ratio(row: dict[str, Any], key: str) -> tuple[Cell, Cell]:
    return number(row.get(key), times), Cell(span(row.get(f"{key}_interval")))


def _joules(joules: dict[str, float] | str, total: Sequence[str]) -> Cell:
    """The sum over the domains that may be added up; where there is no such sum, every domain by itself."""
    if isinstance(joules, str):
        return Cell(joules)
    each = ", ".join(f"{domain} {significant(value)}" for domain, value in joules.items())
    if not total or any(domain not in joules for domain in total):
        return Cell(each)
    return number(sum(joules[domain] for domain in total), significant, each)


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"
