"""What TensorRT tells while it builds, as events that people and programs can read."""

from __future__ import annotations

import io
import json
import threading

import pytest

from smartrt.tensorrt.advice import advice_on, is_memory_trouble
from smartrt.tensorrt.listeners import MAX_MESSAGE, STEP_SECONDS, Events, Journal, Progress

ERROR, WARNING, INFO = 1, 2, 3


@pytest.fixture
def sink():
    return io.BytesIO()


@pytest.fixture
def events(sink):
    return Events(sink)


def told(sink):
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def test_events_of_many_threads_are_whole_lines(events, sink):
    threads = [threading.Thread(target=events.send, args=("note",), kwargs={"message": "é" * 300}) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told(sink) == [{"event": "note", "message": "é" * 300}] * 16


def test_a_closed_reader_is_remembered_and_never_raises(events, sink):
    sink.close()
    events.send("note", message="x")
    assert events.abandoned
    assert not Progress(events).step("a phase", 0)


def test_information_is_no_note_and_neither_is_harmless_noise(events, sink):
    journal = Journal(events)
    journal.hear(INFO, "Detected 3 inputs")
    journal.hear(WARNING, "ModelImporter.cpp:1071: Make sure input input_ids has Int64 binding.")
    assert (told(sink), journal.heard) == ([], 0)


def test_a_long_message_of_many_lines_is_one_line_and_cut(events, sink):
    Journal(events).hear(WARNING, "x\n" * 5000)
    (note,) = told(sink)
    assert len(note["message"]) == MAX_MESSAGE
    assert "\n" not in note["message"]


def test_memory_is_the_cause_whatever_else_went_wrong(events):
    journal = Journal(events)
    for text in ("first", "Error Code 1: Cuda Runtime (out of memory)", "Unable to load library: libx.so.1"):
        journal.hear(ERROR, text)
    assert journal.cause()[0] == "memory"
    assert journal.cause(since=2) == ("missing", "libx.so.1")
    assert journal.cause(since=3) == ("build", "")


def test_without_memory_trouble_the_first_error_is_the_cause(events):
    journal = Journal(events)
    for text in ("earlier", "root", "what follows"):
        journal.hear(ERROR, text)
    assert journal.cause(since=1) == ("build", "root")


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("NvMapMemAllocInternalTagged: 1075072515 error 12", True),
        ("NvMapMemHandleAlloc: error 0", True),
        ("cma_alloc: reserved: alloc failed, req-size: 1024 pages, ret: -12", True),
        ("Error Code 2: OutOfMemory (Requested size was 6230016 bytes.)", True),
        ("[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (out of memory)", True),
        ("Requested amount of GPU memory (64 bytes) could not be allocated.", True),
        ("std::bad_alloc", True),
        ("Total Activation Memory: 8249856 bytes", False),
        ("Error Code 10: Could not find any implementation for node {ForeignNode[...]}", False),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_many_ways_to_say_that_memory_ran_out(text, trouble):
    assert is_memory_trouble(text) is trouble


def test_progress_is_told_ten_times_a_second_and_the_outermost_phase_always(events, sink):
    now = [0.0]
    progress = Progress(events, lambda: now[0])
    progress.start("build", None, 2)
    progress.start("clone", "build", 4)
    for i in range(4):
        now[0] += STEP_SECONDS / 2
        assert progress.step("clone", i)
    progress.finish("clone")
    assert progress.step("build", 0)
    progress.finish("build")
    steps = [(event["name"], event["step"], event["of"]) for event in told(sink)]
    assert steps == [("build", 0, 2), ("clone", 2, 4), ("clone", 4, 4), ("build", 1, 2)]


def test_a_step_of_a_phase_that_nobody_began_is_no_crash(events):
    assert Progress(events).step("unknown", 3)


def test_only_what_is_known_is_advised():
    assert advice_on("no importer", "Relu") == ""
    assert "--dialect portable" in advice_on("no importer", "RMSNormalization")
    assert "--compute fp16" in advice_on("Quantized constant (codes) is only allowed before DQ")
