"""The pages of `smartrt bench toy`: what is bound to what, what is drawn, and the proof that only codes differ."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from smartrt.benchmarks.toy import drawing
from smartrt.benchmarks.toy.bindings import CODES, COLOURS, MARKERS, SHAPES, Binding, Marker, Page, Pair, Toy
from smartrt.benchmarks.toy.canvas import Canvas, text_width
from smartrt.benchmarks.toy.dice import Dice
from smartrt.benchmarks.toy.drawing import CODE_SIZE, draw_pair
from smartrt.benchmarks.toy.layout import PAGE, RADIUS, Box
from smartrt.benchmarks.toy.plots import draw_panel
from smartrt.benchmarks.toy.proof import check_only_boxes_differ
from smartrt.benchmarks.toy.shapes import INKS, draw_marker
from smartrt.benchmarks.toy.text import page_text, query_text
from smartrt.errors import InputError, MissingDependencyError
from smartrt.images.resize import target_size
from smartrt.models.qwen_vl.presets import PRESETS
from support import message_of

CODE = re.compile(r"[A-Z][0-9][A-Z]")
SEEDS = st.integers(-(10**9), 10**9)


@pytest.fixture(scope="module")
def pair():
    return Pair.make(0, 0)


@pytest.fixture(scope="module")
def drawn(pair):
    return tuple(np.asarray(picture) for picture in draw_pair(pair))


def boxes_of(pair):
    return [panel.label for panel in pair.layout.panels]


def overlap(one: Box, other: Box) -> bool:
    across = one.left < other.right and other.left < one.right
    return across and one.top < other.bottom and other.top < one.bottom


def test_a_seed_makes_the_set_that_it_made_on_every_other_machine():
    toy = Toy.make(seed=0, pairs=2)
    assert toy.pairs[0].positive.codes[:4] == ("A6T", "F3T", "R3H", "A6K")
    assert toy.sha256 == "1fd502425337831ba44265cdc0c4d84804a448c0e797dcaebef262956239ff45"


def test_a_pair_is_the_same_however_many_there_are_and_another_for_another_seed():
    assert Toy.make(3, 4).pairs[:2] == Toy.make(3, 2).pairs
    sets = [Toy.make(seed, 2) for seed in range(20)]
    assert len({toy.sha256 for toy in sets}) == len({pair.positive.codes for toy in sets for pair in toy.pairs}) / 2


def test_the_paper_s_size_is_the_default():
    toy = Toy.make()
    assert (toy.seed, len(toy.pairs), toy.queries) == (0, 40, 1000)


@given(seed=SEEDS, number=st.integers(0, 999))
def test_the_negative_has_the_same_codes_and_markers_and_no_code_where_it_was(seed, number):
    made = Pair.make(seed, number)
    one, other = made.positive, made.negative
    assert set(one.markers) == set(MARKERS)
    assert one.markers == other.markers
    assert sorted(one.codes) == sorted(other.codes)
    assert len(set(one.codes)) == 25
    assert all(CODE.fullmatch(code) for code in one.codes)
    assert all(here != there for here, there in zip(one.codes, other.codes, strict=True))


def test_there_are_25_markers_and_codes_that_small_print_does_not_make_another():
    assert (len(MARKERS), len(set(MARKERS)), len(CODES), len(set(CODES))) == (25, 25, 1125, 1125)
    assert not set("".join(CODES)) & set("ODIL01")


def test_every_derangement_is_equally_likely_and_no_other_permutation_comes():
    dice = Dice("derangements")
    found = Counter(dice.derangement(4) for _ in range(9000))
    assert set(found) == {p for p in itertools.permutations(range(4)) if all(i != at for at, i in enumerate(p))}
    assert max(abs(count - 1000) for count in found.values()) < 150


def test_dice_reach_both_ends_and_every_order():
    dice = Dice("ends")
    assert {dice.between(-2, 3) for _ in range(500)} == set(range(-2, 4))
    found = Counter(dice.shuffled("abc") for _ in range(6000))
    assert len(found) == 6
    assert max(abs(count - 1000) for count in found.values()) < 150
    assert all(len(set(dice.sample("abcdef", 3))) == 3 for _ in range(50))


def page(codes, markers=MARKERS, name="p"):
    return Page(name, tuple(map(Binding, codes, markers)))


BROKEN = {
    "a code that stays": (lambda p: (*p.codes[1:24], p.codes[0], p.codes[24]), None, "no code may stay"),
    "another code": (lambda p: (*p.codes[1:], "Z0Z"), None, "the same codes"),
    "other markers": (lambda p: (*p.codes[1:], p.codes[0]), lambda m: m[::-1], "the same markers"),
    "a code twice": (lambda p: (*p.codes[1:], p.codes[1]), None, "twice"),
    "a marker twice": (lambda p: (*p.codes[1:], p.codes[0]), lambda m: (*m[1:], m[1]), "red circle twice"),
}


@pytest.mark.parametrize(("codes", "markers", "mention"), BROKEN.values(), ids=BROKEN)
def test_a_pair_that_is_no_controlled_one_is_refused(pair, codes, markers, mention):
    positive = page(pair.positive.codes)
    with pytest.raises(InputError) as caught:
        Pair(pair.layout, positive, page(codes(positive), markers(MARKERS) if markers else MARKERS))
    message_of(caught.value, mention)


def test_a_page_needs_a_binding_for_every_panel(pair):
    codes = pair.positive.codes[:24]
    with pytest.raises(InputError) as caught:
        Pair(pair.layout, page(codes), page((*codes[1:], codes[0])))
    message_of(caught.value, "24 bindings for 25 panels")


def test_a_set_without_a_pair_is_refused():
    with pytest.raises(InputError) as caught:
        Toy.make(0, 0)
    message_of(caught.value, "at least 1 pair, got 0")


def test_the_text_twin_has_a_line_a_panel_and_the_query_is_the_paper_s():
    binding = Binding("K7Q", Marker("red", "star"))
    assert page_text(page(["K7Q", "A3C"], (Marker("red", "star"), Marker("blue", "circle")))) == (
        "K7Q labels the red star.\nA3C labels the blue circle."
    )
    assert query_text(binding) == "Find the report where code K7Q labels the red star marker."


def test_the_clutter_names_no_code_no_colour_and_no_shape():
    said = {word for made in Toy.make(0, 30).pairs for panel in made.layout.panels for word in panel.chart.words}
    said |= {made.layout.heading for made in Toy.make(0, 30).pairs}
    assert len(said) > 60
    assert not [text for text in said if CODE.search(text) or set(text.lower().split()) & {*COLOURS, *SHAPES}]


@given(seed=SEEDS)
def test_markers_and_labels_stand_inside_their_plots_and_touch_nothing_of_another(seed):
    layout = Pair.make(seed, 0).layout
    assert len({panel.chart.title for panel in layout.panels}) == 25
    for panel in layout.panels:
        x, y = panel.marker
        disc = Box(x - RADIUS, y - RADIUS, x + RADIUS + 1, y + RADIUS + 1)
        for box in (disc, panel.label):
            assert panel.plot.left < box.left < box.right < panel.plot.right
            assert panel.plot.top < box.top < box.bottom < panel.plot.bottom
        assert not overlap(disc, panel.label)
        assert 0 <= panel.frame.left < panel.plot.left < panel.plot.right < panel.frame.right <= PAGE
        assert 0 <= panel.frame.top < panel.plot.top < panel.plot.bottom < panel.frame.bottom <= PAGE
    frames = [panel.frame for panel in layout.panels]
    assert not any(overlap(one, other) for one, other in itertools.combinations(frames, 2))


def test_every_code_fits_its_box(pair):
    room = {box.width for box in boxes_of(pair)}
    assert max(text_width(code, CODE_SIZE) for code in CODES) <= min(room) - 4


@pytest.mark.parametrize("name", PRESETS)
def test_no_published_processor_resamples_a_page(name):
    factor = 32 if PRESETS[name].family == "qwen3-vl" else 28
    stages = [stage for stage in PRESETS[name].stages if stage.max_pixels]
    assert PAGE % factor == 0
    assert all(target_size(PAGE, PAGE, stage, factor) == (PAGE, PAGE) for stage in stages)


def test_the_pages_of_a_pair_differ_in_every_label_box_and_nowhere_else(pair, drawn):
    one, other = drawn
    assert one.shape == other.shape == (PAGE, PAGE, 3)
    differs = (one != other).any(axis=2)
    inside = np.zeros_like(differs)
    for box in boxes_of(pair):
        assert differs[box.top : box.bottom, box.left : box.right].any()
        inside[box.top : box.bottom, box.left : box.right] = True
    assert not (differs & ~inside).any()
    assert 0.005 < differs.mean() < 0.03


def test_a_pair_is_drawn_the_same_every_time_and_another_one_is_not(pair, drawn):
    again = draw_pair(pair)
    assert all(np.array_equal(one, other) for one, other in zip(drawn, again, strict=True))
    assert not np.array_equal(drawn[0], np.asarray(draw_pair(Pair.make(0, 1))[0]))


def test_every_marker_has_the_colour_it_is_named_by_on_both_pages(pair, drawn):
    for pixels in drawn:
        for panel, marker in zip(pair.layout.panels, pair.positive.markers, strict=True):
            x, y = panel.marker
            assert tuple(pixels[y, x]) == INKS[marker.colour], marker


def test_shapes_are_told_apart_by_their_outlines():
    masks = {}
    for shape in SHAPES:
        canvas = Canvas(40, 40)
        draw_marker(canvas, Marker("red", shape), (20, 20), RADIUS)
        masks[shape] = (np.asarray(canvas.reduced()) != 255).any(axis=2)
    assert all(150 < mask.sum() < 500 for mask in masks.values())
    for one, other in itertools.combinations(masks.values(), 2):
        assert (one & other).sum() / (one | other).sum() < 0.86


def test_charts_are_drawn_in_colours_that_no_marker_has(pair):
    kinds = set()
    canvas = Canvas(PAGE, PAGE)
    for panel in pair.layout.panels:
        kinds.add(panel.chart.kind)
        draw_panel(canvas, panel)
    pixels = np.asarray(canvas.reduced()).astype(int)
    assert len(kinds) == 4
    assert np.ptp(pixels, axis=2).max() < 40 < min(max(ink) - min(ink) for ink in INKS.values()) / 3
    assert (pixels < 250).any(axis=2).mean() > 0.08, "a page must be cluttered"


def with_pixel(pixels, y, x):
    changed = pixels.copy()
    changed[y, x, 1] ^= 1
    return changed


@pytest.mark.parametrize(("y", "x"), [(0, 0), (PAGE - 1, PAGE - 1), (60, 30)])
def test_one_pixel_outside_the_boxes_is_found(pair, drawn, y, x):
    with pytest.raises(InputError) as caught:
        check_only_boxes_differ(drawn[0], with_pixel(drawn[1], y, x), boxes_of(pair))
    message_of(caught.value, "in 1 pixels", f"x={x} y={y}")


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_box_ends_where_it_says(pair, drawn, side):
    box = boxes_of(pair)[7]
    y, x = {
        "left": (box.top, box.left - 1),
        "right": (box.top, box.right),
        "top": (box.top - 1, box.left),
        "bottom": (box.bottom, box.left),
    }[side]
    with pytest.raises(InputError):
        check_only_boxes_differ(drawn[0], with_pixel(drawn[1], y, x), boxes_of(pair))


def test_a_box_in_which_nothing_differs_is_found(pair, drawn):
    one, other = drawn[0], drawn[1].copy()
    box = boxes_of(pair)[3]
    other[box.top : box.bottom, box.left : box.right] = one[box.top : box.bottom, box.left : box.right]
    with pytest.raises(InputError) as caught:
        check_only_boxes_differ(one, other, boxes_of(pair))
    message_of(caught.value, "label box 3")


def test_pages_of_two_sizes_are_refused(pair, drawn):
    with pytest.raises(InputError) as caught:
        check_only_boxes_differ(drawn[0], drawn[1][:-1], boxes_of(pair))
    message_of(caught.value, "[895, 896, 3]")


def test_drawing_fails_when_a_label_leaves_its_box(monkeypatch, pair):
    honest = drawing._label

    def wider(box, code):
        return honest(dataclasses.replace(box, right=box.right + 20), code)

    monkeypatch.setattr(drawing, "_label", wider)
    with pytest.raises(InputError) as caught:
        draw_pair(pair)
    message_of(caught.value, "outside the label boxes")


@pytest.mark.parametrize("error", [ImportError, TypeError])
def test_a_pillow_without_a_scalable_font_is_named(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(ImageFont, "load_default", refuse)
    with pytest.raises(MissingDependencyError) as caught:
        text_width("K7Q", 12.345)
    message_of(caught.value, "FreeType", "pip install")
