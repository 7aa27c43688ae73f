"""What an encoder needs of a backbone, and what passes between the two."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..engines.axes import axes_of
from ..errors import CorruptBundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..engines import Engine
    from ..images.patches import Patches
    from ..items import ParsedItem
    from ..manifest import QueryMask, Side


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


class Backbone(Protocol):
    """Turns checked items into vectors."""

    @property
    def max_length(self) -> int:
        """Tokens per item, template included, past which it is cut."""

    def prepare(self, items: Sequence[ParsedItem], side: Side, query_mask: QueryMask) -> Iterator[Prepared]:
        """Tokenise and decode, one item after another, in order."""

    def run(self, batch: Sequence[Prepared]) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """One forward pass: ``pooled [n, H]`` and per item its ``[length, D]`` token states."""

    def describe(self, item: Prepared) -> list[str]:
        """What each kept token is, for people."""

    def close(self) -> None:
        """Give back the engines' memory."""


def check_interface(bundle: Bundle, graph: str, engine: Engine) -> None:
    """Compare the axes of a loaded graph with what the manifest makes us expect.

    Raises:
        CorruptBundleError: They differ.
    """
    expected = axes_of(bundle.manifest, graph)
    found = {spec.name: spec.axes for spec in (*engine.inputs, *engine.outputs)}
    if found != expected:
        raise CorruptBundleError(
            f"{bundle.path}: graph {graph} has {found}, the manifest says {expected}; export it again"
        )
