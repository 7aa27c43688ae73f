"""Linear layers as they are traced: the weight stands as the graph multiplies it, ``[in, out]``.

A layer is then one MatMul with the weight itself behind it and an Add for the bias, so that whoever quantises the
graph finds the weight by the layer's name, and nobody transposes it again at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..weights import float_copy
from .skeleton import is_placeholder, reshaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..weights import CheckpointWeights


class TransposedLinear(nn.Module):
    """``x @ weight + bias`` with `weight` ``[in, out]``."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., out]``."""
        product = states @ self.weight
        return product if self.bias is None else product + self.bias

    def from_stored(self, values: Tensor) -> Tensor:
        """The weight of a checkpoint, ``[out, in]``, as this layer has it."""
        return float_copy(values.T)


def transpose_linears(module: nn.Module) -> None:
    """Replace every `nn.Linear` inside `module`, placeholders by placeholders."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, _transposed(child))


def _transposed(linear: nn.Linear) -> TransposedLinear:
    if is_placeholder(linear.weight):
        weight = reshaped(linear.weight, (linear.in_features, linear.out_features))
    else:
        weight = nn.Parameter(linear.weight.detach().T.contiguous(), requires_grad=False)
    return TransposedLinear(weight, linear.bias)


class TracedPart:
    """A module that becomes a graph, and where its weights come from.

    Attributes:
        module: Its parameters are placeholders, but for those that are in no checkpoint (an adapter's).
    """

    def __init__(self, module: nn.Module, weights: CheckpointWeights, prefix: str) -> None:
        """The weight ``PATH`` of `module` is the one that `weights` calls `prefix` and ``PATH``."""
        self.module: Any = module.eval()
        self._weights = weights
        self._prefix = prefix

    def read(self, path: str) -> Tensor:
        """The values of a parameter, float32, in the shape that it has in `module`."""
        parent, _, leaf = path.rpartition(".")
        owner = self.module.get_submodule(parent)
        values = self._weights.read(self._prefix + path)
        return owner.from_stored(values) if isinstance(owner, TransposedLinear) and leaf == "weight" else values

    def lazy(self) -> dict[str, tuple[tuple[int, ...], Callable[[], Tensor]]]:
        """Shape, and what reads the values, of every parameter that is a placeholder, by its path."""

        def reader(path: str) -> Callable[[], Tensor]:
            return lambda: self.read(path)

        return {
            path: (tuple(parameter.shape), reader(path))
            for path, parameter in self.module.named_parameters()
            if is_placeholder(parameter)
        }
