"""The picture of a study: what is drawn, where names go, and that no name covers another one or a point."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smartrt.benchmarks.study.chart import text_size
from smartrt.benchmarks.study.figure import draw
from smartrt.benchmarks.study.geometry import Box, Line, Place
from smartrt.benchmarks.study.labels import Wanted, place
from smartrt.benchmarks.study.panels import panels
from smartrt.benchmarks.study.plot import Plot, shortened
from smartrt.benchmarks.study.scale import Scale
from smartrt.errors import MissingDependencyError
from support import message_of

FRAME = Box(0, 0, 400, 300)
BLUE = (11, 95, 165)


def point(name, quality, ms, size=None, joules=None, **other):
    return {
        "name": name, "status": "ok", "message": None, "quality": quality, "p50_ms": ms, "bytes_per_document": size,
        "joules": joules, "ratio": 2.0, "ratio_interval": None, "noisy": False, "fronts": ["time", "bytes", "energy"],
    } | other  # fmt: skip


def study(*points):
    return {
        "title": "A study", "quality": "mean nDCG@10 over a set", "at": {"threads": 1, "cell": "query 1x32"},
        "reference": "PyTorch", "points": list(points),
        "latency": {"machine": {"cpu": "A processor", "cores": 4, "system": "Linux x86_64"}},
    }  # fmt: skip


THREE = (point("PyTorch", 0.7, 24.0), point("int8", 0.69, 8.0), point("slow", 0.68, 30.0, fronts=[]))


def drawn(path, *points):
    draw(study(*points), path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("costs", "shape"),
    [
        pytest.param({}, (1144, 2800), id="time alone"),
        pytest.param({"size": 900}, (1144, 2800), id="time and bytes side by side"),
        pytest.param({"size": 900, "joules": 0.3}, (2084, 2800), id="time, then bytes and energy"),
    ],
)
def test_the_picture_has_a_panel_for_each_cost_that_was_measured(tmp_path, costs, shape):
    image = drawn(tmp_path / "a.png", point("a", 0.7, 24.0, **costs), point("b", 0.6, 8.0, **costs))
    assert image.shape == (*shape, 3)
    assert (image == BLUE).all(axis=2).sum() > 500


def test_the_same_study_gives_the_same_bytes_and_another_one_does_not(tmp_path):
    for name, points in (("a", THREE), ("b", THREE), ("c", THREE[:2])):
        draw(study(*points), tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_noisy_point_is_drawn_hollow(tmp_path):
    full = drawn(tmp_path / "a.png", THREE[0], THREE[1])
    hollow = drawn(tmp_path / "b.png", THREE[0], THREE[1] | {"noisy": True})
    filled = [(image == BLUE).all(axis=2).sum() for image in (full, hollow)]
    assert filled[1] < filled[0] - 100


@pytest.mark.parametrize("name", ["$x^{$", "語" * 20, "a\nb\x00c", "\ud800", "x" * 500, ""])
def test_any_name_can_be_drawn(tmp_path, name):
    drawn(tmp_path / "a.png", point(name, 0.7, 24.0), THREE[1])


def test_a_study_without_a_sound_variant_gives_a_picture_that_says_so(tmp_path):
    image = drawn(tmp_path / "a.png", point("a", None, None, status="failed"))
    assert image.shape[1] == 2800
    assert not (image == BLUE).all(axis=2).any()


def test_without_matplotlib_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError) as raised:
        draw(study(*THREE), tmp_path / "a.png")
    message_of(raised.value, "pip install 'smartrt[bench]'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"status": "failed"}, id="failed"),
        pytest.param({"status": "wrong"}, id="wrong although it has numbers"),
        pytest.param({"quality": None}, id="without a quality"),
        pytest.param({"p50_ms": None}, id="without a time"),
        pytest.param({"p50_ms": 0.0}, id="with a time of 0, which a logarithmic axis does not have"),
    ],
)
def test_only_sound_variants_with_both_numbers_have_a_place(bad):
    (panel,) = panels(study(*THREE, point("bad", 0.9, 1.0) | bad))
    assert [mark.name for mark in panel.marks] == ["int8", "PyTorch", "slow"]
    assert panel.absent == ("bad",)


def test_noise_marks_times_and_energy_but_not_bytes():
    found = panels(study(point("a", 0.7, 24.0, 900, 0.3, noisy=True)))
    assert [(panel.cost.front, panel.marks[0].noisy) for panel in found] == [
        ("time", True), ("bytes", False), ("energy", True),
    ]  # fmt: skip


def test_the_front_is_a_staircase_of_what_each_cost_buys():
    (panel,) = panels(study(*THREE))
    plot = Plot.of(panel, FRAME, text_size)
    cheap, dear, _ = (spot.at for spot in plot.spots)
    assert plot.steps == (cheap, Place(dear.x, cheap.y), dear, Place(FRAME.right, dear.y))
    assert cheap.x < dear.x
    assert cheap.y > dear.y


ROWS = st.tuples(st.floats(0.01, 1e4), st.floats(-1, 1), st.booleans(), st.text(max_size=40))


@given(st.lists(ROWS, min_size=1, max_size=14))
def test_whatever_is_drawn_lies_within_the_axes_and_no_two_names_meet(rows):
    points = [point(name, quality, ms, fronts=["time"] * on) for ms, quality, on, name in rows]
    (panel,) = panels(study(*points))
    plot = Plot.of(panel, FRAME, text_size)
    assert len(plot.spots) == len(rows)
    for spot in plot.spots:
        assert Box.around(spot.at, 1, 1).inside(FRAME.grown(1))
        assert len(spot.name) <= len(shortened("x" * 99))
    marks = [Box.around(spot.at, 2 * spot.radius, 2 * spot.radius) for spot in plot.spots]
    check([spot.label for spot in plot.spots], marks, Box(FRAME.left, FRAME.top - 16, FRAME.right + 8, FRAME.bottom))
    assert all(FRAME.left <= tick.at <= FRAME.right for tick in plot.across)
    assert all(FRAME.top <= tick.at <= FRAME.bottom for tick in plot.up)


def check(labels, marks, frame=FRAME):
    """Raise AssertionError if a name leaves the frame, covers a name or a point, or if a leader runs through one."""
    shown = [label for label in labels if label]
    for label in shown:
        assert label.box.inside(frame)
        assert not any(label.box.overlaps(mark) for mark in marks)
    for one, other in itertools.permutations(shown, 2):
        assert not one.box.overlaps(other.box)
        assert one.leader is None or not one.leader.crosses(other.box)
        assert not (one.leader and other.leader and one.leader.meets(other.leader))


PLACES = st.builds(Place, st.floats(10, 390), st.floats(10, 290))
WANTED = st.builds(
    Wanted, PLACES, st.floats(1, 8), st.floats(1, 200), st.floats(8, 20), reach=st.sampled_from([0, 15, 180])
)


@given(st.lists(WANTED, max_size=14), st.lists(st.builds(Line, PLACES, PLACES), max_size=4))
def test_names_never_cover_each_other_or_a_point(wanted, lines):
    labels = place(wanted, FRAME, lines=lines)
    assert len(labels) == len(wanted)
    check(labels, [each.mark for each in wanted])


def test_names_in_a_crowd_are_led_to_their_points_past_each_other(rng):
    led = 0
    for _ in range(30):
        spots = rng.uniform((170, 120), (230, 180), (12, 2))
        wanted = [
            Wanted(Place(*spot), 4, width, 12) for spot, width in zip(spots, rng.uniform(30, 90, 12), strict=True)
        ]
        labels = place(wanted, FRAME)
        led += sum(label is not None and label.leader is not None for label in labels)
        check(labels, [each.mark for each in wanted])
    assert led > 100


@pytest.mark.parametrize("names", [2, 3, 4])
def test_points_on_one_spot_all_get_a_name(names):
    wanted = [Wanted(Place(200, 150), 4, 80, 12)] * names
    labels = place(wanted, FRAME)
    assert all(labels)
    check(labels, [each.mark for each in wanted])


def test_the_check_of_names_sees_names_that_overlap():
    near = [Wanted(Place(200, 150), 4, 80, 12), Wanted(Place(205, 152), 4, 80, 12)]
    alone = [place([each], FRAME)[0] for each in near]
    with pytest.raises(AssertionError):
        check(alone, [each.mark for each in near])


def test_a_name_beyond_its_reach_is_left_out_and_who_comes_first_is_named():
    crowd = [Wanted(Place(x, 150), 4, 120, 12, reach=8) for x in range(180, 222, 6)]
    labels = place(crowd, FRAME)
    assert labels[0]
    assert None in labels


def test_a_name_that_found_no_good_place_chooses_first_in_the_next_try():
    # The wide name takes the only strip that the small one has, unless the small one goes first.
    frame = Box(0, 0, 200, 40)
    wide, small = Wanted(Place(30, 20), 4, 120, 12), Wanted(Place(160, 20), 4, 60, 12, reach=8)
    labels = place([wide, small], frame)
    assert all(labels)
    check(labels, [wide.mark, small.mark], frame)


def test_an_optional_name_is_left_out_rather_than_struck_out():
    lines = [Line(Place(0, y), Place(400, y)) for y in range(0, 301, 8)]
    for optional in (False, True):
        (label,) = place([Wanted(Place(200, 150), 4, 80, 12, optional=optional)], FRAME, lines=lines)
        assert (label is None) is optional


def test_a_name_keeps_off_a_line_where_it_can():
    line = Line(Place(0, 150), Place(400, 150))
    (label,) = place([Wanted(Place(200, 150), 4, 80, 12)], FRAME, lines=[line])
    assert label
    assert not line.crosses(label.box)


@given(PLACES, PLACES, PLACES, st.floats(5, 100), st.floats(5, 100))
def test_a_line_crosses_a_box_where_one_of_its_places_is_inside(start, end, centre, width, height):
    box = Box.around(centre, width, height)
    along = [Place(*(a + (b - a) * step / 200 for a, b in zip(start, end, strict=True))) for step in range(201)]
    if any(box.left < each.x < box.right and box.top < each.y < box.bottom for each in along):
        assert Line(start, end).crosses(box)
    if not Line(start, end).crosses(box.grown(1)):
        assert not any(Box.around(each, 0.01, 0.01).overlaps(box) for each in along)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=9), st.booleans())
def test_an_axis_holds_its_values_and_its_ticks(values, log):
    scale = Scale.around(values, log=log)
    assert all(0.06 < scale.at(value) < 0.94 for value in values)
    assert math.isclose(scale.at(scale.low), 0, abs_tol=1e-9)
    assert math.isclose(scale.at(scale.high), 1)
    ticks = scale.ticks(6)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 7
    assert all(scale.low <= tick <= scale.high for tick in ticks)


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        pytest.param([0.62, 0.68], False, [0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68], id="linear"),
        pytest.param([1.5, 2000], True, [1, 10, 100, 1000], id="decades"),
        pytest.param([3.4, 31], True, [3, 10, 30], id="1 and 3"),
        pytest.param([7.0, 13.0], True, [6, 7, 8, 9, 10, 15], id="less than a decade"),
    ],
)
def test_ticks_are_round_numbers(values, log, ticks):
    assert Scale.around(values, log=log).ticks() == ticks


def test_widths_of_letters_are_those_of_helvetica():
    assert text_size("int8", 1000)[0] == pytest.approx((222 + 556 + 278 + 556) * 1.02)
    assert text_size("語", 1000)[0] > text_size("é", 1000)[0] > text_size("i", 1000)[0]
