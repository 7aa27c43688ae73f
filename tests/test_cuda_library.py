"""Where libcudart is looked for, and that a C library gets its pointers whole."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest

from fake_cuda import FakeCudart
from smartrt.cuda import Cuda, SearchPlaces, load_cudart
from smartrt.cuda.prototypes import ARGUMENTS, declare
from smartrt.errors import DeviceError, MissingDependencyError
from support import message_of

COMPILER = shutil.which("gcc") or shutil.which("cc")
MAPS = """\
55a1c2d3e000-55a1c2d3f000 r--p 00000000 08:01 123                        /usr/bin/python3.11
7f0000000000-7f0000010000 r-xp 00001000 08:01 456                        /opt/my libs/libcudart-1a2b3c4d.so.12.4.127
7f0000010000-7f0000020000 rw-p 00002000 08:01 456                        /opt/my libs/libcudart-1a2b3c4d.so.12.4.127
7f0000020000-7f0000030000 rw-p 00000000 08:01 457                        /opt/old/libcudart.so.13 (deleted)
7f0000030000-7f0000040000 rw-p 00000000 00:00 0
"""
LOADED = "/opt/my libs/libcudart-1a2b3c4d.so.12.4.127"


class Declarable:
    """A fake whose functions can be declared, as those of `ctypes.CDLL` can."""

    def __init__(self, fake):
        for name in ARGUMENTS:
            setattr(self, name, _Function(getattr(fake, name)))


class _Function:
    argtypes = restype = None

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)


class Loader:
    """Loads what `there` names, and writes down what it was asked for."""

    def __init__(self, **there):
        self.there, self.asked = there, []

    def __call__(self, name):
        self.asked.append(name)
        found = self.there.get(name.rpartition("/")[2], OSError(f"{name}: No such file or directory"))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def places(tmp_path):
    """A machine with a libcudart in every place."""
    maps = tmp_path / "maps"
    maps.write_text(MAPS, encoding="utf-8")
    for path in (
        "site/nvidia/cu13/lib/libcudart.so.13",
        "site/nvidia/cuda_runtime/lib/libcudart.so.12",
        "usr/local/cuda-12.6/lib64/libcudart.so.12",
        "usr/local/cuda-12.6/targets/aarch64-linux/lib/libcudart.so.12",
        "usr/local/cuda-13.2/targets/sbsa-linux/lib/libcudart.so.13",
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    return SearchPlaces(maps, (tmp_path / "other", tmp_path / "site"), tmp_path)


def library(version, **options):
    return Declarable(FakeCudart(version=version, **options))


def test_every_place_is_tried_in_its_order(places):
    loader = Loader()
    with pytest.raises(MissingDependencyError) as caught:
        load_cudart(places, loader)
    assert [each.replace(str(places.root), "") for each in loader.asked] == [
        LOADED,
        "libcudart.so.13",
        "libcudart.so.12",
        "/site/nvidia/cu13/lib/libcudart.so.13",
        "/site/nvidia/cuda_runtime/lib/libcudart.so.12",
        "/usr/local/cuda-13.2/targets/sbsa-linux/lib/libcudart.so.13",
        "/usr/local/cuda-12.6/lib64/libcudart.so.12",
        "/usr/local/cuda-12.6/targets/aarch64-linux/lib/libcudart.so.12",
    ]
    message_of(
        caught.value,
        "no CUDA runtime found: tried libcudart.so.13, libcudart.so.12 by name, in Python's nvidia/cu13/lib",
        "/usr/local/cuda*",
        "nvidia-jetpack",
        "pip install nvidia-cuda-runtime-cu12",
    )
    assert "not usable" not in str(caught.value)


def test_a_machine_with_nothing_is_told_the_same(tmp_path):
    with pytest.raises(MissingDependencyError, match="no CUDA runtime found"):
        load_cudart(SearchPlaces(tmp_path / "none", (), tmp_path), Loader())


def test_the_first_that_loads_is_taken_and_declared(places):
    wanted = library(12060)
    found = load_cudart(places, Loader(**{"libcudart.so.12": wanted, "libcudart.so.13": OSError("wrong ELF class")}))
    assert found is wanted
    assert found.cudaMalloc.argtypes == [ctypes.c_void_p, ctypes.c_size_t]
    assert found.cudaGetErrorName.restype is ctypes.c_char_p


def test_what_the_process_has_loaded_comes_first(places):
    loaded, other = library(12040), library(13020)
    loader = Loader(**{LOADED.rpartition("/")[2]: loaded, "libcudart.so.13": other})
    assert load_cudart(places, loader) is loaded
    assert loader.asked == [LOADED]


def test_one_that_is_too_new_for_the_driver_gives_way(places):
    newer, older = library(13020, driver=12060), library(12060, driver=12060)
    assert load_cudart(places, Loader(**{"libcudart.so.13": newer, "libcudart.so.12": older})) is older


def test_one_that_is_too_new_is_better_than_none(places):
    newer = library(13020, driver=12060)
    assert load_cudart(places, Loader(**{"libcudart.so.13": newer})) is newer
    with pytest.raises(DeviceError, match=r"made for CUDA 12\.6 and libcudart is 13\.2"):
        Cuda.open(library=newer)


def test_without_a_driver_the_newest_is_as_good_as_any(places):
    newer = library(13020, driver=0)
    assert load_cudart(places, Loader(**{"libcudart.so.13": newer, "libcudart.so.12": library(12060)})) is newer


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (library(11080), "CUDA 11.8"),
        (library(14000), "CUDA 14.0"),
        (OSError("wrong\nELF class"), "wrong ELF class"),
        (object(), "no attribute 'cudaRuntimeGetVersion'"),
    ],
    ids=["CUDA 11", "CUDA 14", "another machine's", "no libcudart"],
)
def test_one_that_cannot_be_used_is_named_with_its_reason(places, found, reason):
    with pytest.raises(MissingDependencyError) as caught:
        load_cudart(places, Loader(**{"libcudart.so.13": found}))
    message_of(caught.value, "not usable: ", f"libcudart.so.13: {reason}" if "CUDA" in reason else reason)


# Real libraries.

STUB = """
#include <stddef.h>
static void *const POINTER = (void *)0x7f12345678abcdefULL;
int cudaMalloc(void **out, size_t nbytes) { *out = nbytes == 0x123456789aULL ? POINTER : NULL; return 0; }
int cudaFree(void *address) { return address == POINTER ? 0 : 17; }
int cudaGraphInstantiate(void **out, void *graph, unsigned long long flags)
    { *out = graph; return graph == POINTER && flags == 0x100000000ULL ? 0 : 1; }
int cudaMemcpyAsync(void *to, const void *from, size_t nbytes, int kind, void *stream)
    { return to == POINTER && from == (void *)0xfedcba9876543210ULL && nbytes == 1ULL << 33 && kind == 4
        && stream == POINTER ? 0 : 1; }
const char *cudaGetErrorName(int code) { return code == 17 ? "cudaErrorInvalidDevicePointer" : NULL; }
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """The path of a compiled libcudart of five functions."""
    if COMPILER is None:
        pytest.skip("no C compiler: a real library cannot be made")
    source = tmp_path_factory.mktemp("stub") / "cudart.c"
    source.write_text(STUB, encoding="utf-8")
    path = source.with_suffix(".so")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, source], check=True)
    return path


def test_a_c_library_gets_64_bits_of_every_pointer_and_size(stub):
    library = ctypes.CDLL(str(stub))
    declare(library, ["cudaMalloc", "cudaFree", "cudaGraphInstantiate", "cudaMemcpyAsync", "cudaGetErrorName"])
    pointer = ctypes.c_void_p()
    assert library.cudaMalloc(ctypes.byref(pointer), 0x123456789A) == 0
    assert pointer.value == 0x7F12345678ABCDEF
    assert library.cudaFree(pointer.value) == 0
    assert library.cudaMemcpyAsync(pointer.value, 0xFEDCBA9876543210, 1 << 33, 4, pointer.value) == 0
    assert library.cudaGraphInstantiate(ctypes.byref(ctypes.c_void_p()), pointer.value, 1 << 32) == 0
    assert library.cudaGetErrorName(17) == b"cudaErrorInvalidDevicePointer"
    assert library.cudaGetErrorName(1) is None


def test_without_the_declaration_a_pointer_is_cut(stub):
    # What the test above would not see if ctypes passed Python's integers whole.
    assert ctypes.CDLL(str(stub)).cudaFree(0x7F12345678ABCDEF) == 17


def test_a_real_libcudart_has_every_function_and_says_why_it_cannot_start():
    try:
        found = load_cudart()
    except MissingDependencyError as error:
        pytest.skip(f"no libcudart here: {error}")
    try:
        Cuda.open(library=found).close()
    except DeviceError as error:
        message_of(error, "no GPU can be opened: ", "cudaGetDeviceCount returned cudaError")
