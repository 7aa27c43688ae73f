"""Image sizes against those of the published processors (data/qwen_vl_sizes.json), and the resizing itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from smartrt.errors import InputError
from smartrt.images.resize import MAX_RATIO, resize, target_size
from smartrt.manifest import ResizeStage
from support import message_of

SETTINGS = json.loads((Path(__file__).parent / "data" / "qwen_vl_sizes.json").read_text(encoding="utf-8"))["settings"]
GOLDEN = [
    (ResizeStage(made["rule"], made["min_pixels"], made["max_pixels"], made["long_images"]), made["factor"], row)
    for made in SETTINGS
    for row in made["sizes"]
]
PUBLISHED = [GOLDEN[n * len(SETTINGS[0]["sizes"])][:2] for n in range(len(SETTINGS))]
"""Stage and factor of each published setting."""

QWEN3, QWEN3_FACTOR = PUBLISHED[0]
CLAMP, CLAMP_FACTOR = PUBLISHED[2]
TINY_SQUARE = ResizeStage("tiny-square", 0, 0, "refuse")


def name_of(setting) -> str:
    stage, factor = setting
    return f"{stage.rule}, {factor}, {stage.min_pixels} to {stage.max_pixels}, {stage.long_images}"


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def is_long(width: int, height: int) -> bool:
    return max(width, height) > MAX_RATIO * min(width, height)


# --- the published sizes ---


@pytest.mark.parametrize("setting", PUBLISHED, ids=map(name_of, PUBLISHED))
def test_sizes_are_those_of_the_published_processors(setting):
    rows = [row for stage, factor, row in GOLDEN if (stage, factor) == setting and len(row) == 4]
    assert len(rows) >= 60
    assert [[*row[:2], *target_size(*row[:2], *setting)] for row in rows] == rows


@pytest.mark.parametrize("setting", PUBLISHED, ids=map(name_of, PUBLISHED))
def test_what_the_published_processors_refuse_is_refused_with_the_size(setting):
    for width, height in (row for stage, factor, row in GOLDEN if (stage, factor) == setting and len(row) == 2):
        with pytest.raises(InputError) as caught:
            target_size(width, height, *setting, where="document 3")
        message_of(caught.value, "document 3: ", f"{width} x {height}", "200")


def test_the_published_sizes_can_tell_the_rules_apart():
    """Else the test above would pass with the wrong rule or the wrong rounding."""
    qwen, transformers = PUBLISHED[2], PUBLISHED[4]  # the same limits and factor
    rows = [row for *setting, row in GOLDEN if tuple(setting) == transformers and len(row) == 4]
    assert [row for row in rows if target_size(*row[:2], *qwen) != tuple(row[2:])]
    assert [70, 70, 56, 56] in rows  # 2.5 blocks are 2, and 84 if halves went up


@pytest.mark.parametrize(
    ("side", "wanted"), [(80, 64), (112, 128), (144, 128), (176, 192), (208, 192), (209, 224), (207, 192)]
)
def test_a_half_is_rounded_to_the_even_multiple(side, wanted):
    assert target_size(side, side, QWEN3, 32) == (wanted, wanted)


def test_a_page_of_a4_at_150_dpi_becomes_1120_by_1600():
    assert target_size(1240, 1754, QWEN3, 32) == (1120, 1600)


# --- properties ---

published = st.sampled_from(PUBLISHED)
sides = st.one_of(st.integers(1, 300), st.integers(1, 20_000))


@given(setting=published, width=sides, height=sides)
@example(setting=PUBLISHED[0], width=1, height=200)
@example(setting=PUBLISHED[3], width=200, height=40_000)
def test_published_limits_hold_for_every_size_that_is_not_refused(setting, width, height):
    """Without exception: an image is at most 200 times as long as wide, so no side falls below a factor.

    Rounding may leave a little more than that: 200 x 40000 becomes 56 x 14140. Only the clamp sees to it.
    """
    stage, factor = setting
    assume(stage.long_images == "clamp" or not is_long(width, height))
    wide, tall = target_size(width, height, stage, factor)
    assert wide % factor == tall % factor == 0
    assert stage.min_pixels <= wide * tall <= stage.max_pixels
    assert stage.long_images == "refuse" or not is_long(wide, tall)


@given(
    rule=st.sampled_from(["qwen-vl-utils", "transformers"]),
    factor=st.sampled_from([28, 32]),
    width=sides,
    height=sides,
    least=st.integers(1, 2_000_000),
    more=st.integers(0, 2_000_000),
)
def test_any_limits_hold_but_for_the_exceptions_the_rules_have(rule, factor, width, height, least, more):
    """Over the maximum: where the image grew to the minimum, or (transformers) a side was kept at one factor.

    Below the minimum: where the image shrank to the maximum.
    """
    assume(not is_long(width, height))
    stage = ResizeStage(rule, least, least + more, "refuse")
    first = 0 if rule == "transformers" else factor
    rounded = np.prod([max(first, round(side / factor) * factor) for side in (width, height)])
    try:
        wide, tall = target_size(width, height, stage, factor)
    except InputError as error:  # nothing is left of the shorter side
        message_of(error, f"{width} x {height}", f"{stage.max_pixels:,}")
        assert rule == "qwen-vl-utils"
        assert rounded > stage.max_pixels
        assert min(width, height) * (stage.max_pixels / (width * height)) ** 0.5 < factor
        return
    assert wide % factor == tall % factor == 0
    assert min(wide, tall) >= factor
    kept = rule == "transformers" and min(wide, tall) == factor
    assert wide * tall <= stage.max_pixels or rounded < stage.min_pixels or kept
    assert wide * tall >= stage.min_pixels or rounded > stage.max_pixels


@given(setting=published, width=sides, height=sides)
def test_turning_an_image_turns_its_size(setting, width, height):
    stage, factor = setting
    assume(stage.long_images == "clamp" or not is_long(width, height))
    assert target_size(width, height, stage, factor) == target_size(height, width, stage, factor)[::-1]


@given(setting=published, width=sides, height=sides)
def test_an_image_that_is_more_than_200_times_as_long_as_wide_is_refused_or_cut(setting, width, height):
    stage, factor = setting
    width = max(width, MAX_RATIO * height + 1)
    if stage.long_images == "clamp":
        wide, tall = target_size(width, height, stage, factor)
        assert wide <= MAX_RATIO * tall
    else:
        with pytest.raises(InputError) as caught:
            target_size(width, height, stage, factor, "query 0")
        message_of(caught.value, "query 0: ", f"{width} x {height}", "200")


@pytest.mark.parametrize(("width", "height"), [(200, 1), (1, 200), (2000, 10), (7, 1400)])
def test_an_image_that_is_exactly_200_times_as_long_as_wide_is_taken(width, height):
    target_size(width, height, QWEN3, QWEN3_FACTOR)


def test_an_image_of_which_nothing_would_be_left_is_refused_with_what_to_do():
    with pytest.raises(InputError) as caught:
        target_size(20_000, 100, ResizeStage("qwen-vl-utils", 4096, 4096, "refuse"), 32, "query 0")
    message_of(caught.value, "query 0: ", "20000 x 100", "4,096", "crop")
    with pytest.raises(InputError) as caught:
        target_size(1, 2_000_000, CLAMP, CLAMP_FACTOR, "query 0")
    message_of(caught.value, "query 0: ", "1 x 2000000", "12,845,056", "crop")


def test_only_what_is_over_200_times_as_long_is_cut_to_that():
    assert target_size(56, 11_228, CLAMP, CLAMP_FACTOR) == (56, 11_200)  # 200.5 times
    assert target_size(11_200, 56, CLAMP, CLAMP_FACTOR) == (11_200, 56)


@given(width=sides, height=sides, factor=st.sampled_from([28, 32]))
@example(width=28, height=300, factor=28)
@example(width=300, height=27, factor=28)
def test_tiny_square_touches_nothing_but_images_with_a_side_below_28(width, height, factor):
    wanted = (56, 56) if width < 28 or height < 28 else (width, height)
    assert target_size(width, height, TINY_SQUARE, factor) == wanted


# --- the resizing ---


@given(setting=published, columns=st.integers(1, 40), rows=st.integers(1, 40))
def test_an_image_of_the_right_size_is_returned_untouched(setting, columns, rows):
    stage, factor = setting
    width, height = columns * factor, rows * factor
    assume(stage.min_pixels <= width * height <= stage.max_pixels)
    image = Image.new("RGB", (width, height))
    assert resize(image, [stage], factor, "query 0") is image


@pytest.mark.parametrize("size", [(50, 41), (7, 300), (333, 777), (2100, 1500)], ids=str)
def test_pixels_are_those_of_pillows_own_resize(size):
    image = noise(*size)
    ours = resize(image, [QWEN3], QWEN3_FACTOR, "query 0")
    assert ours.mode == "RGB"
    assert ours.tobytes() == image.resize(target_size(*size, QWEN3, QWEN3_FACTOR)).tobytes()


def test_the_image_that_was_given_stays_as_it_was():
    image = noise(50, 41)
    before = image.tobytes()
    resize(image, [QWEN3], QWEN3_FACTOR, "query 0")
    assert (image.size, image.tobytes()) == ((50, 41), before)


def test_stages_follow_one_another_and_each_rounds():
    image = noise(5, 1400)
    first = image.resize((28, 1400))
    second = PUBLISHED[3][0]
    wanted = first.resize(target_size(28, 1400, second, 28))
    assert resize(image, [CLAMP, second], 28, "query 0").tobytes() == wanted.tobytes()
    at_once = image.resize(wanted.size)
    assert at_once.tobytes() != wanted.tobytes()


def test_a_long_image_is_cut_to_the_ratio_before_the_second_stage_sees_it():
    second = PUBLISHED[3][0]
    with pytest.raises(InputError):
        resize(noise(1, 300), [second], 28, "query 0")
    assert resize(noise(1, 300), [CLAMP, second], 28, "query 0").size == target_size(28, 308, second, 28)


def test_a_stage_that_refuses_names_the_item_and_the_size_it_saw():
    with pytest.raises(InputError) as caught:
        resize(noise(201, 1), [QWEN3], QWEN3_FACTOR, "document 3, image 1")
    message_of(caught.value, "document 3, image 1: ", "201 x 1")


def test_a_tiny_image_becomes_a_square_before_the_next_stage():
    image = noise(20, 3000)
    second = PUBLISHED[4][0]
    wanted = image.resize((56, 56))  # 3,136 pixels: the second stage leaves it
    assert resize(image, [TINY_SQUARE, second], 28, "query 0").tobytes() == wanted.tobytes()
