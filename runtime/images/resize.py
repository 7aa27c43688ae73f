"""The sizes that the published processors choose.

Two rules look alike and are not: ``qwen-vl-utils`` (qwen_vl_utils 0.0.14, `vision_process.smart_resize`) and
``transformers`` (4.57, `image_processing_qwen2_vl.smart_resize`) differ in where they keep a side from
falling below one factor. Both round half to even, as Python does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..manifest import ResizeStage

MAX_RATIO = 200
_TINY, _TINY_TO = 28, 56


def resize(image: Any, stages: Sequence[ResizeStage], factor: int, where: str) -> Any:
    """Resize a PIL RGB image by each stage in turn (bicubic with antialiasing, rounded to uint8 each time).

    Raises:
        InputError: A side is more than 200 times the other, or would vanish.
    """
    for stage in stages:
        width, height = image.size
        size = target_size(width, height, stage, factor, where)
        if size != (width, height):
            image = image.resize(size, Image.Resampling.BICUBIC)
    return image


def target_size(width: int, height: int, stage: ResizeStage, factor: int, where: str = "image") -> tuple[int, int]:
    """Width and height that `stage` gives an image.

    Args:
        width: Pixels.
        height: Pixels.
        stage: The rule and its limits in pixels.
        factor: Both sides become multiples of it (patch size times merge size).
        where: Which item it is, for the message.
    """
    if stage.rule == "tiny-square":  # VLM2Vec, `Qwen2_VL_process_fn`: before its processor sees the image
        return (_TINY_TO, _TINY_TO) if min(width, height) < _TINY else (width, height)
    if stage.long_images == "refuse" and max(width, height) / min(width, height) > MAX_RATIO:
        raise InputError(
            f"{where}: the image is {width} x {height}; one side may be {MAX_RATIO} times the other, no more"
        )
    keep = factor if stage.rule == "transformers" else 0  # the least side after shrinking
    least = 0 if stage.rule == "transformers" else factor  # the least side after rounding
    tall, wide = (max(least, round(side / factor) * factor) for side in (height, width))
    if tall * wide > stage.max_pixels:
        beta = math.sqrt((height * width) / stage.max_pixels)
        tall, wide = (max(keep, math.floor(side / beta / factor) * factor) for side in (height, width))
    elif tall * wide < stage.min_pixels:
        beta = math.sqrt(stage.min_pixels / (height * width))
        tall, wide = (math.ceil(side * beta / factor) * factor for side in (height, width))
    if min(tall, wide) < 1:
        raise InputError(
            f"{where}: the image is {width} x {height} and would become {wide} x {tall} under max_pixels "
            f"{stage.max_pixels:,}: crop it, or export the bundle with larger limits"
        )
    if stage.long_images == "clamp" and max(tall, wide) / min(tall, wide) > MAX_RATIO:
        tall, wide = (wide * MAX_RATIO, wide) if tall > wide else (tall, tall * MAX_RATIO)
    return wide, tall
