"""`smartrt bench latency` from a grid to its result; blocks that were measured before are read instead."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt import strict_json
from smartrt.bundle import Bundle
from smartrt.encoder import Encoder
from smartrt.errors import OptionError
from smartrt.files import replace_file

from ..machine import describe
from ..pytorch import check_kind, check_source
from ..sensors import Energy, machine_state
from .blocks import Block
from .summary import INTERVAL, summarise
from .workload import Workload, check_cells

if TYPE_CHECKING:
    from smartrt.export.build import Bar

    from .grid import Grid


def check(grid: Grid) -> None:
    """Refuse a grid that cannot be measured, before anything is.

    Raises:
        BundleError: A bundle is missing or damaged.
        DeviceError: A device does not load.
        MissingDependencyError: An engine, PyTorch or a compiler is not installed.
        OptionError: The bundles came from different checkpoints, or a cell does not suit them.
        ExportError: The checkpoint cannot be found.
    """
    for contender in grid.contenders:
        if contender.kind:
            check_kind(contender.kind, contender.device)
            check_source(str(grid.source), Bundle.open(contender.bundle, verify=False).manifest)
    seen: dict[tuple[str, str, str], Encoder] = {}
    weights: dict[str, str] = {}
    for contender in grid.contenders:
        key = (str(contender.bundle), contender.engine, contender.device if contender.kind is None else "cpu")
        if key not in seen:
            with Encoder.open(contender.bundle, engine=key[1], device=key[2], **contender.options) as encoder:
                check_cells(encoder, grid.cells)
            seen[key] = encoder
        weights.setdefault(seen[key].bundle.manifest.source.weights_sha256, contender.name)
    if len(weights) > 1:
        names = " and ".join(list(weights.values())[:2])
        raise OptionError(f"{names} came from different checkpoints: their outputs cannot be compared")


def measure(grid: Grid, bar: Bar, *, keep: Path | None = None) -> dict[str, Any]:
    """Measure a grid that passed `check`.

    Args:
        grid: What is measured.
        bar: Makes a progress bar.
        keep: Where each block is kept as soon as it is done, and looked for before it is measured.

    Returns:
        JSON-ready: machine, sensors, grid, corpus, and `summary.summarise`.
    """
    with tempfile.TemporaryDirectory(prefix="smartrt-") as scratch, Energy.open() as energy:
        folder = Path(scratch)
        reference = next(each for each in grid.contenders if each.name == grid.reference)
        ours = next((each for each in grid.contenders if each.kind is None), reference)
        with Encoder.open(ours.bundle, engine=ours.engine, verify=False, **ours.options) as encoder:
            with bar("corpus", grid.corpus) as shown:
                workload = Workload.make(encoder, grid.cells, grid.corpus, folder, shown.advance)
            made_by = encoder.bundle.manifest.name
        machine = describe() | {"state": machine_state()}
        blocks = []
        with bar("latency", grid.visits) as shown:
            for start in range(grid.starts):
                for threads in grid.threads:
                    block = _kept(keep, grid, threads, start)
                    if block is None:
                        block = Block(grid, threads, start, folder, energy).run(shown.advance)
                        _keep(keep, grid, threads, start, block)
                    else:
                        shown.advance(grid.visits // (grid.starts * len(grid.threads)))
                    blocks.append(block)
        # Last: a sensor that failed on the way is absent, and no total is made without it.
        sensors = {
            "domains": list(energy.domains), "total": list(energy.total), "absent": dict(energy.absent),
            "notes": list(energy.notes),
        }  # fmt: skip
    corpus = workload.corpus
    return {
        "machine": machine,
        "sensors": sensors,
        "grid": grid.to_json(),
        "interval": INTERVAL,
        "corpus": {
            "documents": len(corpus),
            "tokens": len(corpus.tokens.values),
            "truncated": int((corpus.truncated > 0).sum()),
            "dim": corpus.tokens.dim,
            "encoded_by": made_by,
        },
        "groups": summarise(grid, blocks),
    }


def problems(result: dict[str, Any]) -> list[str]:
    """A sentence for each contender that failed and each row that is wrong."""
    found = []
    for group in result["groups"]:
        threads = f"{group['threads']} threads"
        found += [f"{row['contender']}, {threads}: failed: {row['failed']}" for row in group["cold"] if row["failed"]]
        found += [
            f"{row['contender']}, {cell['cell']}, {threads}: {row['message']}"
            for cell in group["cells"]
            for row in cell["rows"]
            if row["status"] == "wrong"
        ]
    return found


def _path(keep: Path, grid: Grid, threads: int, start: int) -> Path:
    """A block's file. Its name holds a hash of all that a block depends on; a changed grid has other blocks."""
    about = grid.to_json() | {"threads": threads, "starts": 0, "start": start}
    about["bundles"] = [Bundle.open(each.bundle, verify=False).identity for each in grid.contenders]
    machine = describe()
    about |= {key: machine[key] for key in ("smartrt", "python", "cpu", "cores", "libraries")}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return keep / f"latency-{threads}-{start}-{digest[:16]}.json"


def _kept(keep: Path | None, grid: Grid, threads: int, start: int) -> dict[str, Any] | None:
    if keep is None:
        return None
    path = _path(keep, grid, threads, start)
    if not path.exists():
        return None
    block: dict[str, Any] = strict_json.load(path)
    return block


def _keep(keep: Path | None, grid: Grid, threads: int, start: int, block: dict[str, Any]) -> None:
    if keep is not None:
        replace_file(_path(keep, grid, threads, start), json.dumps(block).encode())
