"""What tokenising makes of an item, and what a backbone runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .images.patches import Patches


@dataclass(frozen=True, eq=False)
class Prepared:
    """One item as ids and patches, ready to be batched.

    Attributes:
        ids: ``[length]`` int64, special tokens of the template included.
        keep: ``[length]`` bool, the tokens that take part in late interaction.
        truncated: How many tokens did not fit `max_length`.
        pooled_at: The token whose state is the pooled vector; unused where the graph pools by itself.
        images: Cut into patches.
        image_starts: Where the visual tokens of each image begin.
    """

    ids: NDArray[np.int64]
    keep: NDArray[np.bool_]
    truncated: int
    pooled_at: int = -1
    images: tuple[Patches, ...] = ()
    image_starts: tuple[int, ...] = ()

    @property
    def pixel_bytes(self) -> int:
        """Memory that the images hold."""
        return sum(image.values.nbytes for image in self.images)

    def key(self) -> tuple[object, ...]:
        """Equal for items that give equal results."""
        images = tuple((image.rows, hashlib.sha256(image.values.data).digest()) for image in self.images)
        return self.ids.tobytes(), self.keep.tobytes(), self.truncated, self.pooled_at, self.image_starts, images
