"""The report of `smartrt doctor` for people: what is here, what is chosen, and last what to do."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from ..cuda.codes import in_words
from .advice import mode_text
from .board import PowerMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NARROW, _WIDE = 60, 120
_MARKS = {True: "yes", False: "no", None: "?"}
_UNKNOWN = "unknown"


def page(report: dict[str, Any], width: int | None = None) -> Iterator[str]:
    """Lines of text, none longer than the terminal is wide but for commands, which stay whole.

    Args:
        report: What `doctor.report` returned.
        width: Columns; None asks the terminal.
    """
    columns = min(max(width or shutil.get_terminal_size((80, 24)).columns, _NARROW), _WIDE)
    system = report["system"]
    yield f"smartrt {report['smartrt']}, Python {system['python']}, {system['name']} {system['architecture']}"
    for title, rows in (
        ("machine", _machine(report)),
        ("installed", _installed(report)),
        ("engines", _engines(report["engines"])),
        ("choice", _choice(report["choice"])),
        ("bundle", _bundle(report["bundle"])),
    ):
        lines = list(_aligned(rows, columns))
        if lines:
            yield from ("", title, *lines)
    yield from ("", "next")
    for number, step in enumerate(report["steps"], 1):
        yield from _step(number, step, columns)


def _machine(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    board = report["board"]
    if board is not None:
        yield "board", ", ".join([_or_unknown(board["model"]), _release(board)])
        yield "power", _power(board)
    yield "processor", _processor(report["processor"])
    yield from _memory(report["memory"], board=board is not None)
    driver = report["driver"]
    if driver["version"]:
        yield "driver", f"{driver['version']}, runs CUDA up to {_or_unknown(driver['cuda'])}"
    for number, gpu in enumerate(report["gpus"]):
        yield f"gpu {number}", _gpu(gpu)
    if not report["gpus"]:
        count = report["gpus_on_bus"]
        yield "gpu", f"{count} of NVIDIA on the bus, without a driver" if count else "none of NVIDIA"
    yield "scorer", report["scorer"]


def _release(board: dict[str, Any]) -> str:
    jetpack = board["jetpack"]
    l4t = f"L4T {_or_unknown(board['l4t'])}"
    if jetpack is None:
        return f"{l4t}, JetPack unknown"
    brings = f"CUDA {jetpack['cuda']}, TensorRT {jetpack['tensorrt']}, Python {jetpack['python']}"
    return f"{l4t}, JetPack {jetpack['version']} ({brings})"


def _power(board: dict[str, Any]) -> str:
    mode = board["power_mode"]
    clocks = {True: "clocks held", False: "clocks follow the load", None: "clocks unknown"}[board["clocks_locked"]]
    mhz = ", ".join(f"{name} at {value:g} MHz" for name, value in (board["gpu_mhz"] or {}).items())
    name = _UNKNOWN if mode is None else mode_text(PowerMode(**mode))
    return ", ".join(filter(None, [name, clocks, mhz]))


def _processor(processor: dict[str, Any]) -> str:
    eight = processor["eight_bit"]
    told = {None: "", True: ", cuts sums of 8-bit products off", False: ", 8-bit products exact"}[
        processor["saturates"]
    ]
    cores = "cores unknown" if processor["cores"] is None else f"{processor['cores']} cores"
    return f"{_or_unknown(processor['name'])}, {cores}{told}" + (f" ({eight})" if eight else "")


def _memory(memory: dict[str, Any], *, board: bool) -> Iterator[tuple[str, str]]:
    yield "memory", f"{_size(memory['available'])} free of {_size(memory['total'])}"
    pieces = "blocks unknown"
    if memory["largest_block"] is not None:
        pieces = f"{_size(memory['in_largest_blocks'])} in blocks of {_size(memory['largest_block'])}"
    if board or memory["cma_total"]:
        pieces += f"; CMA: {_area(memory['cma_free'], memory['cma_total'])}"
    yield "in one piece", pieces
    yield "swap", _area(memory["swap_free"], memory["swap_total"])


def _area(free: int | None, total: int | None) -> str:
    return "none" if total == 0 else _UNKNOWN if total is None else f"{_size(free)} free of {_size(total)}"


def _gpu(gpu: dict[str, Any]) -> str:
    words = [_or_unknown(gpu["name"]), f"SM {_or_unknown(gpu['sm'])}"]
    if gpu["integrated"]:
        words.append("shares the memory")
    elif gpu["memory_total"] is not None:
        free = f"{_size(gpu['memory_free'])} free of " if gpu["memory_free"] is not None else ""
        words.append(free + _size(gpu["memory_total"]))
    if gpu["sm_mhz"] is not None:
        words.append(f"{gpu['sm_mhz']} of {_or_unknown(gpu['sm_mhz_max'])} MHz")
    if gpu["temperature_c"] is not None:
        words.append(f"{gpu['temperature_c']} °C")
    if gpu["power_limit_w"] is not None:
        words.append(f"limit {gpu['power_limit_w']:g} W")
    return ", ".join(words)


def _installed(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    packages = report["packages"]
    here = [f"{name} {about['version']}" for name, about in packages.items() if about["version"]]
    missing = [name for name, about in packages.items() if not about["version"]]
    yield "packages", ", ".join(here) or "none"
    yield "missing", ", ".join(missing)
    shared = report["shared_libraries"]
    loaded = [f"{name} {about['version'] or ''}".strip() for name, about in shared.items() if about["loads"]]
    yield "loaded", ", ".join(loaded) or "none of NVIDIA's libraries"
    if report["gpus"] or report["gpus_on_bus"]:
        yield (
            "not loaded",
            "; ".join(f"{name}: {about['reason']}" for name, about in shared.items() if not about["loads"]),
        )


def _engines(engines: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for way in engines:
        state = "; ".join(obstacle["text"] for obstacle in way["obstacles"])
        yield f"{way['engine']} on {way['device']}", "ready" if way["ready"] else state


def _choice(choice: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "run on", f"engine {choice['engine']}, device {choice['device']}" if choice["engine"] else "nothing yet"
    compute = "" if choice["precision"] in ("int8", choice["compute"]) else f", products in {choice['compute']}"
    yield "export", f"{choice['precision']}{compute}, dialect {choice['dialect']}"
    yield "or", ", ".join(f"{name} ({what})" for name, what in choice["instead"].items())
    for number, reason in enumerate(choice["reasons"]):
        yield "" if number else "because", reason


def _bundle(bundle: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if bundle is None:
        return
    yield "name", f"{bundle['name']}, {bundle['precision']}"
    for need in bundle["needs"]:
        yield need["name"], f"{_MARKS[need['met']]}: {need['detail']}"


def _step(number: int, step: dict[str, Any], columns: int) -> Iterator[str]:
    lead = f"{number:>3}. "
    title = step["title"] + (" (optional)" if step["optional"] else "")
    yield from textwrap.wrap(title, columns, initial_indent=lead, subsequent_indent=" " * len(lead))
    yield from textwrap.wrap(step["why"], columns, initial_indent=" " * len(lead), subsequent_indent=" " * len(lead))
    yield from (f"{' ' * len(lead)}  $ {command}" for command in step["commands"])


def _aligned(rows: Iterable[tuple[str, str]], columns: int) -> Iterator[str]:
    """Names in one column, texts wrapped in the other; rows without a text are left out."""
    kept = [(name, text) for name, text in rows if text]
    indent = max((len(name) for name, _ in kept), default=0) + 4
    for name, text in kept:
        yield from textwrap.wrap(
            text, columns, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )  # fmt: skip


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else in_words(count)


def _or_unknown(value: Any) -> str:
    return _UNKNOWN if value is None else str(value)
