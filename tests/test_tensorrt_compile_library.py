"""Finding TensorRT: what is said when it is missing, broken, another module or another version."""

from __future__ import annotations

import platform
import sys

import pytest

import fake_tensorrt
from smartrt.errors import MissingDependencyError
from smartrt.tensorrt.library import load_tensorrt
from support import message_of


def refusal(*mentions):
    with pytest.raises(MissingDependencyError) as caught:
        load_tensorrt()
    return message_of(caught.value, *mentions)


@pytest.fixture
def as_module(tmp_path, monkeypatch):
    """Write the file that `import tensorrt` finds."""

    def write(content):
        (tmp_path / "tensorrt.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)

    yield write
    sys.modules.pop("tensorrt", None)


@pytest.mark.parametrize(
    ("machine", "mentions"),
    [
        ("aarch64", ["sudo apt install python3-libnvinfer", "--system-site-packages"]),
        ("x86_64", ["pip install 'tensorrt-cu12>=10.3'", "tensorrt-cu13"]),
    ],
    ids=["jetson", "x86-64"],
)
def test_the_way_to_get_it_is_that_of_the_machine(machine, mentions, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    message = refusal("TensorRT is not installed", *mentions)
    assert ("pip install" in message) == (machine == "x86_64")


@pytest.mark.parametrize("version", ["10.3.0", "10.16.2.10", "11.4.0.106"])
def test_versions_from_10_3_to_11_are_taken(version, monkeypatch):
    fake_tensorrt.install(monkeypatch)
    monkeypatch.setattr(fake_tensorrt, "__version__", version)
    assert load_tensorrt() is fake_tensorrt


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0", "12.0.0", "unknown", ""])
def test_other_versions_are_named_and_refused(version, monkeypatch):
    fake_tensorrt.install(monkeypatch)
    monkeypatch.setattr(fake_tensorrt, "__version__", version)
    refusal(f"TensorRT {version} is installed", "10.3 to 11")


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        (
            "raise ImportError('libnvinfer.so.10: cannot open shared object file: No such file or directory')",
            ["its library libnvinfer.so.10 is missing"],
        ),
        (
            "raise OSError('libcudart.so.13: cannot open shared object file')",
            ["its library libcudart.so.13 is missing"],
        ),
        (
            "raise ImportError('libnvinfer.so.10: undefined symbol: x\\nand more')",
            ["does not load", "undefined symbol"],
        ),
        ("import tensorrt_bindings_that_are_not_there", ["lacks its part tensorrt_bindings_that_are_not_there"]),
        ("__version__ = '10.3.0'", ["tensorrt.py is not NVIDIA's"]),
    ],
    ids=["a-library", "a-library-by-ctypes", "another-abi", "a-wheel", "another-module"],
)
def test_a_module_that_does_not_load_says_what_is_missing(as_module, content, mentions):
    as_module(content)
    refusal(*mentions)


def test_a_folder_of_that_name_is_not_tensorrt(tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    try:
        refusal(str(tmp_path / "tensorrt"), "not NVIDIA's")
    finally:
        sys.modules.pop("tensorrt", None)
