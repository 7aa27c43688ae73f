"""``auto``: the GPU where it is faster, the CPU where it fails; and what is kept on devices between searches."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from searching import cut
from smartrt import stages
from smartrt.errors import DeviceError, DeviceLostError, DeviceMemoryError, DeviceWarning, EngineError
from smartrt.scoring import device
from smartrt.scoring.choice import Quicker
from smartrt.scoring.device import DeviceScorer, close_late, late_on
from smartrt.scoring.storage import store
from smartrt.scoring.stored import late_of
from smartrt.search import SearchOptions, search
from support import embeddings, message_of


class Other:
    """A scorer elsewhere that fails after so many sets, and counts them."""

    def __init__(self, error, after=0):
        self.error, self.after, self.sets = error, after, 0

    def __call__(self, *arguments, **options):
        self.sets += 1
        if self.sets > self.after:
            raise self.error
        return late_of(*arguments, **options)


def sets(*sizes):
    queries = embeddings([4]).tokens
    return [(queries, store(embeddings([size], seed=1).tokens, "int16")) for size in sizes]


def score_all(quicker, jobs):
    """Score each set; the answers are those of the CPU."""
    for queries, stored in jobs:
        np.testing.assert_array_equal(quicker(queries, stored, threads=1), late_of(queries, stored, threads=1))


@pytest.mark.parametrize("error", [DeviceError, DeviceMemoryError, DeviceLostError])
@pytest.mark.parametrize("after", [0, 1, 3, 5], ids=lambda after: f"after {after} sets")
def test_a_device_that_fails_is_a_warning_and_the_cpu_answers(error, after):
    there, now = Other(error("too little memory"), after), [0.0]

    def here(*arguments, **options):
        now[0] += 1.0  # the device takes no time: after three sets it scores alone
        return late_of(*arguments, **options)

    quicker = Quicker(here, there, lambda: now[0])
    with pytest.warns(DeviceWarning) as caught:
        score_all(quicker, sets(20) * 10)
    assert len(caught) == 1
    message_of(caught[0].message, "on the CPU", "too little memory")
    assert there.sets == after + 1, "it was asked again after it failed"


def test_other_sizes_are_still_tried_and_nobody_is_warned_again():
    there = Other(DeviceMemoryError("too little memory"))
    quicker = Quicker(late_of, there)
    with pytest.warns(DeviceWarning) as caught:
        score_all(quicker, sets(20, 200, 2000) * 3)
    assert (there.sets, len(caught)) == (3, 1)


def test_what_is_no_error_of_the_device_is_raised():
    quicker, ((queries, stored),) = Quicker(late_of, Other(EngineError("this engine is closed"))), sets(20)
    with pytest.raises(EngineError, match="closed"):
        quicker(queries, stored, threads=1)


def test_an_error_of_the_cpu_is_raised():
    def here(*_, **__):
        raise EngineError("the CPU failed")

    ((queries, stored),) = sets(20)
    with pytest.raises(EngineError, match="the CPU"):
        Quicker(here, Other(DeviceError("none")))(queries, stored, threads=1)


# What is opened.


@pytest.fixture
def opened(monkeypatch):
    """Scorers of the CPU under the names of GPUs, and what was opened."""
    names, true = [], DeviceScorer.open.__func__

    def open_here(cls, storage, name):
        names.append((name, storage))
        return true(cls, storage, "cpu")

    monkeypatch.setattr(device, "_SCORERS", device._Scorers())
    monkeypatch.setattr(DeviceScorer, "open", classmethod(open_here))
    yield names
    close_late()


def test_one_gpu_is_opened_once_whatever_it_is_called(opened):
    first = late_on("cuda", "int16")
    assert late_on("cuda:0", "int16", 8) is first
    auto = late_on("auto", "int16")
    assert isinstance(auto, Quicker)
    assert late_on("auto", "int16", 8) is auto
    assert opened == [("cuda", "int16")]
    assert late_on("cuda:1", "int16") is not first
    assert late_on("cuda", "int8") is not first
    assert opened == [("cuda", "int16"), ("cuda:1", "int16"), ("cuda", "int8")]


def test_threads_that_come_at_once_open_one_session(opened, monkeypatch):
    slow, meet = DeviceScorer.open.__func__, threading.Barrier(4, timeout=10)

    def open_slowly(cls, storage, name):
        threading.Event().wait(0.05)
        return slow(cls, storage, name)

    monkeypatch.setattr(DeviceScorer, "open", classmethod(open_slowly))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: meet.wait() >= 0 and late_on(name, "int16"), ["cuda", "cuda:0"] * 2))
    assert len(set(map(id, found))) == 1
    assert len(opened) == 1


def test_what_was_opened_can_be_closed_and_opens_again(opened):
    (queries, stored), *_ = sets(20)
    for name in ("cuda", "auto"):
        scorer = late_on(name, "int16")
        wanted = scorer(queries, stored, threads=1)
        close_late()
        close_late()
        with pytest.raises(EngineError, match="closed"):
            scorer(queries, stored, threads=1)
        np.testing.assert_array_equal(late_on(name, "int16")(queries, stored, threads=1), wanted)
    assert len(opened) == 3


# A device that rounds.


@pytest.fixture
def rounding(opened, monkeypatch):  # noqa: ARG001  (its scorers are those that round)
    """GPUs that multiply in TF32, and what they were given."""
    true, runs = DeviceScorer.run, []

    def run(self, codes, query):
        runs.append(codes.shape)
        return true(self, codes, (query.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32))

    monkeypatch.setattr(DeviceScorer, "run", run)
    return runs


def test_auto_is_the_cpu_where_the_gpu_rounds_and_the_gpu_is_refused(rounding):
    for _ in range(3):
        assert late_on("auto", "float32", 8) is late_of
        with pytest.raises(DeviceError, match="TF32"):
            late_on("cuda", "float32", 8)
    assert rounding == [(64, 8, 8)], "it is tried once for each dim"
    assert late_on("auto", "float32", 24) is late_of
    assert rounding[1:] == [(64, 8, 24)]


@pytest.mark.usefixtures("rounding")
def test_a_search_with_auto_answers_where_the_gpu_rounds(monkeypatch):
    queries, parts = embeddings([5]), cut(embeddings([9] * 20, seed=1), (), "int16")
    wanted = search(queries, parts, k=3)
    monkeypatch.setattr(stages, "late_on", lambda name, storage, *dim: late_on(name, storage, *dim or (8,)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)
        assert search(queries, parts, k=3, options=SearchOptions(device="auto")) == wanted
    with pytest.raises(DeviceError, match="TF32"):
        search(queries, parts, k=3, options=SearchOptions(device="cuda"))
