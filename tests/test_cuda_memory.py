"""Buffers: what is copied, what is shared, and that nothing leaks when an allocation fails."""

from __future__ import annotations

import numpy as np
import pytest

from fake_cuda import FakeCudart
from smartrt.cuda import Cuda
from smartrt.errors import DeviceError, DeviceMemoryError, InputError
from support import message_of

VALUES = np.arange(1, 9, dtype=np.uint8)


@pytest.fixture(params=[False, True], ids=["own memory", "integrated"])
def fake(request):
    return FakeCudart(integrated=request.param)


@pytest.fixture
def cuda(fake):
    return Cuda.open(library=fake)


@pytest.fixture
def stream(cuda):
    return cuda.stream()


def test_bytes_go_to_the_gpu_and_come_back(fake, cuda, stream):
    with cuda.buffer(8) as buffer:
        buffer.host[:] = VALUES
        buffer.upload(8, stream)
        fake.enqueue(
            lambda: np.add(fake.array(buffer.address, 8), 1, out=fake.array(buffer.address, 8)), stream.address
        )
        buffer.download(8, stream)
        stream.synchronize()
        np.testing.assert_array_equal(buffer.host, VALUES + 1)


def test_nothing_is_there_before_somebody_synchronises(fake, cuda, stream):
    with cuda.buffer(8) as buffer:
        buffer.host[:] = VALUES
        fake.enqueue(lambda: fake.array(buffer.address, 8).fill(9), stream.address)
        buffer.download(8, stream)
        np.testing.assert_array_equal(buffer.host, VALUES)
        stream.synchronize()
        np.testing.assert_array_equal(buffer.host, [9] * 8)


def test_only_a_gpu_with_its_own_memory_copies(fake, cuda, stream):
    with cuda.buffer(8) as buffer:
        buffer.upload(8, stream)
        buffer.download(8, stream)
        assert fake.calls.count("cudaMemcpyAsync") == (0 if fake.integrated else 2)
        assert buffer.mapped == fake.integrated
        assert fake.live == {"stream": 1, **({"mapped": 1} if fake.integrated else {"pinned": 1, "device": 1})}


@pytest.mark.parametrize("mapped", [False, True])
def test_a_caller_may_choose(fake, cuda, stream, mapped):
    with cuda.buffer(8, mapped=mapped) as buffer:
        assert buffer.mapped is mapped
        buffer.host[:] = VALUES
        buffer.upload(8, stream)
        stream.synchronize()
        np.testing.assert_array_equal(fake.array(buffer.address, 8), VALUES)
        assert fake.live == {"stream": 1, **({"mapped": 1} if mapped else {"pinned": 1, "device": 1})}


def test_a_part_is_copied_as_far_as_asked(fake, cuda, stream):
    with cuda.buffer(8, mapped=False) as buffer:
        fake.array(buffer.address, 8).fill(0)
        buffer.host[:] = VALUES
        buffer.upload(3, stream)
        stream.synchronize()
        np.testing.assert_array_equal(fake.array(buffer.address, 8), [1, 2, 3, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("mapped", [False, True])
def test_the_host_side_is_typed_by_a_view(cuda, mapped):
    with cuda.buffer(8, mapped=mapped) as buffer:
        assert buffer.host.dtype == np.uint8
        buffer.host[:8].view(np.int64)[0] = -2
        assert buffer.host.tolist() == [254, *[255] * 7]


def test_memory_without_a_host_side_is_the_gpus_alone(fake, cuda, stream):
    with cuda.buffer(8, host=False) as buffer:
        assert buffer.host is None
        assert not buffer.mapped
        assert fake.live == {"stream": 1, "device": 1}
        for copy in (buffer.upload, buffer.download):
            with pytest.raises(InputError) as caught:
                copy(8, stream)
            message_of(caught.value, "no host side", "host=True")


def test_a_copy_on_the_gpu_takes_source_and_target_in_this_order(fake, cuda, stream):
    with cuda.buffer(8) as source, cuda.buffer(8) as target:
        fake.array(source.address, 8)[:] = VALUES
        cuda.copy(source.address + 2, target.address, 4, stream)
        stream.synchronize()
        np.testing.assert_array_equal(fake.array(target.address, 4), VALUES[2:6])
        np.testing.assert_array_equal(fake.array(source.address, 8), VALUES)


@pytest.mark.parametrize("host", [False, True])
def test_no_bytes_have_an_address_all_the_same(cuda, stream, host):
    with cuda.buffer(0, host=host) as buffer:
        assert buffer.address
        assert buffer.nbytes == 0
        if host:
            assert buffer.host.shape == (0,)
            buffer.upload(0, stream)


@pytest.mark.parametrize("nbytes", [-1, 9])
def test_a_copy_that_does_not_fit_is_refused(fake, cuda, stream, nbytes):
    with cuda.buffer(8) as buffer:
        for copy in (buffer.upload, buffer.download):
            with pytest.raises(InputError) as caught:
                copy(nbytes, stream)
            message_of(caught.value, f"{nbytes} bytes", "buffer of 8")
    assert "cudaMemcpyAsync" not in fake.calls


def test_a_negative_size_is_refused(fake, cuda):
    with pytest.raises(InputError, match="a buffer of -1 bytes"):
        cuda.buffer(-1)
    assert fake.live == {}


@pytest.mark.parametrize(
    ("function", "mapped"),
    [("cudaHostAlloc", False), ("cudaMalloc", False), ("cudaHostAlloc", True), ("cudaHostGetDevicePointer", True)],
)
def test_nothing_leaks_when_an_allocation_fails(fake, cuda, function, mapped):
    fake.fail(function, 2)
    with pytest.raises(DeviceMemoryError):
        cuda.buffer(8, mapped=mapped)
    assert fake.live == {}
    cuda.buffer(8, mapped=mapped).close()


def test_memory_that_was_given_back_is_free_again():
    cuda = Cuda.open(library=FakeCudart(memory=100))
    for _ in range(3):
        with cuda.buffer(100), pytest.raises(DeviceMemoryError):
            cuda.buffer(1, host=False)


def test_a_closed_buffer_cannot_be_used(cuda, stream):
    buffer = cuda.buffer(8)
    buffer.close()
    buffer.close()
    assert buffer.host is None
    for use in (lambda: buffer.address, lambda: buffer.upload(8, stream), lambda: buffer.download(8, stream)):
        with pytest.raises(DeviceError, match="this buffer on GPU 0 is closed"):
            use()


def test_the_fake_notices_memory_that_went_too_early(cuda, stream):
    pinned = cuda.buffer(8, mapped=False)
    target = cuda.buffer(8, host=False)
    cuda.copy(pinned._host.address, target.address, 8, stream)
    pinned._host.close()
    with pytest.raises(DeviceError, match="IllegalAddress"):
        stream.synchronize()
