"""The lock of those who record CUDA graphs: one is alone, all others go side by side, and nobody waits forever."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from smartrt.engines.captures import CaptureLock
from threads import A_WHILE, SOON, Started


def entered(manager, then=lambda: None):
    """Enter `manager` in another thread, do something, and leave."""

    def call():
        with manager:
            then()
        return True

    return Started(call)


def test_who_shares_goes_side_by_side():
    lock, meet = CaptureLock(), threading.Barrier(4, timeout=SOON)
    threads = [entered(lock.shared(), meet.wait) for _ in range(4)]
    assert all(thread.result() for thread in threads)


@pytest.mark.parametrize("mine", ["shared", "exclusive"])
@pytest.mark.parametrize("other", ["shared", "exclusive"])
def test_who_records_is_alone(mine, other):
    lock = CaptureLock()
    with getattr(lock, mine)():
        thread = entered(getattr(lock, other)())
        assert thread.waits is ("exclusive" in (mine, other))
    assert thread.result()


@pytest.mark.parametrize(
    "ways",
    [("shared", "shared"), ("exclusive", "shared"), ("exclusive", "exclusive"), ("exclusive", "shared", "exclusive")],
    ids=" > ".join,
)
def test_a_thread_that_holds_it_may_take_it_again(ways):
    lock = CaptureLock()

    def nested(first, *rest):
        with getattr(lock, first)():
            if rest:
                nested(*rest)
            thread = entered(lock.exclusive())
            assert thread.waits
            waiting.append(thread)
        return True

    waiting = []
    assert Started(lambda: nested(*ways)).result()
    assert all(thread.result() for thread in waiting)


def test_who_shares_may_share_again_though_somebody_waits_to_record():
    lock = CaptureLock()
    with lock.shared():
        recorder = entered(lock.exclusive())
        assert recorder.waits
        with lock.shared():  # a deadlock if it waited its turn
            assert recorder.waits
    assert recorder.result()


def test_who_waits_to_record_is_not_overtaken():
    lock, order = CaptureLock(), []
    with lock.shared():
        recorder = entered(lock.exclusive(), lambda: order.append("recorder"))
        assert recorder.waits
        late = entered(lock.shared(), lambda: order.append("late"))
        assert late.waits
    assert recorder.result()
    assert late.result()
    assert order == ["recorder", "late"]


def test_who_shares_cannot_begin_to_record():
    lock = CaptureLock()
    with lock.shared(), pytest.raises(RuntimeError), lock.exclusive():
        pass
    assert entered(lock.exclusive()).result()


@pytest.mark.parametrize("way", ["shared", "exclusive"])
def test_an_error_inside_lets_it_go(way):
    lock = CaptureLock()
    with pytest.raises(KeyError), getattr(lock, way)():
        raise KeyError
    assert entered(lock.exclusive()).result()


def test_an_interruption_while_waiting_to_record_lets_others_go_on(monkeypatch):
    lock, waiting = CaptureLock(), []
    wait_for = lock._changed.wait_for

    def interrupted(condition):
        waiting.append(condition)
        if len(waiting) > 1:
            return wait_for(condition)
        wait_for(condition, timeout=4 * A_WHILE)
        raise KeyboardInterrupt

    def record():
        with pytest.raises(KeyboardInterrupt), lock.exclusive():
            pass
        return True

    with lock.shared():
        monkeypatch.setattr(lock._changed, "wait_for", interrupted)
        recorder, late = Started(record), entered(lock.shared())
        assert late.waits
        assert recorder.result()
        assert late.result()
    assert entered(lock.exclusive()).result()


def test_many_threads_never_break_the_rule():
    lock, inside, broken = CaptureLock(), [], []

    def work(seed):
        choose = np.random.default_rng(seed)
        for _ in range(60):
            way = choose.choice(["shared", "shared", "exclusive"])
            with getattr(lock, way)():
                inside.append(way)
                now = list(inside)
                broken.extend(now if "exclusive" in now and len(now) > 1 else [])
                time.sleep(float(choose.random()) * 1e-4)
                with lock.shared():
                    inside.remove(way)
        return True

    threads = [Started(lambda seed=seed: work(seed)) for seed in range(8)]
    assert all(thread.result() for thread in threads)
    assert broken == []
