"""The CUDA layer on a real GPU: what the fake only claims."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from smartrt.cuda import Cuda
from smartrt.errors import DeviceError, DeviceMemoryError, MissingDependencyError

pytestmark = pytest.mark.gpu

NBYTES = 1 << 20


@pytest.fixture(scope="module")
def cuda():
    try:
        opened = Cuda.open()
    except (DeviceError, MissingDependencyError) as error:
        pytest.skip(f"no GPU: {error}")
    with opened:
        yield opened


@pytest.fixture
def stream(cuda):
    with cuda.stream() as opened:
        yield opened


@pytest.fixture
def values(rng):
    return rng.integers(0, 256, NBYTES, np.uint8)


def test_the_gpu_says_what_it_is(cuda):
    assert cuda.properties.name.isprintable()
    assert cuda.properties.capability >= (5, 0)
    free, total = cuda.memory()
    assert 0 < free <= total == cuda.properties.total_memory
    assert 12000 <= cuda.version < 14000


@pytest.mark.parametrize("mapped", [False, True])
def test_bytes_go_there_and_back(cuda, stream, values, mapped):
    with cuda.buffer(NBYTES, mapped=mapped) as first, cuda.buffer(NBYTES, mapped=mapped) as second:
        first.host[:] = values
        second.host[:] = 0
        first.upload(NBYTES, stream)
        cuda.copy(first.address, second.address, NBYTES, stream)
        second.download(NBYTES, stream)
        stream.synchronize()
        np.testing.assert_array_equal(second.host, values)


def test_a_captured_graph_runs_again_and_again(cuda, stream, values):
    with cuda.buffer(NBYTES, mapped=False) as first, cuda.buffer(NBYTES, mapped=False) as second:

        def work():
            first.upload(NBYTES, stream)
            cuda.copy(first.address, second.address, NBYTES, stream)
            second.download(NBYTES, stream)

        with stream.capture(work) as graph:
            for each in (values, values[::-1]):
                first.host[:] = each
                graph.launch(stream)
                stream.synchronize()
                np.testing.assert_array_equal(second.host, each)


def test_a_capture_that_fails_leaves_the_stream_usable(cuda, stream):
    for work in (stream.synchronize, lambda: cuda.buffer(1), list):
        with pytest.raises(DeviceError):
            stream.capture(work)
        stream.synchronize()
    assert not cuda.lost


def test_other_threads_use_the_same_gpu(cuda, stream, values):
    with ThreadPoolExecutor(1) as other, cuda.buffer(NBYTES) as buffer:
        buffer.host[:] = values
        other.submit(buffer.upload, NBYTES, stream).result()
        other.submit(stream.synchronize).result()


def test_more_memory_than_there_is_is_refused(cuda):
    with pytest.raises(DeviceMemoryError, match="asked"):
        cuda.buffer(cuda.memory()[1] * 2, host=False)
    cuda.buffer(1).close()
