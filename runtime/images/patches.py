"""RGB to patches, in the order the vision towers of Qwen-VL take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Patches:
    """One image, cut.

    Attributes:
        values: ``[blocks, merge * merge, 3 * patch * patch]`` uint8. A block is what the tower merges into
            one visual token. transformers' `pixel_values` are the same rows as float32, normalised and with
            every channel written twice (two frames); the graph's first weight has both folded in.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
    """

    values: NDArray[np.uint8]
    rows: int
    columns: int

    @property
    def blocks(self) -> int:
        """Visual tokens."""
        return len(self.values)


def cut(image: Any, patch: int, merge: int) -> Patches:
    """Cut a PIL RGB image whose sides are multiples of ``patch * merge``.

    Blocks go row by row, the patches of a block row by row, a patch channel by channel
    (`Qwen2VLImageProcessor._preprocess` of transformers 4.57).
    """
    pixels = np.asarray(image)
    rows, columns = pixels.shape[0] // patch, pixels.shape[1] // patch
    split = pixels.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
    values = split.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, merge * merge, 3 * patch * patch)
    return Patches(np.ascontiguousarray(values), rows, columns)
