"""`--precision auto`: the fewest products left wide so that a loss stays below a limit, found by measuring."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from smartrt.errors import ExportError

from .precision.scheme import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .build import Built
    from .precision.scheme import Scheme

Goal = Literal["size", "time"]

GOALS: dict[Goal, tuple[str, ...]] = {"size": ("int4", "w8", "fp16"), "time": ("int8", "fp16")}
"""What is tried, the best for the goal first. The last loses nothing that was ever measured."""


@dataclass(frozen=True)
class Trial:
    """One bundle that was built and measured."""

    scheme: Scheme
    keep: tuple[str, ...]
    bytes: int
    loss: float


def find(
    goal: Goal,
    limit: float,
    build: Callable[[Path, Scheme, Sequence[str]], Built],
    loss_of: Callable[[Path, Built], float],
    scratch: Path,
    report: Callable[[str], None],
) -> Trial:
    """Try one precision after the other, the best for the goal first.

    In each the products are ordered by their error on the calibration data, and the number of those left wide is
    doubled until the loss is allowed, then halved towards the least.

    Args:
        goal: Smallest bundle or shortest time.
        limit: Largest loss allowed.
        build: Writes a bundle to an empty directory.
        loss_of: Measures it.
        scratch: Where trials are written, one at a time.
        report: Told of each trial.

    Raises:
        ExportError: Even the widest precision loses more.
    """
    tried: list[Trial] = []

    def attempt(scheme: Scheme, keep: Sequence[str]) -> tuple[Trial, Built]:
        directory = scratch / f"trial{len(tried)}"
        directory.mkdir()
        try:
            built = build(directory, scheme, keep)
            size = sum(entry.bytes for entry in built.manifest.files.values())
            trial = Trial(scheme, tuple(keep), size, loss_of(directory, built))
        finally:
            shutil.rmtree(directory)
        tried.append(trial)
        wide = f", {len(keep)} products wide" if keep else ""
        verdict = "taken" if trial.loss <= limit else "too much"
        report(f"{scheme.name}{wide}: {size / 1e6:.1f} MB, loses {trial.loss:+.4f} of {limit:g}: {verdict}")
        return trial, built

    for name in GOALS[goal]:
        scheme = PRECISIONS[name]
        try:
            trial, built = attempt(scheme, ())
            if trial.loss <= limit:
                return trial
            if scheme.quantized and (found := _fewest(scheme, _rounded(built), limit, attempt)):
                return found
        except ExportError as error:
            report(f"{name}: {error}")
    if not tried:
        raise ExportError(f"none of {', '.join(GOALS[goal])} could be built: export with --precision fp32")
    raise ExportError(
        f"no precision loses at most {limit:g}: the least was {min(trial.loss for trial in tried):.4f}. "
        "Raise --max-loss, or export with --precision fp32"
    )


def _rounded(built: Built) -> dict[str, float]:
    """Errors by module of what was rounded; what the precision left wide of itself need not be asked for."""
    kept = {f"{graph}.{path}" for graph, paths in built.manifest.precision.kept.items() for path in paths}
    return {path: error for path, error in built.errors.items() if path not in kept}


def _fewest(
    scheme: Scheme,
    errors: dict[str, float],
    limit: float,
    attempt: Callable[[Scheme, Sequence[str]], tuple[Trial, Built]],
) -> Trial | None:
    order = [path for path, _ in sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))]
    most = len(order) // 2  # with more than that wide, the next precision is smaller
    failed, count = 0, 1
    best: Trial | None = None
    while count <= most and best is None:
        trial, _ = attempt(scheme, order[:count])
        best = trial if trial.loss <= limit else None
        if best is None:
            failed, count = count, min(count * 2, most) if count < most else most + 1
    if best is None:
        return None
    while count - failed > 1:
        middle = (failed + count) // 2
        trial, _ = attempt(scheme, order[:middle])
        if trial.loss <= limit:
            best, count = trial, middle
        else:
            failed = middle
    return best
