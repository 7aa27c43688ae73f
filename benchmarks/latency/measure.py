"""`smartrt bench latency` from a grid to its result; blocks that were measured before are read instead."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartrt.bundle import Bundle
from smartrt.encoder import Encoder
from smartrt.engines import open_engine
from smartrt.errors import OptionError
from smartrt.export.measure import streamed

from ..accuracy.contenders import Contender as Encoded
from ..accuracy.contenders import EngineOptions
from ..deadline import NEVER
from ..machine import code_sha256, describe
from ..pytorch import check_kind, check_source
from ..scoring.probes import blas_threads
from ..sensors import Energy, machine_state
from .blocks import Block, too_coarse
from .floors import Floors, call_shape
from .summary import INTERVAL, summarise
from .workload import Workload, check_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartrt.evaluation.quality import Encodes
    from smartrt.export.build import Bar
    from smartrt.manifest import Manifest

    from ..accuracy.encoded import EncodedCache
    from ..deadline import Deadline
    from ..kept import Kept
    from ..roofline.gpus import Override
    from ..roofline.work import CallShape
    from .grid import Contender, Grid


def check(grid: Grid) -> None:
    """Refuse a grid that cannot be measured, before anything is.

    Every bundle is opened on its engine and device, every shape tried on its tokenizer and image rules.

    Raises:
        BundleError: A bundle is missing or damaged.
        DeviceError: A device does not load.
        EngineError: This NumPy has no OpenBLAS, whose threads the probes can set.
        MissingDependencyError: An engine, PyTorch or a compiler is not installed.
        OptionError: The bundles came from different checkpoints, or a cell does not suit them.
        ExportError: The checkpoint cannot be found.
    """
    with blas_threads(1):
        pass
    for contender in grid.contenders:
        if contender.kind:
            check_kind(contender.kind, contender.device)
            check_source(str(grid.source), _manifest(contender))
    # PyTorch needs no engine, but somebody has to count tokens: all have one tokenizer.
    opened = [each for each in grid.contenders if each.kind is None] or [replace(grid.contenders[0], device="cpu")]
    for contender in {repr((each.bundle, each.engine, each.device, each.options)): each for each in opened}.values():
        options = contender.engine_options
        with Encoder.open(contender.bundle, engine=contender.engine, device=contender.device, **options) as encoder:
            check_cells(encoder, grid.cells)
            if contender.device != "cpu" and any(cell.pixels for cell in grid.cells):
                # It waits for the first image otherwise: a missing plan would show in the middle of a run.
                _open_vision(contender, encoder.bundle)
    weights: dict[str, str] = {}
    for contender in grid.contenders:
        weights.setdefault(_manifest(contender).source.weights_sha256, contender.name)
    if len(weights) > 1:
        names = " and ".join(list(weights.values())[:2])
        raise OptionError(f"{names} came from different checkpoints: their outputs cannot be compared")


def measure(
    grid: Grid,
    bar: Bar,
    *,
    keep: Kept | None = None,
    cache: EncodedCache | None = None,
    override: Override | None = None,
    deadline: Deadline = NEVER,
) -> dict[str, Any]:
    """Measure a grid that passed `check`.

    Args:
        grid: What is measured.
        bar: Makes a progress bar.
        keep: Where each block is kept as soon as it is done, and looked for before it is measured.
        cache: Of encoded texts, for the corpus.
        override: Bandwidth and peak that floors are made of, instead of the GPU's own.
        deadline: When contenders that are not done fail with that reason; what the others did is summarised.

    Returns:
        JSON-ready: machine, sensors, grid, corpus, and `summary.summarise`, each row of a bundle with its floor.

    Raises:
        SmartrtError: The deadline passed before anything was measured.
    """
    with tempfile.TemporaryDirectory(prefix="smartrt-") as scratch, Energy.open() as energy:
        folder = Path(scratch)
        workload, made_by, shapes = _workload(grid, folder, bar, cache, deadline)
        machine = describe() | {"state": machine_state()}
        with bar("latency", grid.visits) as shown:
            blocks = _blocks(grid, folder, energy, keep, shown.advance, deadline)
        # Last: a sensor that failed on the way is absent, and no total is made without it.
        coarse = {name: why for name in energy.domains if (why := too_coarse(name, grid.visit))}
        sensors = {
            "domains": [name for name in energy.domains if name not in coarse],
            "total": [] if coarse.keys() & set(energy.total) else list(energy.total),
            "absent": dict(energy.absent) | coarse,
            "notes": list(energy.notes),
        }
    corpus, groups = workload.corpus, summarise(grid, blocks)
    floors = Floors(grid, shapes, str(machine["state"]["board"]), override)
    floors.add(groups)
    return {
        "machine": machine | {"roofs": floors.roofs()},
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
        "groups": groups,
    }


def _blocks(
    grid: Grid, folder: Path, energy: Energy, keep: Kept | None, advance: Callable[[int], None], deadline: Deadline
) -> list[dict[str, Any]]:
    """All blocks, those that were kept among them; of each thread count the first alone once the deadline passed."""
    blocks: list[dict[str, Any]] = []
    for start in range(grid.starts):
        for threads in grid.threads:
            about = _about(grid, threads, start)
            block = keep.get(f"latency-{threads}-{start}", about) if keep else None
            if block is not None:
                advance(grid.visits // (grid.starts * len(grid.threads)))
                blocks.append(block | {"kept": True})
                continue
            block = Block(grid, threads, start, folder, energy, deadline).run(advance)
            if not deadline.left and start:
                continue  # cut short: it would fail contenders that an earlier start measured
            if keep and deadline.left:
                keep.put(f"latency-{threads}-{start}", about, block)
            blocks.append(block | {"kept": False})
    return blocks


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


def _open_vision(contender: Contender, bundle: Bundle) -> None:
    """Load the graph that sees, and forget it."""
    if "vision" in bundle.manifest.graphs:
        chosen = {name: value for name, value in contender.engine_options.items() if name != "token_budget"}
        open_engine(bundle, "vision", engine=contender.engine, device=contender.device, **chosen).close()


def _workload(
    grid: Grid, folder: Path, bar: Bar, cache: EncodedCache | None, deadline: Deadline
) -> tuple[Workload, str, dict[str, CallShape]]:
    """The inputs, the name of the first bundle, which encoded the corpus, and the sizes of each cell's call."""
    ours = next((each for each in grid.contenders if each.kind is None), grid.contenders[0])
    bundle = Bundle.open(ours.bundle)
    how = EngineOptions(ours.engine, "cpu" if ours.kind else ours.device, options=ours.engine_options)
    with (
        Encoder.from_bundle(bundle, engine=how.engine, device=how.device, **how.options) as encoder,
        bar("corpus", grid.corpus) as shown,
    ):

        def advance(count: int) -> None:
            shown.advance(count)
            deadline.check()

        encode: Encodes = streamed(encoder, advance)
        identity = Encoded.of_bundle(bundle, how).decides
        if cache is not None and identity is not None:
            encode = functools.partial(cache.encode, identity, encode)
        workload = Workload.make(encoder, encode, grid.cells, grid.corpus, folder)
        shapes = {
            cell.label: call_shape(encoder, cell, items) for cell, items in zip(grid.cells, workload.items, strict=True)
        }
        return workload, bundle.manifest.name, shapes


def _about(grid: Grid, threads: int, start: int) -> dict[str, Any]:
    """All that a block depends on: a changed grid, bundle, machine or program has other blocks.

    How many starts there are in all is not among it: a longer run goes on from a shorter one.
    """
    machine = describe()
    return grid.to_json() | {
        "threads": threads,
        "starts": None,
        "start": start,
        "bundles": [Bundle.open(each.bundle, verify=False).identity for each in grid.contenders],
        "machine": {key: machine[key] for key in ("smartrt", "python", "cpu", "cores", "libraries")},
        "gpus": [gpu["name"] for gpu in machine_state()["gpus"] if isinstance(gpu, dict)],
        "code": code_sha256(),
    }


def _manifest(contender: Contender) -> Manifest:
    return Bundle.open(contender.bundle, verify=False).manifest
