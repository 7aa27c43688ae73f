"""The axes that a manifest promises of each graph's inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..manifest import Manifest

Axes = dict[str, tuple[str | int, ...]]


def axes_of(manifest: Manifest, graph: str) -> Axes:
    """Axes per tensor of `graph`; a name is a dynamic axis, a number a fixed one. docs/format.md has the meaning."""
    entry = manifest.graphs[graph]
    known = {"encoder": _encoder, "vision": _vision, "decoder": _decoder}[graph](manifest)
    return {name: known[name] for name in (*entry.inputs, *entry.outputs)}


def _encoder(manifest: Manifest) -> Axes:
    inputs: Axes = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("batch", "length"))
    return inputs | _outputs(manifest)


def _vision(manifest: Manifest) -> Axes:
    images, table = manifest.images, manifest.token_table
    assert images is not None  # noqa: S101  (Manifest.problems saw to both)
    assert table is not None  # noqa: S101
    block = ("image", "block")
    patch = (*block, images.merge_size**2)
    return {
        "patches": (*patch, 3 * images.patch_size**2),
        "rotary": (*patch, images.rotary_dim),
        "valid": block,
        "taps": (*patch, 4),
        "tap_weights": (*patch, 4),
        "tokens": (*block, table.dim),
        "deepstack": (images.deepstack_layers, *block, table.dim),
    }


def _decoder(manifest: Manifest) -> Axes:
    images, table = manifest.images, manifest.token_table
    assert images is not None  # noqa: S101  (Manifest.problems saw to both)
    assert table is not None  # noqa: S101
    inputs: Axes = {
        "inputs_embeds": ("batch", "length", table.dim),
        "position_ids": (3, "batch", "length"),
        "pooled_index": ("batch",),
        "deepstack": (images.deepstack_layers, "row", table.dim),
        "deepstack_index": ("batch", "length"),
    }
    return inputs | _outputs(manifest)


def _outputs(manifest: Manifest) -> Axes:
    return {
        "pooled": ("batch", manifest.dims.pooled),
        "token_states": ("batch", "length", manifest.dims.token),
    }
