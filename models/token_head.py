"""Which layers' states become token vectors, and what they pass through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import normalize

from smartrt.errors import ExportError

from .adapter import LoadedAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.manifest import Adapter


class TokenHead(nn.Module):
    """Token vectors from the states of chosen layers: normalised, or projected by an adapter and normalised.

    Layer N is what the N-th block returns (``hidden_states[N]`` of transformers); the last one is read after
    the final norm. The pooled vector always comes from the last layer.
    """

    def __init__(self, layers: tuple[int, ...], dim: int, adapter: LoadedAdapter | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.dim = dim
        self.projection = adapter.projection if adapter else None
        self.adapter: Adapter | None = adapter.entry if adapter else None

    @classmethod
    def choose(cls, hidden: int, depth: int, layer: int | None, adapter: str | None) -> TokenHead:
        """The head that ``--layer`` and ``--adapter`` ask for.

        Raises:
            ExportError: The layer does not exist, or both were given: an adapter knows its layers.
        """
        if adapter is not None:
            if layer is not None:
                raise ExportError(f"--layer {layer} and --adapter {adapter}: an adapter names its own layers, give one")
            loaded = LoadedAdapter.load(adapter, hidden, depth)
            return cls(loaded.layers, loaded.dim, loaded)
        chosen = depth if layer is None else layer
        if not 1 <= chosen <= depth:
            raise ExportError(f"--layer {layer}: the backbone has the layers 1 to {depth}")
        return cls((chosen,), hidden)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Token vectors ``[batch, length, dim]`` float32.

        Args:
            states: ``[batch, length, hidden]`` per layer of `layers`, in that order.
        """
        chosen = [state.float() for state in states]
        vectors = chosen[0] if self.projection is None else self.projection(chosen)
        return normalize(vectors, dim=-1)
