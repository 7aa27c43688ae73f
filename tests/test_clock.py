"""The clock: wall and CPU seconds of stages, added up until they are taken."""

from __future__ import annotations

import time

import pytest

from smartrt.benchmarks.clock import Clock, in_order

SLEEP = 0.02


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_stage_that_sleeps_has_wall_time_and_hardly_any_cpu_time() -> None:
    clock = Clock()
    with clock.stage("sleep"):
        time.sleep(SLEEP)
    wall, cpu = clock.take()["sleep"]
    assert SLEEP <= wall < 50 * SLEEP
    assert 0 <= cpu < SLEEP / 2


def test_a_stage_that_computes_has_as_much_cpu_time() -> None:
    clock = Clock()
    with clock.stage("work"):
        burn(SLEEP)
    wall, cpu = clock.take()["work"]
    assert SLEEP <= cpu < 1.5 * SLEEP
    assert wall >= 0.9 * SLEEP


def test_a_stage_that_happens_twice_adds_up_and_stages_keep_the_order_they_began_in() -> None:
    clock = Clock()
    for name in ("b", "a", "b"):
        with clock.stage(name):
            time.sleep(SLEEP)
    taken = clock.take()
    assert list(taken) == ["b", "a"]
    assert taken["b"][0] >= 2 * SLEEP
    assert SLEEP <= taken["a"][0] < taken["b"][0]


def test_taking_starts_anew() -> None:
    clock = Clock()
    with clock.stage("once"):
        pass
    assert list(clock.take()) == ["once"]
    assert clock.take() == {}


def test_a_stage_that_fails_is_counted_and_the_error_goes_on() -> None:
    clock = Clock()

    def fail() -> None:
        time.sleep(SLEEP)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clock.timed("fails", fail)()
    assert clock.take()["fails"][0] >= SLEEP


def test_a_timed_function_keeps_its_name_arguments_and_result() -> None:
    clock = Clock()

    def power(base: int, *, exponent: int) -> int:
        return base**exponent

    timed = clock.timed("power", power)
    assert (timed(2, exponent=5), timed.__name__) == (32, "power")
    timed(2, exponent=5)
    assert list(clock.take()) == ["power"]


def test_a_stage_inside_a_stage_counts_to_both() -> None:
    clock = Clock()
    with clock.stage("outer"), clock.stage("inner"):
        time.sleep(SLEEP)
    taken = clock.take()
    assert taken["outer"][0] >= taken["inner"][0] >= SLEEP


def test_stages_are_put_in_the_order_they_run_in() -> None:
    assert in_order(["score", "vision", "decoder", "another", "preprocess", "score"]) == [
        "preprocess", "vision", "decoder", "score", "another",
    ]  # fmt: skip
