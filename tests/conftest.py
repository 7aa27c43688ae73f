"""Fixtures that several test files share."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import smartrt
from smartrt.jsonl import Record

# PyTorch's threads wait for each other by spinning: on a busy machine tiny models take several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the shell sets for smartrt itself is not what a test means; what it sets for the tests stays.
for _name in [name for name in os.environ if name.startswith("SMARTRT_")]:
    if not _name.startswith(("SMARTRT_TEST_", "SMARTRT_AARCH64", "SMARTRT_TENSORRT")):
        del os.environ[_name]

# The same examples every time, however slow the machine: a red run means a change, not bad luck.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU is skipped where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := missing_gpu()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def missing_gpu() -> str:
    """Why nothing can run on a GPU here; empty if one is there."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "needs an NVIDIA GPU: libcuda.so.1 is not here"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "needs an NVIDIA GPU: the driver sees none"
    return ""


DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    """The committed tiny bundle. Read only: copy it with `tiny_copy` to damage it."""
    return DATA / "tiny.smartrt"


@pytest.fixture
def tiny_copy(tiny_path: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_path, tmp_path / "tiny.smartrt"))


@pytest.fixture(scope="module")
def library_read_once() -> Iterator[None]:
    """Who reads the whole standard library gets what was read before in this session: it takes seconds."""
    from smartrt.evaluation import stdlib_set
    from smartrt.export import calibration

    with pytest.MonkeyPatch.context() as patch:
        for module in (calibration, stdlib_set):
            patch.setattr(module, "read_stdlib", _read_library)
        yield


@functools.cache
def _read_library(root: Path | None = None) -> list[Record]:
    from smartrt.evaluation.stdlib_corpus import read_stdlib

    return read_stdlib(root)


@pytest.fixture(scope="session")
def exported_preset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Checkpoint and bundle of a tiny Qwen-VL by its preset, exported once with PyTorch. Read only."""

    @functools.cache
    def exported(preset: str) -> tuple[Path, Path]:
        from smartrt.export.pipeline import export
        from tiny_qwen_vl import build

        directory = tmp_path_factory.mktemp(preset)
        checkpoint = build(preset, directory / "checkpoint")
        return checkpoint, export(str(checkpoint), directory / "page.smartrt", preset=preset).path

    return exported


@pytest.fixture(scope="session")
def page_path(exported_preset: Callable[[str], tuple[Path, Path]]) -> Path:
    """A tiny Qwen3-VL-Embedding: a bundle that takes images. Read only."""
    return exported_preset("qwen3-vl-embedding")[1]


@pytest.fixture(scope="session", params=["ort", "fake"])
def encoder(request: pytest.FixtureRequest, tiny_path: Path) -> smartrt.Encoder:
    """An encoder of the tiny bundle on every engine."""
    return smartrt.Encoder.open(tiny_path, engine=request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20240521)
