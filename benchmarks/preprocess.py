"""`smartrt bench preprocess`: from the bytes of a page to what the vision tower is fed, against transformers.

Each contender runs in a process of its own, in turns, on one thread; imports are not counted. One page is the
median of several; the memory is the process's peak over all pages, less its peak before the first. smartrt
holds as many pages as an `Encoder` does (`PIXEL_BUDGET`); the published wrapper gives its processor the whole
batch, and so does the contender here.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from smartrt.bundle import Bundle
from smartrt.encoder import PIXEL_BUDGET
from smartrt.errors import EngineError, OptionError
from smartrt.images.decode import decode
from smartrt.images.patches import cut
from smartrt.images.resize import resize

from .memory import peak_rss_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from smartrt.manifest import Images

PAGES = 32
_SINGLES = 7
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def page(width: int = 1240, height: int = 1754, seed: int = 7) -> bytes:
    """A page with lines of text, a picture and some noise, as JPEG of quality 90."""
    rng = np.random.default_rng(seed)
    sheet = Image.fromarray(rng.integers(238, 256, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(sheet)
    for line in range(64 * height // 1754):
        words = " ".join("".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(2, 11))) for _ in range(22))
        draw.text((90, 90 + 24 * line), words[: 100 + int(rng.integers(0, 40))], fill=(20, 20, 20))
    row, column = np.indices((420, 560))
    sheet.paste(
        Image.fromarray(np.stack([row % 256, column % 256, (row * column) % 256], -1).astype(np.uint8)),
        (340 * width // 1240, 700 * height // 1754),
    )
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def contenders() -> list[str]:
    """Who can run here: transformers' fast processor needs torchvision."""
    fast = ["transformers-fast"] if importlib.util.find_spec("torchvision") else []
    return ["smartrt", *fast, "transformers-slow"]


def measure(bundle: Path, rounds: int, advance: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Run every contender `rounds` times, in turns.

    Raises:
        OptionError: The bundle takes no images.
        EngineError: A contender failed.
    """
    if Bundle.open(bundle, verify=False).manifest.images is None:
        raise OptionError(f"{bundle} takes no images: there is nothing to preprocess")
    names = contenders()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(_run(name, bundle))
            advance(1)
    middle = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]} for name, found in runs.items()
    }
    ours = middle["smartrt"]
    ratios = {name: {key: round(found[key] / ours[key], 2) for key in ours} for name, found in middle.items()}
    return {"rounds": rounds, "pages": PAGES, "contenders": middle, "over_smartrt": ratios}


def _run(name: str, bundle: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "smartrt.benchmarks.preprocess", name, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | _ONE_THREAD)  # noqa: S603  (our own interpreter and module)
    if done.returncode:
        raise EngineError(f"{name} failed: {' '.join(done.stderr.split())[-300:]}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _smartrt(images: Images, pages: Iterable[bytes]) -> None:
    held, size = [], 0
    for data in pages:
        image = decode(data, "page", images.transparency)
        sized = resize(image, images.stages, images.patch_size * images.merge_size, "page")
        held.append(cut(sized, images.patch_size, images.merge_size))
        size += held[-1].values.nbytes
        if size >= PIXEL_BUDGET:
            held, size = [], 0


def _transformers(images: Images, *, fast: bool) -> Callable[[Iterable[bytes]], None]:
    import torch
    import transformers

    torch.set_num_threads(1)
    kind = transformers.Qwen2VLImageProcessorFast if fast else transformers.Qwen2VLImageProcessor
    last = images.stages[-1]
    processor = kind(
        do_resize=last.rule == "transformers", patch_size=images.patch_size, merge_size=images.merge_size,
        image_mean=list(images.mean), image_std=list(images.std),
        min_pixels=last.min_pixels, max_pixels=last.max_pixels,
    )  # fmt: skip
    stages = images.stages[:-1] if last.rule == "transformers" else images.stages

    def run(pages: Iterable[bytes]) -> None:
        opened = [Image.open(BytesIO(data)).convert("RGB") for data in pages]
        sized = [resize(image, stages, images.patch_size * images.merge_size, "page") for image in opened]
        processor(images=sized, return_tensors="pt")

    return run


def _child(name: str, bundle: str) -> dict[str, float]:
    images = Bundle.open(bundle, verify=False).manifest.images
    if images is None:
        raise OptionError(f"{bundle} takes no images")
    if name == "smartrt":
        run: Callable[[Iterable[bytes]], None] = functools.partial(_smartrt, images)
    else:
        run = _transformers(images, fast=name == "transformers-fast")
    data = page()
    run([data])
    singles = []
    for _ in range(_SINGLES):
        started = time.process_time()
        run([data])
        singles.append(time.process_time() - started)
    before, started = peak_rss_mb(), time.process_time()
    run([data] * PAGES)
    return {
        "page_ms": 1000 * statistics.median(singles),
        "pages_ms": 1000 * (time.process_time() - started),
        "pages_peak_mb": max(peak_rss_mb() - before, 0.1),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_child(sys.argv[1], sys.argv[2])))
