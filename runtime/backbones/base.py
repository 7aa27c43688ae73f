"""What an encoder needs of a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..engines.axes import axes_of
from ..errors import CorruptBundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..engines import Engine
    from ..items import ParsedItem
    from ..manifest import QueryMask, Side
    from ..prepared import Prepared


class Backbone(Protocol):
    """Turns checked items into vectors."""

    @property
    def max_length(self) -> int:
        """Tokens per item, template included, past which it is cut."""

    def padded_length(self, length: int) -> int:
        """What an item of `length` tokens takes in a batch: more, where the engine runs in buckets."""

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
