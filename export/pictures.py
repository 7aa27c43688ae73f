"""Pictures of the parity check: made by arithmetic, of sizes that shrink, grow and stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartrt.manifest import Side


def picture(width: int, height: int, seed: int) -> Any:
    """A picture with ramps, edges and noise; the same arguments give the same pixels."""
    rng = np.random.default_rng(seed)
    row, column = np.indices((height, width))
    ramps = np.stack([row * 255 // max(height - 1, 1), column * 255 // max(width - 1, 1), (row ^ column) % 256])
    noise = rng.integers(-40, 40, (3, height, width))
    return Image.fromarray(np.clip(ramps + noise, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def picture_items(max_images: int | None) -> dict[Side, list[Mapping[str, Any]]]:
    """Items of every kind a vision-language bundle takes: text, image, both, with and without an instruction."""
    several = [picture(70, 40, 4), picture(33, 90, 5), picture(128, 96, 6)][: max_images or 3]
    seen: list[Mapping[str, Any]] = [
        {"image": picture(96, 64, 1)},
        {"image": picture(200, 120, 2), "text": "a page with ramps"},
        {"image": several, "text": "several pictures of several sizes"},
        {"image": picture(17, 23, 3), "text": "smaller than the least size", "instruction": "Represent the page"},
    ]
    return {
        "query": [
            {"text": "which page has ramps?"},
            {"text": "which page has ramps?", "instruction": "Find a page that answers the question"},
            {"text": "找到有图表的页面。 naïve café 🙂", "instruction": "  Retrieve. "},
            {"image": picture(64, 64, 7), "text": "like this one", "instruction": "Find a similar picture"},
        ],
        "document": [*seen, {"text": "no picture at all, but a text of some length. " * 4}],
    }
