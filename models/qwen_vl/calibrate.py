"""Statistics of a Qwen-VL's activations, with one layer's weights in memory at a time.

The traced modules run layer by layer over all items; between layers only the states of the items are kept. Items run
one by one, so that no padding is counted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smartrt.backbones.positions import position_taps, rotary_angles

from ..statistics import InputStatistics
from .linear import TransposedLinear
from .skeleton import loaded
from .traced import traced_decoder, traced_vision

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from smartrt.manifest import Side

    from .linear import TracedPart
    from .reference import QwenVLReference, RenderedItem

    Found = Iterator[tuple[str, str, InputStatistics]]
    Passing = Generator[tuple[str, str, InputStatistics], None, list[Tensor | None]]

_THETA = 10000.0  # as in the code of the vision towers; no configuration names it


@dataclass(eq=False)
class _Moving:
    """One picture or item on its way through the layers: its states, and what every layer needs beside them."""

    states: Tensor
    turn: tuple[Tensor, Tensor]
    bias: Tensor


@torch.no_grad()
def calibrate(reference: QwenVLReference, items: Sequence[tuple[Side, Any]], *, moments: bool) -> Found:
    """Yield the statistics of each linear layer's inputs, in the order the layers run.

    Args:
        reference: Which model.
        items: Side and item, as `QwenVLReference.trace` takes them.
        moments: Whether second moments are needed; they take most of the time, and ``[in, in]`` float32 a layer.

    Yields:
        The graph (``vision``, ``decoder``), the path of the layer (its weight is the initializer ``PATH.weight``) and
        its statistics, which layers of the same input share. Layers that no item reaches are left out; so is an
        adapter.
    """
    rendered = [reference.render(item, side) for side, item in items]
    seen = yield from _see(reference, rendered, moments=moments)
    yield from _decode(reference, rendered, seen, moments=moments)


class _Watch:
    """What passes into the linear layers of some modules of a traced part."""

    def __init__(self, *, moments: bool) -> None:
        self._moments = moments
        self._last: tuple[Tensor, str] | None = None
        self._found: dict[str, InputStatistics] = {}
        self._sharing: dict[str, dict[str, None]] = {}  # ordered: per owner of statistics, itself and the others

    @contextlib.contextmanager
    def over(self, part: TracedPart, *paths: str) -> Iterator[None]:
        """Have the weights at `paths` in memory inside the block, and watch their linear layers."""
        with contextlib.ExitStack() as stack:
            for path in paths:
                module = part.module.get_submodule(path)
                stack.enter_context(loaded(module, part.read, f"{path}."))
                for name, child in module.named_modules():
                    if isinstance(child, TransposedLinear):
                        handle = child.register_forward_pre_hook(self._hook(f"{path}.{name}".removesuffix(".")))
                        stack.callback(handle.remove)
            yield
        self._last = None

    def take(self, graph: str) -> Found:
        """What was found, each of it let go as soon as its last layer has had it."""
        sharing, self._sharing = self._sharing, {}
        for owner, paths in sharing.items():
            statistics = self._found.pop(owner)
            for path in paths:
                yield graph, path, statistics

    def _hook(self, path: str) -> Any:
        def add(_: Any, inputs: tuple[Tensor, ...]) -> None:
            (states,) = inputs
            if self._last is not None and self._last[0] is states:  # query, key and value; gate and up
                self._sharing[self._last[1]][path] = None
                return
            self._last = states, path
            self._sharing.setdefault(path, {})[path] = None
            known = self._found.get(path)
            self._found[path] = (
                InputStatistics.of(states, moments=self._moments) if known is None else known.with_item(states)
            )

        return add


def _see(reference: QwenVLReference, rendered: Sequence[RenderedItem], *, moments: bool) -> Passing:
    """The vision tower over all pictures.

    Returns:
        Per item None, or the rows of its pictures: ``[1 + DeepStack layers, block, hidden]``, the last layer's first.
    """
    pictures = [_pictures(reference, item) for item in rendered]
    part, watch = traced_vision(reference), _Watch(moments=moments)
    tower = part.module
    with watch.over(part, "patch_embed.proj", *(["pos_embed"] if tower.pos_embed is not None else [])):
        moving = [_enter(tower, picture) for several in pictures for picture in several]
    yield from watch.take("vision")
    rows: list[list[Tensor]] = []

    def merge(path: str) -> None:
        with watch.over(part, path):
            rows.append([part.module.get_submodule(path)(picture.states) for picture in moving])

    for number, block in enumerate(tower.blocks):
        with watch.over(part, f"blocks.{number}"):
            for picture in moving:
                picture.states = tower.step(block, picture.states, picture.turn, picture.bias)
        yield from watch.take("vision")
        if number in tower.deepstack_at:
            merge(f"deepstack_merger_list.{tower.deepstack_at.index(number)}")
            yield from watch.take("vision")
    merge("merger")
    yield from watch.take("vision")
    stacked = iter([torch.stack(levels) for levels in zip(rows[-1], *rows[:-1], strict=True)])
    return [torch.cat([next(stacked) for _ in several], dim=1) if several else None for several in pictures]


def _enter(tower: Any, picture: dict[str, Tensor]) -> _Moving:
    states = tower.embed(picture["patches"], picture.get("taps"), picture.get("tap_weights"))
    return _Moving(states, *tower.places(picture["rotary"], picture["valid"], states.dtype))


def _decode(
    reference: QwenVLReference, rendered: Sequence[RenderedItem], seen: Sequence[Tensor | None], *, moments: bool
) -> Found:
    """The decoder over all items, each alone."""
    part, watch = traced_decoder(reference), _Watch(moments=moments)
    decoder = part.module
    moving = []
    for item, visual in zip(rendered, seen, strict=True):
        states = reference.embed(item.ids, None if visual is None else visual[0])
        moving.append(_Moving(states, *decoder.places(item.positions, states.dtype)))
    for number, layer in enumerate(decoder.layers):
        with watch.over(part, f"layers.{number}"):
            for one, item, visual in zip(moving, rendered, seen, strict=True):
                one.states = decoder.step(layer, one.states, one.turn, one.bias)
                if visual is not None and number < decoder.deepstack_layers:
                    places = (reference.is_visual(item.ids),)
                    one.states = one.states.index_put(places, visual[1 + number], accumulate=True)
        yield from watch.take("decoder")


def _pictures(reference: QwenVLReference, item: RenderedItem) -> list[dict[str, Tensor]]:
    """What the vision tower takes, for each picture of an item."""
    if item.pixel_values is None or item.grids is None:
        return []
    pixels, visual = reference.backbone.pixels, reference.backbone.model.visual
    group, area = pixels.merge_size**2, pixels.patch_size**2
    mean, std = (torch.tensor(numbers, dtype=torch.float64).reshape(3, 1) for numbers in (pixels.mean, pixels.std))
    values = item.pixel_values.reshape(-1, 3, pixels.temporal_patch_size, area)[:, :, 0]  # all frames are the same
    patches = ((values.double() * std + mean) * 255).round().to(torch.uint8).reshape(-1, group, 3 * area)
    counts = (item.grids.prod(dim=1) // group).tolist()
    found = []
    for part, (_, rows, columns) in zip(torch.split(patches, counts), item.grids.tolist(), strict=True):
        place = rows, columns, pixels.merge_size
        arrays: dict[str, Any] = {"rotary": rotary_angles(*place, 2 * len(visual.rotary_pos_emb.inv_freq), _THETA)}
        arrays["valid"] = np.ones(len(part), np.int64)
        if hasattr(visual, "pos_embed"):
            arrays["taps"], arrays["tap_weights"] = position_taps(*place, visual.num_grid_per_side)
        tensors = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
        found.append(tensors | {"patches": part[None]})
    return found
