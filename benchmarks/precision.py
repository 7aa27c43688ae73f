"""`smartrt bench precision`: size, speed and loss of bundles of one checkpoint in several precisions.

Speed is the forward pass alone, CPU time of one thread, all contenders in one process that has one thread, in
random order in every round; ratios are medians over the rounds. PyTorch runs the same backbone in float32, eager.
Loss is nDCG@10 against the first bundle, query by query.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.bundle import Bundle
from smartrt.encoder import Encoder
from smartrt.errors import EngineError, InputError, OptionError
from smartrt.evaluation.quality import SYSTEMS, compare
from smartrt.price import SetLoss  # noqa: TC001  (the return type's name in the docs)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from smartrt.evaluation.dataset import RetrievalSet
    from smartrt.export.build import Bar

SHAPES = ("1x32", "32x128")
"""Batch and tokens of the forward passes."""

PYTORCH = "PyTorch float32"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_WORKER = "import sys, json; from smartrt.benchmarks import precision; precision.work(json.loads(sys.argv[1]))"
_SECONDS = 600


def parse_shape(text: str) -> tuple[int, int]:
    """``32x128`` to batch and tokens.

    Raises:
        OptionError: It is something else.
    """
    if not (found := re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,4})", text)):
        raise OptionError(f"unknown shape {text!r}: give BATCHxTOKENS, such as 1x32")
    return int(found[1]), int(found[2])


def measure_losses(bundles: Sequence[Bundle], sets: Sequence[RetrievalSet], bar: Bar) -> dict[str, list[SetLoss]]:
    """Per bundle but the first, what it loses against the first on each set."""
    from smartrt.export import measure as export_measure

    qualities = []
    for bundle in bundles:
        with Encoder.from_bundle(bundle) as encoder:
            qualities.append(export_measure.of_bundle(encoder, sets, bar))
    return {
        bundle.manifest.name: [compare(*pair) for pair in zip(qualities[0], found, strict=True)]
        for bundle, found in zip(bundles[1:], qualities[1:], strict=True)
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Name, identity, size and what is in it."""
    manifest = bundle.manifest
    size = sum(entry.bytes for entry in manifest.files.values())
    graphs = sum(entry.bytes for name, entry in manifest.files.items() if name != manifest.tokenizer.path)
    return {
        "name": manifest.name,
        "identity": bundle.identity,
        "precision": manifest.precision,
        "bytes": size,
        "weight_bytes": graphs,
        "token_cosine": manifest.verified.token,
    }


def measure_speed(
    source: str, bundles: Sequence[Path], shapes: Sequence[tuple[int, int]], rounds: int
) -> dict[str, dict[str, Any]]:
    """Per shape and contender: median milliseconds of CPU time, quartiles, and the ratio PyTorch / contender.

    Raises:
        InputError: A bundle is no text encoder.
        EngineError: The measuring process failed.
    """
    for path in bundles:
        if Bundle.open(path, verify=False).manifest.family != "text-encoder":
            raise InputError(f"{path} is no text encoder: only these are timed alone")
    request = {"source": source, "bundles": [str(path) for path in bundles], "shapes": list(shapes), "rounds": rounds}
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", _WORKER, json.dumps(request)],
        env=os.environ | _ONE_THREAD, capture_output=True, text=True, check=False, timeout=_SECONDS * len(shapes),
    )  # fmt: skip
    if done.returncode:
        raise EngineError(f"measuring the speed failed: {' '.join(done.stderr.split())[-300:]}")
    result: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return result


def work(request: dict[str, Any]) -> None:
    """The measuring process: prints one line of JSON."""
    from smartrt.export import text_family
    from smartrt.models.checkpoint import Checkpoint

    reference = text_family.load(Checkpoint.resolve(request["source"]), {}, None, None)
    opened: list[tuple[Bundle, dict[str, Any]]] = [(Bundle.open(path, verify=False), {}) for path in request["bundles"]]
    opened += [(bundle, {"unpack": True}) for bundle, _ in opened if bundle.manifest.precision.packed]
    encoders = {_label(bundle, how): Encoder.from_bundle(bundle, threads=1, **how) for bundle, how in opened}
    result = {}
    for batch, tokens in request["shapes"]:
        ids = np.random.default_rng(0).integers(4, _vocabulary(reference), (batch, tokens), np.int64)
        runs = {PYTORCH: _torch_run(reference, ids)}
        runs |= {name: _engine_run(encoder, ids) for name, encoder in encoders.items()}
        result[f"{batch}x{tokens}"] = _interleave(runs, request["rounds"])
    sys.stdout.write(json.dumps(result) + "\n")


def _label(bundle: Bundle, how: dict[str, Any]) -> str:
    return bundle.manifest.name + (", unpacked" if how else "")


def _vocabulary(reference: Any) -> int:
    return int(min(reference.encoder.config.vocab_size, len(reference.tokenizer)))


def _torch_run(reference: Any, ids: np.ndarray) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    tensor = torch.from_numpy(ids)
    mask = torch.ones_like(tensor)

    def run() -> Any:
        with torch.inference_mode():
            return reference.encoder(tensor, mask)["token_states"].numpy()

    return run


def _engine_run(encoder: Encoder, ids: np.ndarray) -> Callable[[], Any]:
    engine = encoder.backbone.engine  # type: ignore[attr-defined]  # a text encoder has one
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feeds = {spec.name: given[spec.name] for spec in engine.inputs}
    return lambda: engine.run(feeds)["token_states"]


def _interleave(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    truth = runs[PYTORCH]()
    cosines = {name: float((run() * truth).sum(-1).mean()) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            started = time.process_time()
            runs[name]()
            times[name].append(1000 * (time.process_time() - started))
    return {
        name: {
            "cpu_ms": round(statistics.median(values), 3),
            "quartiles": [round(float(value), 3) for value in np.percentile(values, [25, 75])],
            "ratio": round(statistics.median(a / b for a, b in zip(times[PYTORCH], values, strict=True)), 3),
            "token_cosine": round(cosines[name], 6),
        }
        for name, values in times.items()
    }


def rows(
    bundles: Sequence[dict[str, Any]], losses: dict[str, list[SetLoss]], speeds: dict[str, dict[str, Any]]
) -> list[list[str]]:
    """A table: a header, PyTorch, then each bundle; an unpacked bundle has speeds alone."""
    hybrid = SYSTEMS[-1]
    names = [entry.name for entry in next(iter(losses.values()), [])]
    table = [["", "MB", *(f"{shape} ms" for shape in speeds), *speeds, *(f"{name} loss" for name in names)]]
    sizes = {entry["name"]: f"{entry['bytes'] / 1e6:,.1f}" for entry in bundles}
    contenders = list(next(iter(speeds.values()), {})) or list(sizes)
    for name in contenders:
        timed = [values[name] for values in speeds.values()]
        lost = [f"{entry.losses[hybrid].difference:+.4f}" for entry in losses.get(name, ())] or [""] * len(names)
        table.append([
            name, sizes.get(name, ""), *(f"{value['cpu_ms']:.1f}" for value in timed),
            *(f"{value['ratio']:.2f}x" for value in timed), *lost,
        ])  # fmt: skip
    return table
