"""Opening a GPU, what it says of itself, what goes wrong, threads, and giving everything back."""

from __future__ import annotations

import ctypes
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fake_cuda import FakeCudart
from smartrt.cuda import Cuda, Properties
from smartrt.cuda.codes import LOST, in_words
from smartrt.errors import DeviceError, DeviceLostError, DeviceMemoryError, MissingDependencyError, OptionError
from support import message_of


@pytest.fixture
def fake():
    return FakeCudart()


@pytest.fixture
def cuda(fake):
    return Cuda.open(library=fake)


def test_a_gpu_says_what_it_is():
    fake = FakeCudart(integrated=True, memory=8 << 30, version=12060, driver=12080, name="Orin (nvgpu)")
    cuda = Cuda.open(library=fake)
    assert cuda.properties == Properties("Orin (nvgpu)", (8, 7), integrated=True, total_memory=8 << 30)
    assert (cuda.device, cuda.version, cuda.driver_version) == (0, 12060, 12080)


def test_a_name_may_be_anything_that_fits_its_256_bytes():
    assert Cuda.open(library=FakeCudart(name="é" * 200)).properties.name.startswith("é" * 100)


def test_memory_is_what_is_free_and_what_there_is(cuda):
    free, total = cuda.memory()
    with cuda.buffer(1 << 20):
        assert cuda.memory() == (free - (1 << 20), total)
    assert cuda.memory() == (free, total)


@pytest.mark.parametrize("device", [-1, 1.0, "0", None, True])
def test_a_number_that_cannot_be_is_refused(fake, device):
    with pytest.raises(OptionError) as caught:
        Cuda.open(device, library=fake)
    message_of(caught.value, repr(device))
    assert not fake.calls


@pytest.mark.parametrize(("there", "said"), [(1, "sees 1, number 0"), (3, "sees 3, numbers 0 to 2")])
def test_a_number_out_of_range_names_how_many_there_are(monkeypatch, there, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with pytest.raises(DeviceError) as caught:
        Cuda.open(3, library=FakeCudart(devices=there))
    message_of(caught.value, "no GPU 3", said, "CUDA_VISIBLE_DEVICES='2,3'")


START = {
    "no driver": (FakeCudart(driver=0), ("InsufficientDriver (35", "libcuda.so.1", "JetPack", "--gpus all")),
    "an old driver": (FakeCudart(driver=12040), ("made for CUDA 12.4", "libcudart is 13.2", "a libcudart for CUDA 12")),
    "no device": (FakeCudart(devices=0), ("NoDevice (100", "sees no GPU", "--runtime nvidia")),
}


@pytest.mark.parametrize(("fake", "mentions"), START.values(), ids=START)
def test_a_machine_without_a_gpu_says_what_to_do(fake, mentions):
    with pytest.raises(DeviceError) as caught:
        Cuda.open(library=fake)
    message_of(caught.value, "no GPU can be opened", *mentions)
    assert type(caught.value) is DeviceError


@pytest.mark.parametrize("function", ["cudaGetDeviceCount", "cudaSetDevice"])
@pytest.mark.parametrize(
    ("code", "mention"),
    [(3, "spawn"), (34, "stub"), (46, "compute mode"), (802, "fabricmanager"), (803, "restart"), (999, "nvidia_uvm")],
)
def test_what_fails_at_the_start_says_what_to_do(fake, function, code, mention):
    fake.fail(function, code)
    with pytest.raises(DeviceError) as caught:
        Cuda.open(library=fake)
    message_of(caught.value, function, f"({code},", mention)
    assert not isinstance(caught.value, DeviceLostError)


def test_a_gpu_too_full_to_start_on_is_a_matter_of_memory(fake):
    fake.fail("cudaSetDevice", 2)
    with pytest.raises(DeviceMemoryError) as caught:
        Cuda.open(library=fake)
    message_of(caught.value, "cudaErrorMemoryAllocation (2, out of memory)", "end other programs")


def test_a_library_that_is_no_libcudart_is_refused():
    with pytest.raises(MissingDependencyError) as caught:
        Cuda.open(library=ctypes.CDLL(None))
    message_of(caught.value, "no libcudart of CUDA 12 or 13")


# After the start.


def test_too_little_memory_says_how_much_and_what_to_do():
    cuda = Cuda.open(library=FakeCudart(memory=3 << 29))
    with pytest.raises(DeviceMemoryError) as caught:
        cuda.buffer(2 << 30, host=False)
    message_of(caught.value, "memory on GPU 0", "2.00 GiB asked", "1.50 GiB of 1.50 GiB free", "smaller batches")


def test_too_little_pinned_memory_is_told_apart(fake, cuda):
    fake.fail("cudaHostAlloc", 2)
    with pytest.raises(DeviceMemoryError) as caught:
        cuda.buffer(5 << 20)
    message_of(caught.value, "pinned host memory", "5.0 MiB asked")


def test_too_little_memory_for_a_call_names_the_call(fake, cuda):
    fake.fail("cudaStreamCreateWithFlags", 2)
    fake.fail("cudaMemGetInfo", 1)
    with pytest.raises(DeviceMemoryError) as caught:
        cuda.stream()
    message_of(caught.value, "too little memory on GPU 0 for cudaStreamCreateWithFlags; ")


@pytest.mark.parametrize("code", sorted(LOST))
def test_a_lost_device_says_so_at_every_call_and_closes_quietly(fake, cuda, code):
    stream, buffer = cuda.stream(), cuda.buffer(8)
    fake.fail("cudaStreamSynchronize", code)
    with pytest.raises(DeviceLostError) as caught:
        stream.synchronize()
    assert cuda.lost
    message_of(caught.value, "GPU 0 is lost", "cudaStreamSynchronize returned cudaError", f"({code},", "new process")
    for call in (cuda.memory, cuda.stream, cuda.activate, lambda: cuda.buffer(8), lambda: buffer.upload(8, stream)):
        with pytest.raises(DeviceLostError, match="GPU 0 is lost"):
            call()
    for each in (buffer, stream, cuda, cuda):
        each.close()


@pytest.mark.parametrize("code", [1, 98, 209, 400, 701, 720, 801])
def test_any_other_code_is_an_error_of_its_call_alone(fake, cuda, code):
    stream = cuda.stream()
    fake.fail("cudaStreamSynchronize", code)
    with pytest.raises(DeviceError) as caught:
        stream.synchronize()
    message_of(caught.value, f"cudaStreamSynchronize returned cudaError{code} ({code}, text of {code})")
    assert type(caught.value) is DeviceError
    stream.synchronize()
    assert not cuda.lost


def test_an_error_is_not_left_behind_for_other_libraries(fake, cuda):
    fake.fail("cudaStreamCreateWithFlags", 1)
    with pytest.raises(DeviceError):
        cuda.stream()
    assert fake.last_error == 0


def test_a_device_lost_while_closing_is_no_error(fake, cuda):
    cuda.buffer(8)
    cuda.stream()
    fake.lose()
    cuda.close()
    assert cuda.lost


# Threads, and the end.


@pytest.mark.parametrize("device", [0, 1])
def test_every_thread_uses_the_device_that_was_opened(device):
    fake = FakeCudart(devices=2)
    with Cuda.open(device, library=fake) as cuda, ThreadPoolExecutor(1) as other:
        stream = other.submit(cuda.stream).result()
        with cuda.buffer(4) as buffer:
            other.submit(fake.cudaSetDevice, 1 - device).result()
            buffer.host[:] = [1, 2, 3, 4]
            other.submit(buffer.upload, 4, stream).result()
            other.submit(stream.synchronize).result()
            np.testing.assert_array_equal(fake.array(buffer.address, 4), [1, 2, 3, 4])
            other.submit(fake.cudaSetDevice, 1 - device).result()
            assert other.submit(lambda: (cuda.activate(), fake.current)[1]).result() == device


def test_closing_gives_everything_back_and_may_happen_twice(fake):
    with Cuda.open(library=fake) as cuda:
        stream = cuda.stream()
        buffers = [cuda.buffer(8), cuda.buffer(8, host=False), cuda.buffer(8, mapped=True)]
        graph = stream.capture(lambda: buffers[0].upload(8, stream))
        buffers[1].close()
        assert fake.live == {"stream": 1, "device": 1, "pinned": 1, "mapped": 1, "graph": 1}
    assert fake.live == {}
    for each in (cuda, stream, graph, *buffers):
        each.close()
    with pytest.raises(DeviceError) as caught:
        cuda.stream()
    message_of(caught.value, "GPU 0 is closed", "open it again")


def test_closing_waits_for_the_work_before_its_memory_goes(fake):
    with Cuda.open(library=fake) as cuda:
        buffer, stream = cuda.buffer(4), cuda.stream()
        buffer.upload(4, stream)
    fake.run_all()
    assert not fake.lost


def test_what_was_closed_is_not_kept(cuda):
    stream = cuda.stream()
    gone = weakref.ref(stream)
    stream.close()
    del stream
    assert gone() is None


def test_nothing_resets_the_device_that_other_libraries_share(fake, cuda):
    cuda.close()
    assert not {"cudaDeviceReset", "cudaDeviceSynchronize"} & set(fake.calls)


@pytest.mark.parametrize(("nbytes", "words"), [(0, "0 bytes"), (1 << 20, "1.0 MiB"), (3 << 29, "1.50 GiB")])
def test_bytes_are_said_in_words(nbytes, words):
    assert in_words(nbytes) == words
