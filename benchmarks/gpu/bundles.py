"""Whether the bundle that lies under a name is the one that the plan means: it may be an earlier run's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartrt.bundle import Bundle
from smartrt.errors import SmartrtError

if TYPE_CHECKING:
    from pathlib import Path

    from .plan import Exported


def problem_of(path: Path, wanted: Exported) -> str | None:
    """Why a bundle cannot be used; None if it can.

    Args:
        path: Where it should lie.
        wanted: What it was exported with.
    """
    if not path.exists():
        return f"there is no bundle {path.name}"
    try:
        manifest = Bundle.open(path, verify=False).manifest
    except SmartrtError as error:
        return str(error)
    precision = manifest.precision
    found = {"precision": precision.name, "compute": precision.compute, "dialect": manifest.dialect}
    other = [f"{name} {found[name]}, not {value}" for name, value in wanted.asked.items() if found[name] != value]
    return f"{path} has {' and '.join(other)}: remove it, and run the part export again" if other else None
