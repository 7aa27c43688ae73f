"""What the page says about the machine and the method, and the raw configuration for who wants to repeat it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..latency.summary import STEADY
from ..sensors.base import NOT_MEASURED
from .markup import Html, markup, tag
from .quantities import count, significant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .markup import Content

_STATE = {
    "board": "Board", "l4t": "L4T", "power_mode": "Power mode", "governors": "Governors", "cpu_mhz": "CPU MHz",
    "temperature_c": "Temperature °C", "gpus": "GPUs", "integrated_gpu_mhz": "Integrated GPU MHz",
    "memory_mib": "Memory MiB",
}  # fmt: skip


def machine(found: dict[str, Any]) -> Html:
    """What the study ran on: `machine.describe`, and its `state` where that was read."""
    state = {_STATE.get(key, key): value for key, value in (found.get("state") or {}).items()}
    unknown = [name for name, value in state.items() if value == NOT_MEASURED]
    facts = {
        "Processor": f"{found['cpu']}, {count(found['cores'], 'core')}",
        "System": found["system"],
        "Python": found["python"],
        "smartrt": found["smartrt"],
        "BLAS kernels": found["blas_kernels"],
        "Load before": _load(found["load"]),
        "Libraries": ", ".join(f"{name} {version}" for name, version in found["libraries"].items()),
        **{name: _words(value) for name, value in state.items() if value != NOT_MEASURED},
        "Not measured": ", ".join(unknown) or None,
    }
    return _facts(facts)


def method(study: dict[str, Any]) -> Html:
    """How times, intervals, accuracies and energy came about, in the words of the measurements themselves."""
    latency, accuracy = study["latency"], study["accuracy"]
    grid, corpus = latency["grid"], latency["corpus"]
    runs = (
        f"{count(grid['starts'], 'start')} of every contender in a process of its own, "
        f"{count(grid['rounds'], 'visit')} of every cell in each, {significant(grid['visit'])} s a visit; "
        + ("all processes of a start are alive at once." if grid["together"] else "one process after the other.")
    )
    searched = (
        f"{count(corpus['documents'], 'document')}, {corpus['tokens']:,} tokens of {corpus['dim']} dimensions, "
        f"encoded by {corpus['encoded_by']}."
    )
    loads = "; ".join(
        f"{count(group['threads'], 'thread')}: {', then '.join(_load(load) for load in group['load'])}"
        for group in latency["groups"]
    )
    facts: dict[str, Content] = {
        "Runs": runs,
        "Ratios": f"{grid['reference']} over contender. {latency['interval']}.",
        "Queries search": searched,
        "Noise": f"A group is noisy if a probe of the machine moved by more than {STEADY:.0%} from its median.",
        "Load": loads,
        "Accuracy": accuracy["statistics"],
        "BM25": "; ".join(dict.fromkeys(found["bm25"] for found in accuracy["results"])) or None,
        "Energy": _energy(latency["sensors"]),
    }
    return _facts(facts)


def raw(study: dict[str, Any]) -> Html:
    """Configuration, grid, machine and sensors as JSON, folded."""
    latency, accuracy = study["latency"], study["accuracy"]
    parts = {
        "Configuration": study["config"],
        "Latency grid": latency["grid"],
        "Encoders": accuracy["encoders"],
        "Machine": latency["machine"],
        "Machine of the accuracy": accuracy["machine"],
        "Sensors": latency["sensors"],
    }
    return markup([
        tag("details", tag("summary", name), tag("pre", json.dumps(value, indent=2, ensure_ascii=False)))
        for name, value in parts.items()
    ])  # fmt: skip


def _energy(sensors: dict[str, Any]) -> Content:
    known = f"From {', '.join(sensors['domains'])}." if sensors["domains"] else "Not measured."
    absent = [tag("li", f"{kind}: {reason}") for kind, reason in sensors["absent"].items()]
    return [known, [" Sensors that could not be read:", tag("ul", absent)] if absent else None]


def _facts(facts: Mapping[str, Content]) -> Html:
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items() if value]
    return tag("dl", pairs, class_="facts")


def _load(load: list[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in load)


def _words(value: Any) -> str:
    """A part of the machine's state on one line: ``min 1,200, max 3,400``."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "; ".join(map(_words, value))
    return significant(value, 4) if isinstance(value, float) else str(value)
