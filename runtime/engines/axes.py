"""The axes of each graph's inputs and outputs: what the exporter writes, an engine must show, and a fake one has.

A name is a dynamic axis, a number a fixed one. docs/format.md has the meaning of each tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..manifest import Dims, Images, Manifest

Axes = dict[str, tuple[str | int, ...]]


def axes_of(manifest: Manifest, graph: str) -> Axes:
    """Axes per tensor of the graph named `graph`, those it has alone."""
    entry = manifest.graphs[graph]
    if graph == "encoder":
        known = encoder_axes(manifest.dims)
    else:
        images, table = manifest.images, manifest.token_table
        assert images is not None  # noqa: S101  (Manifest.problems saw to both)
        assert table is not None  # noqa: S101
        known = vision_axes(images, table.dim) if graph == "vision" else decoder_axes(images, table.dim, manifest.dims)
    return {name: known[name] for name in (*entry.inputs, *entry.outputs)}


def encoder_axes(dims: Dims) -> Axes:
    """Every tensor that a text encoder's graph may have."""
    inputs: Axes = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("batch", "length"))
    return inputs | _outputs(dims)


def vision_axes(images: Images, hidden: int) -> Axes:
    """Every tensor that the graph `vision` of these images has."""
    block = ("image", "block")
    patch = (*block, images.merge_size**2)
    axes: Axes = {
        "patches": (*patch, 3 * images.patch_size**2),
        "rotary": (*patch, images.rotary_dim),
        "valid": block,
    }
    if images.position_grid is not None:
        axes |= {"taps": (*patch, 4), "tap_weights": (*patch, 4)}
    axes["tokens"] = (*block, hidden)
    if images.deepstack_layers:
        axes["deepstack"] = (images.deepstack_layers, *block, hidden)
    return axes


def decoder_axes(images: Images, hidden: int, dims: Dims) -> Axes:
    """Every tensor that the graph `decoder` of these images has."""
    axes: Axes = {
        "inputs_embeds": ("batch", "length", hidden),
        "position_ids": (3, "batch", "length"),
        "pooled_index": ("batch",),
        "visual_index": ("batch", "length"),
        "visual": ("row", hidden),
    }
    if images.deepstack_layers:
        axes["deepstack"] = (images.deepstack_layers, "row", hidden)
    return axes | _outputs(dims)


def _outputs(dims: Dims) -> Axes:
    return {"pooled": ("batch", dims.pooled), "token_states": ("batch", "length", dims.token)}
