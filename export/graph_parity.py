"""Each graph of a Qwen-VL bundle by itself, fed with what the reference computed before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartrt.engines import run_checked
from smartrt.errors import ParityError
from smartrt.images.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from smartrt.backbones.qwen_vl import QwenVLBackbone
    from smartrt.manifest import Images, Side
    from smartrt.models.qwen_vl.reference import Trace


def check_graphs(
    backbone: QwenVLBackbone, images: Images, traces: Sequence[tuple[Side, Any, Trace]]
) -> dict[str, float]:
    """Largest difference per graph, relative to the largest value of the output.

    Raises:
        ParityError: The images that the runtime cuts are not the reference's.
    """
    worst = {"vision": 0.0, "decoder": 0.0}
    for _, item, trace in traces:
        if trace.visual is not None:
            patches = patches_of(trace, images)
            rows = _rows(backbone, patches)
            worst["vision"] = max(worst["vision"], _relative(trace.visual, rows["visual"]))
            if trace.deepstack is not None:
                worst["vision"] = max(worst["vision"], _relative(trace.deepstack, rows["deepstack"]))
            if trace.deepstack is None and images.deepstack_layers:
                raise ParityError(f"the reference has no DeepStack features for {str(item)[:60]!r}")
        outputs = run_checked(backbone.decoder, _decoder_feeds(trace, images))
        worst["decoder"] = max(
            worst["decoder"],
            _relative(trace.pooled, outputs["pooled"][0]),
            _relative(trace.token_states, outputs["token_states"][0]),
        )
    return worst


def patches_of(trace: Trace, images: Images) -> list[Patches]:
    """The reference's `pixel_values` as the uint8 patches they were made of."""
    if trace.pixel_values is None:
        return []
    area = images.patch_size**2
    values = trace.pixel_values.reshape(-1, 3, 2, area)[:, :, 0]  # both frames are the same
    mean, std = (np.array(numbers)[:, None] for numbers in (images.mean, images.std))
    pixels = np.rint((values * std + mean) * 255).astype(np.uint8).reshape(-1, images.merge_size**2, 3 * area)
    ends = np.cumsum(trace.grids.prod(axis=1) // images.merge_size**2)
    parts = np.split(pixels, ends[:-1])
    return [Patches(part, int(rows), int(columns)) for part, (_, rows, columns) in zip(parts, trace.grids, strict=True)]


def _rows(backbone: QwenVLBackbone, patches: Sequence[Patches]) -> dict[str, np.ndarray]:
    """What the graph `vision` makes of an item's images, row by row, by the decoder's names."""
    seen = backbone.vision.see(patches)
    numbers = np.concatenate(
        [first + np.arange(image.blocks) for first, image in zip(seen.first, patches, strict=True)]
    )
    arrays = {name: array if isinstance(array, np.ndarray) else array.numpy() for name, array in seen.feeds.items()}
    return {name: array[..., numbers, :] for name, array in arrays.items()}


def _decoder_feeds(trace: Trace, images: Images) -> dict[str, np.ndarray]:
    index = np.zeros(trace.input_ids.shape, np.int64)
    hidden = trace.inputs_embeds.shape[-1]
    visual, deepstack = np.zeros((1, hidden), np.float32), np.zeros((images.deepstack_layers, 1, hidden), np.float32)
    if trace.visual is not None:
        at = trace.input_ids == images.placeholder_id
        index[at] = np.arange(1, 1 + np.count_nonzero(at))
        visual = trace.visual
        deepstack = deepstack if trace.deepstack is None else trace.deepstack
    feeds = {
        "inputs_embeds": trace.inputs_embeds[None],
        "position_ids": np.ascontiguousarray(trace.position_ids[:, None]),
        "pooled_index": np.array([trace.pooled_at], np.int64),
        "visual_index": index[None],
        "visual": visual,
    }
    return feeds | ({"deepstack": deepstack} if images.deepstack_layers else {})


def _relative(truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(truth - found).max() / max(np.abs(truth).max(), 1e-12))
