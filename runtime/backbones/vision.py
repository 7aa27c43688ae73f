"""The graph `vision` of a Qwen-VL: images in, rows for the decoder out.

It is loaded with the first image: a query of text never touches it. Where all images fit one call, its output goes to
the decoder as it is, on whichever device it lies; the decoder looks rows up by number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..batching import plan_batches
from ..engines import run_checked
from ..engines.base import run_resident
from ..engines.buckets import PATCH_BUDGET, rounded
from .positions import position_taps, rotary_angles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ..engines import Engine
    from ..engines.base import Tensor
    from ..images.patches import Patches
    from ..manifest import Images


@dataclass(frozen=True)
class Seen:
    """The rows of some images.

    Attributes:
        feeds: What the decoder takes, float32, on the engine's device or here: ``visual [row, hidden]`` and, with
            DeepStack, ``deepstack [layers, row, hidden]``.
        first: Each image's first row.
    """

    feeds: Mapping[str, Tensor]
    first: tuple[int, ...]


class Vision:
    """The graph `vision` on an engine that is opened when it is needed."""

    def __init__(self, images: Images, hidden: int, open_engine: Callable[[], Engine]) -> None:
        self._images = images
        self._hidden = hidden
        self._open = open_engine
        self.engine: Engine | None = None

    def see(self, images: Sequence[Patches]) -> Seen:
        """The rows of `images`, each image's side by side; one row of zeros where there are none."""
        if not images:
            return Seen(self._nothing(), ())
        if self.engine is None:
            self.engine = self._open()
        group = self._images.merge_size**2
        widths = [rounded(self.engine, "block", image.blocks) for image in images]
        batches = plan_batches([width * group for width in widths], PATCH_BUDGET)
        if len(batches) == 1:
            outputs = run_resident(self.engine, self._feeds(images))
            width = outputs["tokens"].shape[1]
            return Seen(self._flat(outputs), tuple(width * number for number in range(len(images))))
        return self._in_parts(images, batches, self.engine)

    def close(self) -> None:
        """Give back the engine's memory."""
        if self.engine is not None:
            self.engine.close()

    def _in_parts(self, images: Sequence[Patches], batches: Sequence[NDArray[np.int64]], engine: Engine) -> Seen:
        """Several calls; their rows one after another, as if all were one image."""
        found: list[dict[str, NDArray[Any]]] = [{}] * len(images)
        for batch in batches:
            outputs = run_checked(engine, self._feeds([images[i] for i in batch]))
            for row, i in enumerate(batch):
                found[i] = {name: array[..., row, : images[i].blocks, :] for name, array in outputs.items()}
        ends = np.cumsum([image.blocks for image in images])
        joined = {name: np.concatenate([rows[name] for rows in found], axis=-2) for name in found[0]}
        return Seen(self._flat(joined), (0, *map(int, ends[:-1])))

    def _flat(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by the decoder's names, images and blocks on one axis: the memory is the same."""
        feeds = {"visual": outputs["tokens"].reshape((-1, self._hidden))}
        if "deepstack" in outputs:
            feeds["deepstack"] = outputs["deepstack"].reshape((self._images.deepstack_layers, -1, self._hidden))
        return feeds

    def _nothing(self) -> dict[str, Tensor]:
        feeds: dict[str, Tensor] = {"visual": np.zeros((1, self._hidden), np.float32)}
        if layers := self._images.deepstack_layers:
            feeds["deepstack"] = np.zeros((layers, 1, self._hidden), np.float32)
        return feeds

    def _feeds(self, images: Sequence[Patches]) -> dict[str, NDArray[Any]]:
        """One call for images of several sizes, padded to the largest."""
        feeds: dict[str, list[NDArray[Any]]] = {}
        width = max(image.blocks for image in images)
        for image in images:
            for name, array in self._feeds_of(image).items():
                padding = [(0, width - image.blocks)] + [(0, 0)] * (array.ndim - 1)
                feeds.setdefault(name, []).append(np.pad(array, padding))
        return {name: np.stack(arrays) for name, arrays in feeds.items()}

    def _feeds_of(self, image: Patches) -> dict[str, NDArray[Any]]:
        entry = self._images
        place = image.rows, image.columns, entry.merge_size
        feeds: dict[str, NDArray[Any]] = {
            "patches": image.values,
            "rotary": rotary_angles(*place, entry.rotary_dim, entry.rotary_theta),
            "valid": np.ones(image.blocks, np.int64),
        }
        if entry.position_grid is not None:
            feeds["taps"], feeds["tap_weights"] = position_taps(*place, entry.position_grid)
        return feeds
