"""From readings to joules: integrals, counters that wrap, what fails, the thread, and the reading of one file."""

from __future__ import annotations

import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.benchmarks.sensors import Meter, Sampling, joules_between
from smartrt.benchmarks.sensors.base import SensorError, distinct, find_program, list_names, read_integer, read_name
from smartrt.benchmarks.sensors.gauges import CounterGauge, GaugeMeter, Integral, PowerGauge, Ticker
from smartrt.errors import OptionError
from support import message_of

times = st.lists(st.floats(0, 1000), min_size=2, max_size=40, unique=True).map(sorted)


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Scripted:
    """A sensor that answers one value after the other; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def integrate(samples):
    integral = Integral()
    for seconds, watts in samples:
        integral.add(seconds, watts)
    return integral.joules


@given(times, st.floats(0, 100), st.floats(0, 10))
def test_the_integral_of_a_line_is_exact_however_the_samples_lie(when, start, slope):
    found = integrate((t, start + slope * t) for t in when)
    first, last = when[0], when[-1]
    assert found == pytest.approx(start * (last - first) + slope * (last**2 - first**2) / 2, rel=1e-9, abs=1e-6)


@given(st.integers(200, 800), st.floats(0, 6))
def test_the_integral_of_a_curve_errs_by_no_more_than_the_trapezoid_rule_allows(count, phase):
    step = 10 / count
    found = integrate((i * step, 5 + 3 * math.sin(i * step + phase)) for i in range(count + 1))
    exact = 50 + 3 * (math.cos(phase) - math.cos(10 + phase))
    assert abs(found - exact) <= 10 * step**2 / 12 * 3 + 1e-9  # (b - a) h^2 / 12 max|f''|


@given(st.lists(st.tuples(st.floats(-1000, 1000), st.floats(-1e6, 1e6)), max_size=30))
def test_an_integral_never_decreases_whatever_it_is_given(samples):
    integral, last = Integral(), 0.0
    for seconds, watts in samples:
        integral.add(seconds, watts)
        assert integral.joules >= last
        last = integral.joules


def test_one_sample_is_no_energy_and_a_negative_power_is_none():
    assert integrate([(3, 100)]) == 0
    assert integrate([(0, -5), (2, -5), (4, 10)]) == 10


def count(*readings, wraps_at=1_000_000, seconds=1.0):
    clock = Clock()
    gauge = CounterGauge(Scripted(*readings), 1e-3, wraps_at, clock)
    for _ in readings:
        gauge.update()
        clock.now += seconds
    return gauge.joules


def test_a_counter_starts_at_its_first_reading():
    assert count(5_000) == 0
    assert count(5_000, 6_500, 9_000) == pytest.approx(4)


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=40), st.integers(0, 999_999))
def test_a_counter_that_wraps_counts_every_step(steps, start):
    readings = [start]
    for step in steps:
        readings.append((readings[-1] + step) % 1_000_000)
    assert count(*readings) == pytest.approx(sum(steps) / 1000)


REFUSED = {
    "it goes backwards and has no range": ((500_000, 400_000), None),
    "it was set back: a wrap would be 250 kJ in a second": ((300_000_000, 50_000_000), 500_000_000),
    "it leaps ahead by more than hardware can spend": ((0, 400_000_000), 500_000_000),
    "it is negative": ((-1,), 1_000_000),
    "it is past its range": ((1_000_001,), 1_000_000),
}


@pytest.mark.parametrize(("readings", "wraps_at"), REFUSED.values(), ids=REFUSED)
def test_a_reading_that_cannot_be_true_is_refused(readings, wraps_at):
    with pytest.raises(SensorError) as caught:
        count(*readings, wraps_at=wraps_at)
    message_of(caught.value, "the energy counter", str(readings[-1]))


def test_what_hardware_can_spend_in_the_time_is_believed():
    assert count(300_000_000, 50_000_000, wraps_at=500_000_000, seconds=60) == pytest.approx(250_000)


def test_a_gauge_that_fails_is_dropped_with_its_reason_and_the_others_go_on():
    clock = Clock()
    good = CounterGauge(Scripted(0, 1000, 2000, 3000), 1e-3, None, clock)
    bad = CounterGauge(Scripted(0, 500, SensorError("it is gone")), 1e-3, None, clock)
    meter: Meter = GaugeMeter.open("RAPL", {"good": good, "bad": bad}, total=["good", "bad"])
    assert (meter.domains, meter.total, meter.lost) == (("good", "bad"), ("good", "bad"), {})
    assert meter.joules() == pytest.approx({"good": 1, "bad": 0.5})
    assert meter.joules() == pytest.approx({"good": 2})
    assert (meter.domains, meter.total, meter.lost) == (("good",), (), {"bad": "it is gone"})
    assert meter.joules() == pytest.approx({"good": 3})


def test_what_may_not_be_added_up_may_fail_without_the_total():
    gauges = {"whole": PowerGauge(Scripted(1.0), Clock()), "part": PowerGauge(Scripted(SensorError("no")), Clock())}
    meter = GaugeMeter.open("INA3221", gauges, total=["whole"])
    assert (meter.domains, meter.total, meter.lost) == (("whole",), ("whole",), {"part": "no"})


def test_a_meter_of_which_nothing_can_be_read_does_not_open():
    broken = {name: PowerGauge(Scripted(SensorError(f"{name} fails")), Clock()) for name in ("first", "second")}
    with pytest.raises(SensorError, match="first fails"):
        GaugeMeter.open("INA3221", broken)
    with pytest.raises(SensorError, match="nothing to read"):
        GaugeMeter.open("INA3221", {})


BUSY = SensorError("the bus is busy")


def test_a_few_failures_of_a_power_sensor_are_bridged_at_their_real_length():
    clock = Clock()
    meter = GaugeMeter.open("INA3221", {"rail": PowerGauge(Scripted(2.0, *[BUSY] * 4, 4.0, *[BUSY] * 5), clock)})
    for _ in range(4):
        clock.now += 1
        assert meter.joules() == {"rail": 0}
    clock.now += 1
    assert meter.joules() == {"rail": 15}  # 5 s at 3 W on average
    for _ in range(4):
        assert meter.joules() == {"rail": 15}
    assert meter.joules() == {}
    assert meter.lost == {"rail": "the bus is busy"}


def test_a_closed_meter_reads_no_more_and_releases_once():
    released = []
    gauge = CounterGauge(Scripted(0, 7), 1.0, None, Clock())
    meter = GaugeMeter.open("NVML", {"GPU": gauge}, release=lambda: released.append(1))
    assert meter.joules() == {"GPU": 7}
    meter.close()
    meter.close()
    assert meter.joules() == {"GPU": 7}
    assert released == [1]


def named_threads():
    return [thread for thread in threading.enumerate() if thread.name == "smartrt-energy"]


def test_the_thread_samples_by_itself_and_really_stops():
    calls = []
    meter = GaugeMeter.open(
        "INA3221", {"r": PowerGauge(lambda: calls.append(1) or 1.0, time.monotonic)}, interval=0.001
    )
    assert all(thread.daemon for thread in named_threads())
    assert len(named_threads()) == 1
    deadline = time.monotonic() + 5
    while len(calls) < 10 and time.monotonic() < deadline:
        time.sleep(0.002)
    meter.close()
    taken = len(calls)
    assert taken >= 10
    assert named_threads() == []
    time.sleep(0.01)
    assert len(calls) == taken
    assert meter.joules()["r"] > 0


def test_a_thread_that_hangs_in_the_kernel_does_not_hold_the_end_up():
    stuck, entered = threading.Event(), threading.Event()
    ticker = Ticker.start(lambda: (entered.set(), stuck.wait(20)), 0.001)
    assert entered.wait(5)
    ticker.stop(wait=0.05)
    assert ticker._thread.is_alive()
    stuck.set()
    ticker.stop()
    assert not ticker._thread.is_alive()


def test_without_an_interval_there_is_no_thread():
    meter = GaugeMeter.open("INA3221", {"r": PowerGauge(lambda: 1.0, time.monotonic)}, interval=0)
    assert named_threads() == []
    meter.close()


@pytest.mark.parametrize("interval", [-0.1, math.nan, math.inf])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(OptionError) as caught:
        Sampling(interval=interval)
    message_of(caught.value, str(interval))


def test_differences_are_of_the_domains_that_both_have():
    assert joules_between({"a": 1, "lost": 5}, {"a": 3.5, "new": 9}) == {"a": 2.5}
    assert joules_between({}, {"a": 1}) == {}


UNREADABLE = {"empty": b"", "white": b" \n", "words": b"<unknown>\n", "fraction": b"1.5", "binary": b"\xff\x00\x07",
              "huge": b"9" * 5000, "two": b"1 2", "digits": "٣".encode()}  # fmt: skip


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_integer_is_one_line_with_the_path(tmp_path, content):
    path = tmp_path / "energy_uj"
    path.write_bytes(content)
    with pytest.raises(SensorError) as caught:
        read_integer(path)
    message_of(caught.value, str(path))


def test_a_file_that_cannot_be_opened_is_one_line_with_the_path(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SensorError) as caught:
            read_integer(path)
        message_of(caught.value, f"{path} cannot be read")


def test_a_file_of_another_user_says_how_to_be_let_in(monkeypatch, tmp_path):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(SensorError) as caught:
        read_integer(tmp_path / "energy_uj")
    message_of(caught.value, "not readable for this user", f"sudo chmod a+r {tmp_path}/energy_uj")


def test_integers_and_names_are_read_without_what_surrounds_them(tmp_path):
    path = tmp_path / "value"
    path.write_bytes(b"-42\n")
    assert read_integer(path) == -42
    path.write_bytes(b"NVIDIA \x1b[2JOrin\0")
    assert read_name(path) == "NVIDIA ?[2JOrin"
    path.write_bytes(b"x" * 4000)
    assert len(read_name(path)) == 120


def test_small_helpers(tmp_path):
    assert list(distinct(["a", "b", "a", "a"])) == ["a", "b", "a #2", "a #3"]
    assert find_program("python3", tmp_path) is None
    with pytest.raises(SensorError, match="there is no"):
        list_names(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(SensorError, match="cannot be listed"):
        list_names(tmp_path / "file")
