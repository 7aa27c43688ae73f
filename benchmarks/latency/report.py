"""A result of `smartrt bench latency` as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartrt.cli.terminal import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HEAD = ["", "p50 ms", "p90", "p95", "p99", "CPU ms", "items/s", "ratio", "interval", "CPU ratio", "interval"]
_COLD = ["cold start", "wall s", "CPU s", "ratio", "interval", "peak MiB", "at the end", "on the device"]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Every group: its cold starts, then a table for each cell with its stages below."""
    reference = result["grid"]["reference"]
    yield (
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores; ratios are {reference} / contender; "
        f"queries are ranked against {result['corpus']['documents']} documents"
    )
    for group in result["groups"]:
        noisy = "   NOISY: a probe moved by more than 15 %" if group["noisy"] else ""
        moved = ", ".join(f"{name} {probe['moved']:.0%}" for name, probe in group["probes"].items())
        yield ""
        yield f"threads {group['threads']}, starts {group['starts']}; probes moved: {moved}{noisy}"
        yield from _aligned([_COLD, *map(_cold, group["cold"])])
        for cell in group["cells"]:
            yield from _aligned([[cell["cell"], *_HEAD[1:]], *map(_row, cell["rows"])])
            yield from (f"  {row['contender']}: {row['message']}" for row in cell["rows"] if _unsure(row))
            yield from _aligned(_parts(cell["rows"], "floor, ms", _floor))
            yield from _aligned(_parts(cell["rows"], "stages, p50 ms", _stages))
            yield from _aligned(_parts(cell["rows"], "joules a call", _joules))
    roofs = result["machine"].get("roofs", {})
    yield from (f"floor, {device}: {roof}" for device, roof in roofs.items() if isinstance(roof, str))
    if not result["sensors"]["domains"]:
        yield "energy: not measured"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    # A row that says why it has no numbers is longer than the table: it takes no part in its widths.
    whole = [row for row in rows if len(row) == len(rows[0])]
    yield from (f"  {line}" for line in table(whole, right=frozenset(range(1, len(rows[0])))))
    yield from (f"  {' '.join(row)}" for row in rows if len(row) != len(rows[0]))


def _cold(row: dict[str, Any]) -> list[str]:
    if row["failed"]:
        return [row["contender"], "FAILED:", row["failed"]]
    times = [f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}", *_ratio(row, "ratio")]
    memory = [f"{row['peak_rss_mb']:.0f}", f"{row['end_peak_rss_mb']:.0f}"]
    device = row["end_device_mb"]
    return [row["contender"], *times, *memory, "" if device is None else f"{device:.0f}"]


def _row(row: dict[str, Any]) -> list[str]:
    if row["status"] != "ok":
        return [row["contender"], row["status"].upper() + ":", row["message"]]
    percentiles = ["-" if row[f"p{at}_ms"] is None else f"{row[f'p{at}_ms']:.2f}" for at in (50, 90, 95, 99)]
    rates = [f"{row['cpu_ms']:.2f}", f"{row['items_per_s']:.1f}"]
    return [row["contender"], *percentiles, *rates, *_ratio(row, "ratio"), *_ratio(row, "cpu_ratio")]


def _ratio(row: dict[str, Any], key: str) -> list[str]:
    if key not in row:
        return ["", ""]
    limits = row[f"{key}_interval"]
    return [f"{row[key]:.2f}x", "" if limits is None else f"{limits[0]:.2f}-{limits[1]:.2f}"]


def _unsure(row: dict[str, Any]) -> bool:
    """Whether a row has times and something to be said of them."""
    return row["status"] == "ok" and row["message"] is not None


def _parts(
    rows: Sequence[dict[str, Any]], title: str, of: Callable[[dict[str, Any]], dict[str, str]]
) -> list[list[str]]:
    """A table of what each good row has parts of; empty if none has."""
    found = {row["contender"]: of(row) for row in rows if row["status"] == "ok"}
    names = list(dict.fromkeys(name for parts in found.values() for name in parts))
    if not names:
        return []
    lines = [[f"  {contender}", *(parts.get(name, "") for name in names)] for contender, parts in found.items()]
    return [[f"  {title}", *names], *lines]


def _stages(row: dict[str, Any]) -> dict[str, str]:
    return {name: f"{stage['p50_ms']:.2f}" for name, stage in row["stages"].items()}


def _floor(row: dict[str, Any]) -> dict[str, str]:
    """Encoding alone beside what it cannot beat."""
    floor = row.get("floor")
    if not isinstance(floor, dict):
        return {}
    shown = {"floor": "ms", "to read": "read_ms", "to multiply": "multiply_ms"}
    times = {name: f"{floor[key]:.4g}" for name, key in shown.items()}
    return times | {"encode": f"{row['encode_ms']:.4g}", "encode / floor": f"{floor['ratio']:.2f}x"}


def _joules(row: dict[str, Any]) -> dict[str, str]:
    joules = row["joules"]
    return {domain: f"{value:.4g}" for domain, value in joules.items()} if isinstance(joules, dict) else {}
