"""Patches against transformers' own processor, to the last bit, and the whole way from a file to patches."""

from __future__ import annotations

import json
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smartrt.images.decode import decode
from smartrt.images.patches import Patches, cut
from smartrt.images.resize import resize
from smartrt.manifest import ResizeStage

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}

QWEN3 = ResizeStage("qwen-vl-utils", 4096, 1843200, "refuse")
CLAMP = ResizeStage("qwen-vl-utils", 3136, 12845056, "clamp")
GME = ResizeStage("transformers", 200704, 1003520, "refuse")


def processor(patch: int, **options):
    """The slow processor: NumPy and Pillow, no torchvision."""
    module = pytest.importorskip(
        "transformers.models.qwen2_vl.image_processing_qwen2_vl", reason="the independent reference is transformers"
    )
    return module.Qwen2VLImageProcessor(patch_size=patch, merge_size=2, **options)


def levels(theirs) -> np.ndarray:
    """``[3, 256]``: what their rescaling and normalisation make of each level of each channel."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    scaled = theirs.rescale(ramp, theirs.rescale_factor, input_data_format="channels_last")
    values = theirs.normalize(scaled, theirs.image_mean, theirs.image_std, input_data_format="channels_last")
    return values[:, 0].T


def assert_same_patches(ours: Patches, theirs, image: Image.Image) -> None:
    """`pixel_values` of `image`, to the last bit: our bytes, normalised by their functions and written twice."""
    wanted = theirs(image)
    assert [[1, ours.rows, ours.columns]] == wanted["image_grid_thw"].tolist()
    assert ours.blocks * 4 == len(wanted["pixel_values"])
    assert ours.values.dtype == np.uint8
    table = levels(theirs)
    assert all(len(np.unique(row)) == 256 for row in table)  # equal floats are equal bytes
    pixels = ours.values.reshape(len(wanted["pixel_values"]), 3, 1, -1)
    frames = wanted["pixel_values"].reshape(len(pixels), 3, 2, -1)
    for channel in range(3):
        np.testing.assert_array_equal(table[channel][pixels[:, channel]].repeat(2, axis=1), frames[:, channel])


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(width * 10_000 + height).integers(0, 256, shape, dtype=np.uint8)


@cache
def published_sizes(rule: str, long_images: str, max_pixels: int) -> dict[tuple[int, int], tuple[int, int]]:
    settings = json.loads((Path(__file__).parent / "data" / "qwen_vl_sizes.json").read_text(encoding="utf-8"))[
        "settings"
    ]
    keys = {"rule": rule, "long_images": long_images, "max_pixels": max_pixels}
    (setting,) = [setting for setting in settings if keys.items() <= setting.items()]
    return {tuple(row[:2]): tuple(row[2:]) for row in setting["sizes"]}


# --- cutting ---


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("blocks", [(1, 1), (2, 2), (1, 3), (3, 1), (5, 4), (4, 7), (20, 13)], ids=str)
def test_patches_are_those_of_the_published_processor(patch, blocks):
    image = Image.fromarray(noise(blocks[0] * patch * 2, blocks[1] * patch * 2))
    assert_same_patches(cut(image, patch, 2), processor(patch, do_resize=False), image)


@pytest.mark.parametrize("normalisation", [CLIP, HALF], ids=["CLIP", "one half"])
def test_pixel_values_become_our_bytes_when_the_normalisation_is_inverted(normalisation):
    image = Image.fromarray(noise(96, 64))
    rows = processor(16, do_resize=False, **normalisation)(image)["pixel_values"].reshape(-1, 3, 2, 256).astype(float)
    mean, std = (np.array(normalisation[key])[:, None, None] for key in ("image_mean", "image_std"))
    inverted = (rows * std + mean) * 255
    assert np.abs(inverted - np.rint(inverted)).max() < 1e-3
    for frame in range(2):
        np.testing.assert_array_equal(np.rint(inverted[:, :, frame]), cut(image, 16, 2).values.reshape(-1, 3, 256))


@given(
    patch=st.integers(1, 5), merge=st.integers(1, 3), rows=st.integers(1, 4), columns=st.integers(1, 4), data=st.data()
)
def test_every_pixel_is_where_the_order_of_blocks_says(patch, merge, rows, columns, data):
    pixels = noise(columns * merge * patch, rows * merge * patch)
    patches = cut(Image.fromarray(pixels), patch, merge)
    assert patches.values.shape == (rows * columns, merge * merge, 3 * patch * patch)
    assert (patches.rows, patches.columns, patches.blocks) == (rows * merge, columns * merge, rows * columns)
    y = data.draw(st.integers(0, pixels.shape[0] - 1))
    x = data.draw(st.integers(0, pixels.shape[1] - 1))
    block = y // (patch * merge) * columns + x // (patch * merge)
    inside = y // patch % merge * merge + x // patch % merge
    found = patches.values[block, inside].reshape(3, patch, patch)[:, y % patch, x % patch]
    assert found.tolist() == pixels[y, x].tolist()


def test_patches_are_contiguous_and_not_the_memory_of_the_image():
    pixels = noise(64, 64)
    patches = cut(Image.fromarray(pixels), 16, 2)
    assert patches.values.flags.c_contiguous
    assert patches.values.flags.writeable
    assert not np.shares_memory(patches.values, pixels)


# --- from a file to patches: Qwen3-VL-Embedding ---


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(mode: str, width: int, height: int) -> Image.Image:
    """Smooth colours and a smooth alpha, in a mode that can be reached by converting."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * 3 + y * 5) % 256, (x * y) % 256]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8)).convert(mode)


def paletted(mode: str, width: int, height: int) -> Image.Image:
    image = Image.frombytes(mode, (width, height), noise(width, height, len(mode)).tobytes())
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


def numbers(mode: str, width: int, height: int) -> Image.Image:
    """Numbers that lie on both sides of 0 and 255 where the mode has them."""
    values = np.random.default_rng(2).integers(-300, 900, (height, width))
    dtype = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
    return Image.fromarray((np.abs(values) if mode == "I;16" else values).astype(dtype))


KINDS = {
    "1, PNG": lambda *size: saved(gradient("1", *size), "PNG"),
    "L, PNG": lambda *size: saved(gradient("L", *size), "PNG"),
    "L and a colour key, PNG": lambda *size: saved(gradient("L", *size), "PNG", transparency=128),
    "LA, PNG": lambda *size: saved(gradient("LA", *size), "PNG"),
    "P, PNG": lambda *size: saved(paletted("P", *size), "PNG"),
    "P and alphas, PNG": lambda *size: saved(paletted("P", *size), "PNG", transparency=bytes(range(256))),
    "P and a colour key, PNG": lambda *size: saved(paletted("P", *size), "PNG", transparency=7),
    "RGB and a colour key, PNG": lambda *size: saved(gradient("RGB", *size), "PNG", transparency=(0, 0, 0)),
    "RGBA, PNG": lambda *size: saved(gradient("RGBA", *size), "PNG"),
    "I;16, PNG": lambda *size: saved(numbers("I;16", *size), "PNG"),
    "L, JPEG": lambda *size: saved(gradient("L", *size), "JPEG"),
    "RGB, JPEG": lambda *size: saved(gradient("RGB", *size), "JPEG", quality=90),
    "CMYK, JPEG": lambda *size: saved(gradient("RGB", *size).convert("CMYK"), "JPEG"),
    "RGB, WebP": lambda *size: saved(gradient("RGB", *size), "WEBP"),
    "RGBA, WebP": lambda *size: saved(gradient("RGBA", *size), "WEBP"),
    "P, BMP": lambda *size: saved(paletted("P", *size), "BMP"),
    "PA": lambda *size: paletted("PA", *size),
    "RGBX": lambda *size: gradient("RGB", *size).convert("RGBX"),
    "RGBa": lambda *size: gradient("RGBA", *size).convert("RGBa"),
    "YCbCr": lambda *size: gradient("RGB", *size).convert("YCbCr"),
    "HSV": lambda *size: gradient("RGB", *size).convert("HSV"),
    "I": lambda *size: numbers("I", *size),
    "F": lambda *size: numbers("F", *size),
}

RGB_SIZES = (
    (1, 1), (1, 2), (5, 5), (10, 7), (13, 29), (16, 16), (31, 33), (32, 32), (48, 80), (64, 64), (80, 80), (112, 112),
    (144, 240), (1, 200), (200, 1), (3, 600), (10, 1990), (900, 31), (333, 777), (500, 375), (640, 480), (1000, 1000),
    (1240, 1754), (1357, 1359), (5000, 27), (64, 12800), (3000, 4000),
)  # fmt: skip
KIND_SIZES = ((50, 100), (333, 777))


def test_there_are_as_many_pictures_as_were_once_compared_by_hand():
    assert len(RGB_SIZES) == 27
    assert len(RGB_SIZES) + len(KINDS) * len(KIND_SIZES) >= 67


def opened(source) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns about P with alphas, and converts all the same
        warnings.simplefilter("ignore")
        image = Image.open(BytesIO(source)) if isinstance(source, bytes) else source
        image.load()
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_opens_every_kind_in_the_mode_it_is_named_for(kind):
    image = opened(KINDS[kind](50, 100))
    assert image.mode == kind.replace(",", "").split()[0]
    assert ("transparency" in image.info) == (" and " in kind)


def convert(image: Image.Image) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return image.convert("RGB")


def on_white(image: Image.Image) -> Image.Image:
    """As qwen-vl-utils makes an image RGB: only RGBA is laid on white."""
    if image.mode != "RGBA":
        return convert(image)
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.split()[3])
    return white


def assert_qwen3_patches(source) -> None:
    image = on_white(opened(source))
    image = image.resize(published_sizes("qwen-vl-utils", "refuse", 1843200)[image.size])
    ours = cut(resize(decode(source, "document 0"), [QWEN3], 32, "document 0"), 16, 2)
    assert_same_patches(ours, processor(16, do_resize=False, **HALF), image)


@pytest.mark.parametrize("size", RGB_SIZES, ids=str)
def test_an_rgb_image_becomes_the_patches_of_the_published_way(size):
    assert_qwen3_patches(Image.fromarray(noise(*size)))


@pytest.mark.parametrize("size", KIND_SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_the_patches_of_the_published_way(kind, size):
    assert_qwen3_patches(KINDS[kind](*size))


# --- from a file to patches: GME, which resizes twice ---

GME_SIZES = (
    (1, 1), (10, 7), (28, 28), (42, 126), (50, 100), (70, 70), (224, 224), (448, 448), (640, 480), (896, 897),
    (1000, 1000), (1240, 1754), (3, 600), (200, 1), (900, 31), (1, 201), (1, 300), (5, 2000), (3000, 3), (10, 2001),
    (3700, 3600),
)  # fmt: skip


def assert_gme_patches(source) -> None:
    image = convert(opened(source))
    image = image.resize(published_sizes("qwen-vl-utils", "clamp", 12845056)[image.size])
    ours = cut(resize(decode(source, "document 0", "drop"), [CLAMP, GME], 28, "document 0"), 14, 2)
    theirs = processor(14, do_resize=True, min_pixels=200704, max_pixels=1003520, **CLIP)
    assert_same_patches(ours, theirs, image)


@pytest.mark.parametrize("size", GME_SIZES, ids=str)
def test_an_rgb_image_becomes_the_patches_of_gme(size):
    assert_gme_patches(Image.fromarray(noise(*size)))


@pytest.mark.parametrize("kind", ["RGBA, PNG", "LA, PNG", "P and alphas, PNG", "CMYK, JPEG", "I;16, PNG", "RGBA, WebP"])
def test_every_kind_of_image_becomes_the_patches_of_gme(kind):
    assert_gme_patches(KINDS[kind](333, 777))
