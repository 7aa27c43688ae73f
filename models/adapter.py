"""SMART's trained token adapter: `adapter.pt` -> a module.

The file's keys and the arithmetic follow the reference code of SMART (arXiv 2605.24938;
`LayerWeightedTokenProjectionModule`): a LayerNorm and one linear layer, or a LayerNorm and two with a GELU
between, over the states of one layer or over a per-token softmax mixture of several.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from smartrt.bundle import sha256_of
from smartrt.errors import ExportError
from smartrt.manifest import Adapter

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINEAR = ("token_projection", "residual", "linear", "mlp")
_RMS_EPSILON = 1e-6


class Projection(nn.Module):
    """Mixes the states of the layers it was trained on, and projects them."""

    def __init__(self, proj: nn.Sequential, layer_weights: Tensor | None) -> None:
        super().__init__()
        self.proj = proj
        self.layer_weight_vectors = None if layer_weights is None else nn.Parameter(layer_weights, requires_grad=False)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """``[batch, length, hidden]`` per layer -> ``[batch, length, dim]``."""
        if self.layer_weight_vectors is None:
            return cast("Tensor", self.proj(layers[-1]))
        states = torch.stack(list(layers), dim=2)
        query = _rms(self.layer_weight_vectors[0])
        scores = (_rms(states) * query).sum(-1) * states.shape[-1] ** -0.5
        mixed = (scores.softmax(dim=2).unsqueeze(-1) * states).sum(2)
        return cast("Tensor", self.proj(mixed))


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter, the layers it reads (1 is the first), and what the manifest says of it."""

    projection: Projection
    layers: tuple[int, ...]
    dim: int
    entry: Adapter

    @classmethod
    def load(cls, path: str, hidden_size: int, depth: int) -> LoadedAdapter:
        """Load `path` for a backbone of `depth` layers.

        Raises:
            ExportError: It is no adapter, of a kind smartrt does not run, or made for another backbone.
        """
        file = Path(path)
        data = _read(file)
        state, kind = data["token_projection_module"], _kind(file, data)
        if data.get("hidden_size") not in (None, hidden_size):
            raise ExportError(f"{file} was trained on {data['hidden_size']} dims, the backbone has {hidden_size}")
        projection = _build(file, state, kind, hidden_size)
        layers = _layers(file, data, depth)
        if (projection.layer_weight_vectors is None) != (len(layers) == 1):
            has = "has no" if len(layers) > 1 else "has"
            raise ExportError(f"{file} names the layers {list(layers)} and {has} weights to mix them")
        dim = cast("nn.Linear", projection.proj[-1]).out_features
        return cls(projection.eval().float(), layers, dim, Adapter(kind, sha256_of(file)))


def _rms(states: Tensor) -> Tensor:
    return states / torch.sqrt(states.pow(2).mean(-1, keepdim=True) + _RMS_EPSILON)


def _read(file: Path) -> dict[str, Any]:
    try:
        data = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ExportError(f"there is no adapter {str(file)!r}") from None
    except Exception as error:  # noqa: BLE001  (torch.load raises a dozen kinds for what it will not read)
        reason = " ".join(str(error).split())[:160]
        raise ExportError(f"{file} is no adapter that can be read without running its code: {reason}") from None
    if not isinstance(data, dict) or not isinstance(data.get("token_projection_module"), dict):
        raise ExportError(f"{file} holds no token_projection_module: it is no SMART adapter")
    return data


def _kind(file: Path, data: dict[str, Any]) -> Literal["linear", "mlp"]:
    usual = {"adapter_type": "token_projection", "projection_type": "linear"}
    named, projection = (str(data.get(key, default)).lower().strip() for key, default in usual.items())
    if named not in _LINEAR:
        raise ExportError(f"{file} is a {named!r} adapter; smartrt runs linear and MLP projections")
    return "mlp" if "mlp" in (named, projection) else "linear"


def _build(file: Path, state: dict[str, Tensor], kind: str, hidden: int) -> Projection:
    """A module of the shapes that the file's weights have."""
    places = ("proj.1.weight",) if kind == "linear" else ("proj.1.weight", "proj.4.weight")
    expected = {"proj.0.weight", "proj.0.bias", *places}
    if set(state) - {"layer_weight_vectors"} != expected:
        raise ExportError(f"{file} has the weights {sorted(map(str, state))}; a {kind} adapter has {sorted(expected)}")
    for name, size in _shapes(state, places, hidden).items():
        found = _shape(state[name])
        if found != size or 0 in size:
            raise ExportError(f"{file} does not fit a backbone of {hidden} dims: {name} is {found}, expected {size}")
    layers: list[nn.Module] = [nn.LayerNorm(hidden)]
    layers += [nn.Linear(state[place].shape[1], state[place].shape[0], bias=False) for place in places]
    if kind == "mlp":
        layers[2:2] = [nn.GELU(), nn.Dropout(0.0)]
    projection = Projection(nn.Sequential(*layers), state.get("layer_weight_vectors"))
    projection.load_state_dict(state, strict=True)
    return projection


def _shapes(state: dict[str, Tensor], places: tuple[str, ...], hidden: int) -> dict[str, tuple[int, ...]]:
    """The shape each weight must have, its own number of rows being free."""
    shapes: dict[str, tuple[int, ...]] = {"proj.0.weight": (hidden,), "proj.0.bias": (hidden,)}
    width = hidden
    for place in places:
        rows = _rows(state[place])
        shapes[place] = (rows, width)
        width = rows
    return shapes | ({"layer_weight_vectors": (1, hidden)} if "layer_weight_vectors" in state else {})


def _shape(weight: object) -> tuple[int, ...] | str:
    """The shape of an ordinary tensor of numbers; what else it is instead."""
    if not isinstance(weight, Tensor):
        return type(weight).__name__
    plain = weight.layout == torch.strided and weight.is_floating_point() and not weight.is_meta
    return tuple(weight.shape) if plain else f"{weight.layout} of {weight.dtype} on {weight.device}"


def _rows(weight: object) -> int:
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.ndim else 0


def _layers(file: Path, data: dict[str, Any], depth: int) -> tuple[int, ...]:
    """The reference counts decoder blocks from 0, or from the end if negative; here the first layer is 1."""
    selected, count = data.get("selected_layers"), data.get("use_last_n_layers", 1)
    if selected is None:
        chosen = list(range(depth - count, depth)) if isinstance(count, int) else []
    else:
        chosen = list(selected) if isinstance(selected, list | tuple) else []
    blocks = [layer + depth if isinstance(layer, int) and layer < 0 else layer for layer in chosen]
    known = all(isinstance(block, int) and 0 <= block < depth for block in blocks)
    if not blocks or not known or len(set(blocks)) != len(blocks):
        asked = f"the last {count!r}" if selected is None else repr(selected)
        raise ExportError(f"{file} reads the layers {asked:.80}; the backbone has {depth}, each at most once")
    return tuple(block + 1 for block in blocks)
