"""Rounds of all contenders in fresh random order, and the medians of their ratios within a round."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.errors import EngineError
from smartrt.scoring.storage import store

from .cases import CASES, make
from .contenders import STORAGES, TOP, contenders
from .peer import Peer, installed
from .probes import Probes, blas_threads, clocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cases import Data

OURS = "smartrt int16"
PEER = "maxsim-cpu"
_PAUSE = 0.05  # seconds before each call: threads of the last one have stopped spinning then
_AGREE = 2e-6
_WRONG = 0.01  # off by more, scores are no rounding
_STEADY = 0.15
"""A probe that moved by more than this between rounds marks the result as noisy."""


def measure(case: str, threads: int, rounds: int, advance: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Score one case with every contender, `rounds` times.

    Args:
        case: A name in `CASES`.
        threads: Of every contender.
        rounds: One more warms up and is not counted.
        advance: Called with 1 after each round.

    Returns:
        JSON-ready: for each contender medians of wall and CPU time, of their ratios to smartrt's int16 within a round,
        of the share of the sgemm probe of the same round, its error against float64, and how many of the true ten best
        documents it finds; a library that crashes or returns wrong scores is not timed but named; `noisy` if a probe
        moved.

    Raises:
        EngineError: smartrt's own scores are wrong, or its first pass changes an answer: then nothing is compared.
    """
    data = make(CASES[case])
    truth = _truth(data)
    made = contenders(data, threads)
    probes, peer = Probes(threads), Peer(case, threads) if installed() else None
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in [*made, *([PEER] if peer else [])]}
    seen: dict[str, Any] = {}
    probed: list[dict[str, float]] = []
    wrong: list[str] = []
    shuffle = random.Random(0).shuffle  # noqa: S311  (an order, not a secret)
    for number in range(rounds + 1):
        names = list(samples)
        shuffle(names)
        probe = probes.run()
        for name in names:
            time.sleep(_PAUSE)
            sample = _sample(name, made, peer, threads, seen)
            if number and sample is not None:
                samples[name].append(sample | {"sgemm": probe["gflop_per_cpu_s"]})
        if number:
            probed.append(probe)
        elif PEER in seen and not np.abs(seen[PEER] - truth).max() <= _WRONG:
            del samples[PEER]
            wrong.append(PEER)
        advance(1)
    if peer is not None:
        peer.close()
    _check(data, seen, truth)
    results = {name: _summary(runs, samples[OURS], data.flop) for name, runs in samples.items() if runs}
    for name, result in results.items():
        result |= _quality(seen[name], truth)
    return {
        "case": case,
        "label": CASES[case].label,
        "gflop": data.flop / 1e9,
        "threads": threads,
        "rounds": rounds,
        "probes": {key: statistics.median(probe[key] for probe in probed) for key in probed[0]},
        "noisy": _noisy(probed),
        "contenders": results,
        "crashed": [PEER] if peer is not None and peer.crashed else [],
        "wrong": wrong,
    }


def _sample(
    name: str, made: dict[str, Any], peer: Peer | None, threads: int, seen: dict[str, Any]
) -> dict[str, float] | None:
    if name == PEER and peer is not None:
        for _ in range(1 if threads == 1 else 2):
            answer = peer.score()
        if answer is None:
            return None
        wall, cpu, seen[name] = answer
        return {"wall_s": wall, "cpu_s": cpu}

    def call() -> None:
        seen[name] = made[name]()

    with blas_threads(threads):
        if threads > 1:
            call()  # cores that slept take milliseconds to wake: what is measured are awake ones
        wall, cpu = clocked(call)
    return {"wall_s": wall, "cpu_s": cpu}


def _truth(data: Data) -> np.ndarray:
    """``[queries, documents]`` in float64."""
    documents = [rows.astype(np.float64) for rows in data.documents.tokens]
    return np.array(
        [[(q.astype(np.float64) @ rows.T).max(axis=1).mean() for rows in documents] for q in data.queries.tokens]
    )


def _check(data: Data, seen: dict[str, Any], truth: np.ndarray) -> None:
    for storage in STORAGES:
        # Quantising moves a token vector by a known distance, and a score by no more than that.
        limit = store(data.documents.tokens, storage).errors + _AGREE
        beyond = float((np.abs(seen[f"smartrt {storage}"] - truth) - limit).max())
        if not beyond <= 0:
            raise EngineError(f"smartrt's {storage} scores are off by {beyond:.1e} too much: a bug, please report it")
    for name, found in seen.items():
        plain = name.removesuffix(", 8 bits first")
        if plain != name and found != seen[plain]:
            raise EngineError(f"the answers of {name!r} and {plain!r} differ: a bug, please report it")


def _quality(found: Any, truth: np.ndarray) -> dict[str, Any]:
    best = np.argsort(-truth, axis=1, kind="stable")[:, :TOP]
    if isinstance(found, np.ndarray):
        ranked = np.argsort(-found, axis=1, kind="stable")[:, :TOP]
        error: float | None = float(np.abs(found - truth).max())
    else:
        ranked = np.array([[place.position for place in row] for row in found])
        error = None
    overlap = [len(set(one) & set(other)) / len(other) for one, other in zip(ranked, best, strict=True)]
    return {"max_error": error, "top_10": statistics.fmean(overlap)}


def _summary(runs: list[dict[str, float]], ours: list[dict[str, float]], flop: float) -> dict[str, Any]:
    pairs = list(zip(runs, ours, strict=False))
    return {
        "wall_ms": statistics.median(run["wall_s"] for run in runs) * 1e3,
        "cpu_ms": statistics.median(run["cpu_s"] for run in runs) * 1e3,
        "wall_ratio": statistics.median(run["wall_s"] / own["wall_s"] for run, own in pairs),
        "cpu_ratio": statistics.median(run["cpu_s"] / own["cpu_s"] for run, own in pairs),
        "share_of_sgemm": statistics.median(flop / 1e9 / run["cpu_s"] / run["sgemm"] for run in runs),
        "samples": [{key: round(run[key], 6) for key in ("wall_s", "cpu_s")} for run in runs],
    }


def _noisy(probed: list[dict[str, float]]) -> bool:
    return any(
        max(abs(probe[key] / statistics.median(each[key] for each in probed) - 1) for probe in probed) > _STEADY
        for key in probed[0]
    )
