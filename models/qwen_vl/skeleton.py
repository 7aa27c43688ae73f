"""transformers' model without its weights, and the weights of a part of it for as long as that part runs.

Parameters are placeholders: one NaN, expanded to the shape. PyTorch sees ordinary tensors on the CPU, and what is
computed from one by mistake is NaN. Every NaN has a number of its own, so that no two weights look equal to an
exporter that merges equal ones.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from smartrt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..weights import CheckpointWeights

_QUIET_NAN = 0x7FC00000
TABLE = "language_model.embed_tokens.weight"
"""The token embeddings: the one weight of which only rows are ever wanted."""

_LAYERS = ("language_model.layers", "visual.blocks")


def skeleton(config: Any) -> Any:
    """transformers' model for `config` in float32, with placeholders for parameters.

    It has `visual` and `language_model` and no language-model head. Its buffers are real.

    Raises:
        ExportError: A buffer of it is not known: the version of transformers is not one this was written for.
    """
    config = copy.deepcopy(config)  # transformers writes the attention that is asked for into it
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(
            config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
        )
    numbers = itertools.count(1)
    for name, parameter in list(model.named_parameters()):
        put(model, name, _placeholder(next(numbers), tuple(parameter.shape)))
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            put(model, name, rotary(module))
    unknown = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if unknown:
        raise ExportError(f"{type(model).__name__} has the buffer {unknown[0]}, which smartrt does not know")
    return model.eval()


def reshaped(parameter: Tensor, shape: tuple[int, ...]) -> nn.Parameter:
    """A placeholder of another shape for the same weight."""
    return nn.Parameter(parameter.detach().as_strided(shape, [0] * len(shape)), requires_grad=False)


def is_placeholder(parameter: Tensor) -> bool:
    """Whether `parameter` stands for a weight that is not loaded."""
    return not any(parameter.stride()) and bool(parameter.detach().as_strided((1,), (0,)).isnan())


@contextlib.contextmanager
def loaded(module: nn.Module, read: Callable[[str], Tensor], prefix: str) -> Iterator[None]:
    """Have the weights of `module` in memory inside the block.

    Args:
        module: Its placeholders are replaced, and put back at the end.
        read: Gives a weight by its path, which is `prefix` and the name inside `module`.
        prefix: Where `module` stands, with a dot behind it.
    """
    kept = {name: parameter for name, parameter in module.named_parameters() if is_placeholder(parameter)}
    try:
        for name in kept:
            put(module, name, nn.Parameter(read(prefix + name), requires_grad=False))
        yield
    finally:
        for name, parameter in kept.items():
            put(module, name, parameter)


def stream(model: Any, weights: CheckpointWeights) -> None:
    """Let each layer of a skeleton, and each module outside of the layers, load its weights just for its own call."""
    model.set_input_embeddings(_TokenRows(weights))
    layers = [f"{name}.{i}" for name in _LAYERS for i in range(len(model.get_submodule(name)))]
    inside = tuple(f"{name}." for name in _LAYERS)
    others = [
        name
        for name, module in model.named_modules()
        if list(module.parameters(recurse=False)) and not name.startswith(inside)
    ]
    for name in (*layers, *others):
        _load_when_called(model.get_submodule(name), weights.read, f"{name}.")


class _TokenRows(nn.Module):
    """The token embeddings as a module that reads the rows it is asked for."""

    def __init__(self, weights: CheckpointWeights) -> None:
        super().__init__()
        self._weights = weights

    def forward(self, ids: Tensor) -> Tensor:
        """``[batch, length]`` -> ``[batch, length, hidden]`` float32."""
        return self._weights.rows(TABLE, ids)


def _load_when_called(module: nn.Module, read: Callable[[str], Tensor], prefix: str) -> None:
    stack = contextlib.ExitStack()

    def before(*_: Any) -> None:
        stack.enter_context(loaded(module, read, prefix))

    def after(*_: Any) -> None:
        stack.close()

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after, always_call=True)  # a call that fails leaves no weights behind either


def _placeholder(number: int, shape: tuple[int, ...]) -> nn.Parameter:
    value = torch.tensor([_QUIET_NAN | number], dtype=torch.int32).view(torch.float32)
    return nn.Parameter(value.expand(shape), requires_grad=False)


def rotary(module: nn.Module) -> nn.Module:
    """A rotary embedding again, with numbers: they follow from the configuration and are in no checkpoint."""
    kind: Any = type(module)
    made: nn.Module = kind(config=module.config) if hasattr(module, "config") else kind(2 * len(module.inv_freq))  # type: ignore[arg-type]
    return made


def put(root: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    """Set a parameter or module of `root` by its path."""
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, value)
