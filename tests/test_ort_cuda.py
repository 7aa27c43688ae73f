"""ONNX Runtime on CUDA: what must be there, what it is told, and that nothing runs on the CPU in silence."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime
import pytest

import ort_machine
from commandline import call, refused
from fake_cuda import FakeCudart
from ort_machine import CPU, CUDA
from smartrt import Bundle
from smartrt.cuda import Cuda
from smartrt.engines import open_engine
from smartrt.engines.ort import OrtOptions, open_file
from smartrt.engines.ort_cuda import CudaProvider, load_for_all, provider_options
from smartrt.errors import DeviceError, OptionError
from support import message_of

GPU = pytest.mark.usefixtures("machine")
ARENA = {"arena_extend_strategy": "kSameAsRequested"}
NEEDED = ("libcublasLt.so.13", "libcudart.so.13", "libcuda.so.1", "libc.so.6")


@pytest.fixture
def machine(monkeypatch):
    return ort_machine.install(monkeypatch)


@pytest.fixture
def bundle(tiny_path):
    return Bundle.open(tiny_path)


class Loader:
    """A loader of shared libraries that finds all but some."""

    def __init__(
        self, *missing: str, reason: str = "cannot open shared object file: No such file or directory"
    ) -> None:
        self.missing, self.reason, self.loaded = missing, reason, []

    def __call__(self, name: str) -> None:
        if Path(name).name in self.missing:
            raise OSError(f"{name}: {self.reason}")
        self.loaded.append(name)


def provider(machine, tmp_path, load=load_for_all, *, sms=(75, 90), processor="x86_64", **gpu) -> CudaProvider:
    """The provider of a build that is linked to `NEEDED`."""
    machine.__file__ = str(tmp_path / "__init__.py")
    ort_machine.write_library(tmp_path / "capi" / "libonnxruntime_providers_cuda.so", NEEDED, sms)
    cudart = FakeCudart(**gpu)
    return CudaProvider(machine, load, lambda number: Cuda.open(number, cudart), processor)


# Which libraries are there.


def test_a_missing_library_is_named_with_the_way_to_get_it(machine, tmp_path):
    with pytest.raises(DeviceError) as caught:
        provider(machine, tmp_path, Loader("libcublasLt.so.13", "libcuda.so.1")).check_libraries("cuda:1")
    message = message_of(
        caught.value,
        "'cuda:1'",
        "libcublasLt.so.13; libcuda.so.1.",
        "driver",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    )
    assert "libcudart" not in message


@pytest.mark.parametrize(
    ("processor", "remedy"), [("x86_64", "onnxruntime-gpu[cuda,cudnn]"), ("aarch64", "apt install nvidia-jetpack")]
)
def test_the_way_to_get_libraries_is_the_machines(machine, tmp_path, processor, remedy):
    with pytest.raises(DeviceError) as caught:
        provider(machine, tmp_path, Loader("libcudart.so.13"), processor=processor).check_libraries("cuda")
    assert "driver" not in message_of(caught.value, remedy)


def test_the_processor_is_asked_when_it_is_needed(machine, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert CudaProvider(machine).processor == "aarch64"


def test_without_a_driver_nobody_is_told_to_install_libraries(machine, tmp_path):
    with pytest.raises(DeviceError) as caught:
        provider(machine, tmp_path, Loader("libcuda.so.1")).check_libraries("cuda")
    assert "pip install" not in message_of(caught.value, "libcuda.so.1", "--gpus all")


def test_a_library_that_is_there_and_does_not_load_says_why(machine, tmp_path):
    loader = Loader("libcudart.so.13", reason="version `GLIBC_2.99' not found")
    with pytest.raises(DeviceError) as caught:
        provider(machine, tmp_path, loader).check_libraries("cuda")
    message_of(caught.value, "GLIBC_2.99")


def test_a_library_of_a_pip_package_is_loaded_from_there(machine, tmp_path, monkeypatch):
    packaged = tmp_path / "site" / "nvidia" / "cu13" / "lib" / "libcudart.so.13"
    packaged.parent.mkdir(parents=True)
    packaged.touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def load(name: str) -> None:
        loaded.append(name)
        if name == "libcudart.so.13":
            raise OSError("No such file or directory")

    loaded: list[str] = []
    provider(machine, tmp_path, load).check_libraries("cuda")
    assert str(packaged) in loaded
    assert "libc.so.6" not in loaded, "only NVIDIA's are ours to look for"


def test_onnx_runtimes_own_loader_of_libraries_goes_first_and_prints_nothing(machine, tmp_path, capsys):
    loader = Loader()
    machine.preload_dlls = lambda: loader.loaded.append(sys.stdout.write("Failed to load"))
    provider(machine, tmp_path, loader).check_libraries("cuda")
    assert loader.loaded == [14, *NEEDED[:3]]
    assert capsys.readouterr().out == ""


def test_a_build_without_cuda_is_a_device_error_that_names_what_it_has(machine, tmp_path):
    machine.offers = [CPU]
    for processor, remedy in (("x86_64", "onnxruntime-gpu[cuda,cudnn]"), ("aarch64", "JetPack")):
        with pytest.raises(DeviceError) as caught:
            provider(machine, tmp_path, Loader(), processor=processor).check_libraries("cuda")
        message_of(caught.value, "'cuda'", CPU, remedy)


def test_without_a_driver_nobody_is_told_to_install_a_gpus_wheel(machine, tmp_path):
    machine.offers = [CPU]
    with pytest.raises(DeviceError) as caught:
        provider(machine, tmp_path, Loader("libcuda.so.1")).check_libraries("cuda")
    assert "pip" not in message_of(caught.value, "no NVIDIA driver", CPU, "smartrt doctor")


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this ONNX Runtime was built with CUDA")
def test_the_command_line_says_in_one_line_that_there_is_no_cuda(tiny_path, tmp_path, capsys):
    ran = call(capsys, "encode", str(tiny_path), "a text", "-o", str(tmp_path / "x.npz"), "--device", "cuda")
    refused(ran, "'cuda'", "CUDA provider", "device='cpu'")


# Which GPU is there.


def test_kernels_for_other_gpus_are_a_device_error_that_names_both(machine, tmp_path, tiny_path):
    orin = {"capability": (8, 7), "integrated": True, "processor": "aarch64"}
    wheel = provider(machine, tmp_path, Loader(), sms=(89, 90, 120, 121), **orin)
    with pytest.raises(DeviceError) as caught:
        wheel.open(tiny_path, "cuda", onnxruntime.SessionOptions(), OrtOptions())
    message_of(caught.value, "SM 8.9, 9.0, 12.0, 12.1", "Fake Orin has SM 8.7", "JetPack")
    assert machine.asked == []


@pytest.mark.parametrize("sms", [(75, 87), ()], ids=["has kernels for it", "cannot be read"])
def test_a_build_that_may_fit_is_tried(machine, tmp_path, tiny_path, sms):
    wheel = provider(machine, tmp_path, Loader(), sms=sms, capability=(8, 7), integrated=True)
    wheel.open(tiny_path / "encoder.onnx", "cuda", onnxruntime.SessionOptions(), OrtOptions())
    assert len(machine.asked) == 1


@GPU
def test_a_gpu_that_is_not_there_is_a_device_error(bundle):
    with pytest.raises(DeviceError) as caught:
        open_engine(bundle, "encoder", device="cuda:3")
    message_of(caught.value, "no GPU 3")


# What really loaded.


@pytest.mark.parametrize("graphs", [{}, {"cuda_graphs": True}], ids=["bound", "recorded"])
def test_a_session_that_fell_back_to_the_cpu_is_a_device_error(machine, bundle, graphs):
    machine.loads = [CPU]
    with pytest.raises(DeviceError) as caught:
        open_engine(bundle, "encoder", device="cuda", **graphs)
    message_of(caught.value, "'cuda' did not load", CPU)
    assert machine.gpu.live == {}


# What the provider is told.


@pytest.mark.parametrize(("device", "number"), [("cuda", "0"), ("cuda:0", "0"), ("cuda:2", "2")])
def test_only_cuda_is_asked_for_on_the_gpu_of_that_number(monkeypatch, bundle, device, number):
    machine = ort_machine.install(monkeypatch, devices=3)
    open_engine(bundle, "encoder", device=device)
    assert machine.asked == [[(CUDA, {"device_id": number, "use_tf32": "0"} | ARENA)]]


def test_only_the_cpu_is_asked_for_on_the_cpu(machine, bundle):
    open_engine(bundle, "encoder", device="cpu")
    assert machine.asked == [[CPU]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {"use_tf32": "0"}),
        ({"tf32": True}, {"use_tf32": "1"}),
        ({"gpu_memory_mb": 300}, {"use_tf32": "0", "gpu_mem_limit": "314572800"}),
        ({"cuda_graphs": True}, {"use_tf32": "0", "enable_cuda_graph": "1"}),
    ],
    ids=str,
)
def test_options_reach_the_provider(machine, bundle, options, told):
    open_engine(bundle, "encoder", device="cuda", **options)
    assert machine.asked == [[(CUDA, {"device_id": "0"} | told | ARENA)]]
    assert provider_options(OrtOptions(**options), 1) == {"device_id": "1"} | told | ARENA


@pytest.mark.parametrize(
    "options", [{"tf32": True}, {"gpu_memory_mb": 1}, {"cuda_graphs": True}, {"mixed": True}], ids=str
)
def test_an_option_for_gpus_is_refused_on_the_cpu(bundle, options):
    with pytest.raises(OptionError) as caught:
        open_engine(bundle, "encoder", **options)
    message_of(caught.value, next(iter(options)), "device='cuda'")


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        ({"gpu_memory_mb": 0}, ("gpu_memory_mb", "0")),
        ({"gpu_memory_mb": "300"}, ("gpu_memory_mb", "'300'")),
        ({"gpu_memory_mb": True}, ("gpu_memory_mb", "True")),
        ({"max_length": 64}, ("max_length", "cuda_graphs")),
        ({"batch_tokens": 64}, ("batch_tokens", "cuda_graphs")),
        ({"cuda_graphs": True, "max_length": 0}, ("max_length", "0")),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(options, mentions):
    with pytest.raises(OptionError) as caught:
        OrtOptions(**options)
    message_of(caught.value, *mentions)


@GPU
def test_a_file_alone_has_no_buckets(tiny_path):
    with pytest.raises(OptionError) as caught:
        open_file(tiny_path / "encoder.onnx", "cuda", OrtOptions(cuda_graphs=True))
    message_of(caught.value, "cuda_graphs", "manifest")
