"""Streams and graphs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fake_cuda import FakeCudart
from smartrt.cuda import Cuda
from smartrt.errors import DeviceError, DeviceLostError, DeviceMemoryError
from support import message_of


@pytest.fixture
def fake():
    return FakeCudart()


@pytest.fixture
def cuda(fake):
    return Cuda.open(library=fake)


@pytest.fixture
def stream(cuda):
    return cuda.stream()


@pytest.fixture
def doubled(fake, cuda, stream):
    """A buffer, and work that uploads it, doubles it and brings it back."""
    buffer = cuda.buffer(4)

    def double():
        values = fake.array(buffer.address, 4)
        np.multiply(values, 2, out=values)

    def work():
        buffer.upload(4, stream)
        fake.enqueue(double, stream.address)
        buffer.download(4, stream)

    buffer.host[:] = [1, 2, 3, 4]
    return buffer, work


def test_streams_are_different_and_do_not_wait_for_the_default_one(cuda):
    streams = [cuda.stream(), cuda.stream()]
    assert len({each.address for each in streams}) == 2
    assert all(each.address > 1 << 32 for each in streams)


def test_a_closed_stream_has_no_address(stream):
    # Address 0 would be the default stream, and look as if it worked.
    stream.close()
    for use in (lambda: stream.address, stream.synchronize, lambda: stream.capture(list)):
        with pytest.raises(DeviceError, match="this stream on GPU 0 is closed"):
            use()


def test_a_graph_runs_what_was_captured_again_and_again(stream, doubled):
    buffer, work = doubled
    graph = stream.capture(work)
    stream.synchronize()
    assert buffer.host.tolist() == [1, 2, 3, 4]
    for expected in ([2, 4, 6, 8], [4, 8, 12, 16]):
        graph.launch(stream)
        stream.synchronize()
        assert buffer.host.tolist() == expected


def test_a_graph_reads_what_is_in_the_buffer_then(cuda, stream, doubled):
    buffer, work = doubled
    graph = stream.capture(work)
    buffer.host[:] = 7
    other = cuda.stream()
    graph.launch(other)
    other.synchronize()
    assert buffer.host.tolist() == [14] * 4


def test_only_the_launchable_graph_is_kept(fake, stream, doubled):
    graph = stream.capture(doubled[1])
    assert fake.live["graph"] == 1
    graph.close()
    graph.close()
    assert "graph" not in fake.live
    with pytest.raises(DeviceError, match="this captured graph on GPU 0 is closed"):
        graph.launch(stream)


def works_again(fake, stream, doubled):
    """Whether the stream takes work and captures, and nothing of a failed capture is left."""
    buffer, work = doubled
    assert "graph" not in fake.live
    work()
    stream.synchronize()
    assert buffer.host.tolist() == [2, 4, 6, 8]
    stream.capture(work).close()


def test_work_that_cannot_be_captured_leaves_the_stream_usable(fake, stream, doubled):
    with pytest.raises(DeviceError) as caught:
        stream.capture(lambda: fake.break_capture(stream.address))
    message_of(caught.value, "cannot be captured", "cudaStreamEndCapture", "(901,", "run it without")
    works_again(fake, stream, doubled)


@pytest.mark.parametrize("forbidden", ["synchronize", "buffer"])
def test_work_that_waits_or_allocates_cannot_be_captured(fake, cuda, stream, doubled, forbidden):
    what = {"synchronize": stream.synchronize, "buffer": lambda: cuda.buffer(8)}
    with pytest.raises(DeviceError, match="cannot be captured as a CUDA graph"):
        stream.capture(what[forbidden])
    works_again(fake, stream, doubled)


@pytest.mark.parametrize("kind", [DeviceError, ZeroDivisionError, KeyboardInterrupt])
def test_the_error_of_the_work_itself_is_the_one_that_comes_out(fake, stream, doubled, kind):
    def work():
        doubled[1]()
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        stream.capture(work)
    works_again(fake, stream, doubled)


def test_a_capture_of_nothing_is_an_error(fake, stream, doubled):
    # A launch would do nothing, and stale outputs would look like a result.
    with pytest.raises(DeviceError) as caught:
        stream.capture(lambda: None)
    message_of(caught.value, "nothing was enqueued on the stream of GPU 0")
    works_again(fake, stream, doubled)


@pytest.mark.parametrize(
    ("function", "code", "kind"),
    [
        ("cudaStreamBeginCapture", 900, DeviceError),
        ("cudaStreamEndCapture", 1, DeviceError),
        ("cudaGraphGetNodes", 1, DeviceError),
        ("cudaGraphInstantiate", 2, DeviceMemoryError),
    ],
)
def test_every_step_of_a_capture_may_fail(fake, stream, doubled, function, code, kind):
    fake.fail(function, code)
    with pytest.raises(kind):
        stream.capture(doubled[1])
    assert "graph" not in fake.live


def test_a_device_lost_during_a_capture_is_no_reason_to_fall_back(fake, cuda, stream, doubled):
    def work():
        doubled[1]()
        fake.lose()
        cuda.memory()

    with pytest.raises(DeviceLostError):
        stream.capture(work)
    cuda.close()


def test_other_threads_may_allocate_during_a_capture(cuda, stream, doubled):
    with ThreadPoolExecutor(1) as other:

        def work():
            doubled[1]()
            other.submit(lambda: cuda.buffer(8).close()).result()

        stream.capture(work).close()


def test_a_kernel_that_fails_shows_at_the_next_wait(fake, stream):
    fake.enqueue(lambda: fake.lose(700), stream.address)
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        stream.synchronize()
    stream.close()
