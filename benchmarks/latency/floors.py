"""The floor of each row of a bundle (`roofline`), and how far above it the row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt.bundle import Bundle
from smartrt.errors import SmartrtError
from smartrt.items import parse_item

from ..roofline.floor import Floor, floor_of
from ..roofline.gpus import Override, Roof, find_roof, gpu_name
from ..roofline.work import CallShape, Work, work_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from smartrt.encoder import Encoder

    from .grid import Cell, Contender, Grid


def call_shape(encoder: Encoder, cell: Cell, items: Sequence[Any]) -> CallShape:
    """The sizes of a cell's call. Its items are all of one size."""
    manifest = encoder.bundle.manifest
    item = parse_item(items[0], cell.label, manifest.modalities, allow_empty=False)
    (prepared,) = encoder.backbone.prepare([item], cell.side, "bundle")
    blocks = max((image.blocks for image in prepared.images), default=0)
    return CallShape(len(items), len(prepared.ids), len(items) * len(prepared.images), blocks)


@dataclass
class Floors:
    """Finds floors; what a bundle does in a cell is counted once.

    Attributes:
        grid: What was measured.
        shapes: Of each cell, by its label.
        board: Model of the board, if it is a Jetson.
        override: Figures of the command line.
        name_of: The name of a CUDA device.
    """

    grid: Grid
    shapes: Mapping[str, CallShape]
    board: str = ""
    override: Override | None = None
    name_of: Callable[[str], str] = gpu_name

    def __post_init__(self) -> None:
        self._works: dict[tuple[Path, str], Work | str] = {}
        self._roofs: dict[str, Roof | str] = {}

    def roofs(self) -> dict[str, Any]:
        """By device of a bundle, its figures or why they are not known; JSON-ready."""
        devices = dict.fromkeys(each.device for each in self.grid.contenders if each.kind is None)
        found = {device: self._roof(device) for device in devices}
        return {
            device: roof.to_json() if isinstance(roof, Roof) else f"not known: {roof}" for device, roof in found.items()
        }

    def add(self, groups: Sequence[dict[str, Any]]) -> None:
        """Give each good row of a bundle its ``floor``: milliseconds and the measured ones over them, or the reason."""
        contenders = {each.name: each for each in self.grid.contenders}
        for group in groups:
            for cell in group["cells"]:
                for row in cell["rows"]:
                    contender = contenders[row["contender"]]
                    if contender.kind is None and row["status"] == "ok":
                        row["floor"] = _entry(self._floor(contender, cell["cell"]), row["encode_ms"])

    def _roof(self, device: str) -> Roof | str:
        if device not in self._roofs:
            self._roofs[device] = find_roof(device, self.board, self.override, self.name_of)
        return self._roofs[device]

    def _floor(self, contender: Contender, label: str) -> Floor | str:
        roof = self._roof(contender.device)
        if not isinstance(roof, Roof):
            return roof
        place = contender.bundle, label
        if place not in self._works:
            self._works[place] = _counted(contender.bundle, self.shapes[label])
        work = self._works[place]
        return work if isinstance(work, str) else floor_of(work, roof, tf32=bool(contender.options.get("tf32")))


def _counted(path: Path, shape: CallShape) -> Work | str:
    try:
        return work_of(Bundle.open(path, verify=False), shape)
    except SmartrtError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (what was measured must not be lost with it)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _entry(floor: Floor | str, measured: float) -> dict[str, Any] | str:
    if isinstance(floor, str):
        return f"not known: {floor}"
    parts = {"ms": floor.ms, "read_ms": floor.read_ms, "multiply_ms": floor.multiply_ms, "ratio": measured / floor.ms}
    return {name: float(np.format_float_positional(value, 4, fractional=False)) for name, value in parts.items()}
