"""Threads that take tasks, and the BLAS that is held at one thread while they do."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartrt.errors import OptionError
from smartrt.scoring import blas as blas_module
from smartrt.scoring import workers
from smartrt.scoring.blas import Blas, better_kernels, find_blas, one_thread
from smartrt.scoring.workers import check_threads, run_tasks
from support import message_of, run_python

needs_blas = pytest.mark.skipif(find_blas() is None, reason="NumPy has no OpenBLAS here")


@pytest.fixture
def blas():
    """The BLAS at two threads, which it has again after the test or the test fails."""
    found = find_blas()
    before = found.get_threads()
    found.set_threads(2)
    yield found
    left = found.get_threads()
    found.set_threads(before)
    assert left == 2


# The BLAS.


@needs_blas
def test_the_blas_is_found_and_names_its_kernels(blas):
    assert isinstance(blas, Blas)
    assert blas.kernels
    assert find_blas() is blas


@pytest.mark.parametrize(("kernels", "small"), [("SkylakeX", True), ("Haswell", False), ("neoversen1", False)])
def test_only_some_kernels_have_a_path_for_small_products(kernels, small):
    assert Blas(kernels, lambda: 1, lambda _: None).small_products is small


AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}


@pytest.mark.parametrize(
    ("kernels", "flags", "better"),
    [
        ("Haswell", AVX512, "SkylakeX"),
        ("Zen", AVX512, "SkylakeX"),
        ("Haswell", AVX512 - {"avx512vl"}, None),
        ("Haswell", set(), None),
        ("SkylakeX", AVX512, None),
        ("neoversen1", set(), None),
    ],
)
def test_better_kernels_are_named_where_the_processor_has_them(kernels, flags, better, monkeypatch):
    monkeypatch.setattr(blas_module, "find_blas", lambda: Blas(kernels, lambda: 1, lambda _: None))
    monkeypatch.setattr(blas_module, "_cpu_flags", lambda: flags)
    assert better_kernels() == better
    monkeypatch.setattr(blas_module, "find_blas", lambda: None)
    assert better_kernels() is None


@needs_blas
def test_blas_is_held_and_gets_its_threads_back(blas):
    with one_thread() as held:
        assert held is True
        assert blas.get_threads() == 1
    assert blas.get_threads() == 2


@needs_blas
def test_a_hold_within_a_hold_ends_with_the_outer_one(blas):
    with one_thread():
        with one_thread() as held:
            assert held
        assert blas.get_threads() == 1
    assert blas.get_threads() == 2


@needs_blas
def test_a_hold_ends_with_an_error_too(blas):
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert blas.get_threads() == 2


@needs_blas
def test_holds_of_several_threads_end_with_the_last(blas):
    steps = threading.Barrier(4, timeout=20)
    seen = []

    def hold(order):
        steps.wait()
        with one_thread():
            steps.wait()
            time.sleep(0.02 * order)
            seen.append(blas.get_threads())
        return blas.get_threads()

    with ThreadPoolExecutor(4) as pool:
        after = list(pool.map(hold, range(4)))
    assert seen == [1] * 4
    assert 2 in after


def test_without_a_known_blas_nothing_is_held(monkeypatch):
    monkeypatch.setattr(blas_module, "find_blas", lambda: None)
    with one_thread() as held:
        assert held is False


@needs_blas
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_during_a_hold_gets_its_threads_back():
    result = run_python("""
import os, threading, warnings
import numpy
from smartrt.scoring.blas import find_blas, one_thread
warnings.simplefilter("ignore")
blas = find_blas()
blas.set_threads(2)
held, done = threading.Event(), threading.Event()
def hold():
    with one_thread():
        held.set()
        done.wait(20)
holder = threading.Thread(target=hold)
holder.start()
held.wait(20)
child = os.fork()
if not child:
    with one_thread():
        pass
    os._exit(blas.get_threads())
done.set()
holder.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (result.returncode, result.stdout.strip()) == (0, "2"), result.stderr


# Tasks.


@settings(max_examples=40)
@given(count=st.integers(0, 200), threads=st.integers(1, 12))
def test_every_task_is_done_once(count, threads):
    done = []
    run_tasks(done.append, iter(range(count)), threads)
    assert Counter(done) == Counter(range(count))


@needs_blas
def test_tasks_run_in_as_many_threads_as_were_asked_for_and_the_caller_is_one(blas):
    meeting = threading.Barrier(3, timeout=20)  # breaks unless three tasks run at the same time
    names = []

    def work(_):
        meeting.wait()
        names.append(threading.current_thread())
        assert blas.get_threads() == 1

    run_tasks(work, range(3), 3)
    assert len(set(names)) == 3
    assert threading.current_thread() in names


def test_one_thread_is_the_caller_and_keeps_the_order():
    done = []
    run_tasks(lambda task: done.append((task, threading.current_thread())), range(9), 1)
    assert done == [(task, threading.current_thread()) for task in range(9)]


def test_without_a_hold_on_the_blas_the_caller_works_alone(monkeypatch):
    monkeypatch.setattr(workers, "one_thread", lambda: contextlib.nullcontext(False))
    seen = []
    run_tasks(lambda _: seen.append(threading.current_thread()), range(20), 8)
    assert seen == [threading.current_thread()] * 20


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_is_raised_and_stops_the_others(threads):
    done = []

    def work(task):
        if task == 3:
            raise ValueError("the third")
        time.sleep(0.001)
        done.append(task)

    with pytest.raises(ValueError, match="the third"):
        run_tasks(work, range(5000), threads)
    assert len(done) < 2500
    again = []
    run_tasks(again.append, range(10), threads)
    assert sorted(again) == [*range(10)]


@needs_blas
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_in_another_thread_reaches_the_caller(kind, blas):
    caller, raised = threading.current_thread(), threading.Event()

    def work(_):
        if threading.current_thread() is caller:
            assert raised.wait(20)
            return
        raised.set()
        raise kind("elsewhere")

    with pytest.raises(kind, match="elsewhere"):
        run_tasks(work, range(100), 2)
    assert blas.get_threads() == 2


@needs_blas
def test_after_an_error_the_caller_still_waits_for_tasks_that_run():
    caller, begun, finished = threading.current_thread(), threading.Event(), []

    def work(task):
        if threading.current_thread() is caller:
            assert begun.wait(20)
            raise ZeroDivisionError
        begun.set()
        time.sleep(0.05)
        finished.append(task)

    with pytest.raises(ZeroDivisionError):
        run_tasks(work, range(2), 2)
    assert len(finished) == 1


def test_callers_at_the_same_time_do_not_wait_for_each_other_forever():
    def call(_):
        done = []
        run_tasks(done.append, range(50), 64)
        return len(done)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(64))) == [50] * 64


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_workers_of_its_own():
    result = run_python("""
import os, warnings
import numpy
from smartrt.scoring.workers import run_tasks
warnings.simplefilter("ignore")
run_tasks(lambda _: None, range(100), 4)
child = os.fork()
if not child:
    done = []
    run_tasks(done.append, range(100), 4)
    os._exit(len(done))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (result.returncode, result.stdout.strip()) == (0, "100"), result.stderr


# How many threads.


@pytest.mark.parametrize("threads", [1, 2, 256])
def test_a_count_of_threads_is_taken(threads):
    assert check_threads(threads) == threads


@pytest.mark.parametrize("threads", [0, -1, 257, 1.0, "2", True, False, float("nan")], ids=repr)
def test_what_is_no_count_of_threads_is_refused_with_the_limits(threads):
    with pytest.raises(OptionError) as caught:
        check_threads(threads)
    message_of(caught.value, "threads", "1 to 256", repr(threads))


def test_no_count_means_every_core_or_one_where_the_blas_cannot_be_held(monkeypatch):
    monkeypatch.setattr(workers, "find_blas", lambda: Blas("any", lambda: 1, lambda _: None))
    assert 1 <= check_threads(None) <= 256
    if hasattr(os, "sched_getaffinity"):
        assert check_threads(None) == min(len(os.sched_getaffinity(0)), 256)
    monkeypatch.setattr(workers, "find_blas", lambda: None)
    assert check_threads(None) == 1
