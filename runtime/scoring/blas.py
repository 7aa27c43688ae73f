"""The BLAS inside NumPy: which kernels it picked, and its threads held at one while ours run.

OpenBLAS starts threads of its own for one product; several Python threads that each call it would fight for the
cores and spin at its barriers. So while `workers` run, every product is computed by the thread that asks for it. The
setting belongs to the process: whoever multiplies matrices elsewhere in that moment gets one thread too, and the old
number returns with the last worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The names under which builds of OpenBLAS export a function: NumPy's wheels, 64-bit integers, a distribution's.
_SPELLINGS = ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}")
_AVX2 = frozenset({"Haswell", "Zen"})
_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # what the SkylakeX kernels use
_FUNCTIONS = ("get_corename", "get_num_threads", "set_num_threads")
# Kernel sets with a path for small products that copies nothing (interface/gemm.c, SMALL_MATRIX_OPT).
_SMALL_PRODUCTS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})


@dataclass(frozen=True)
class Blas:
    """What is known of the BLAS, and how to hold its threads."""

    kernels: str
    get_threads: Callable[[], int]
    set_threads: Callable[[int], None]

    @property
    def small_products(self) -> bool:
        """Whether many small products are faster than one large one."""
        return self.kernels in _SMALL_PRODUCTS


@functools.cache
def find_blas() -> Blas | None:
    """The OpenBLAS that is loaded in this process, or None: another BLAS, or an unknown build."""
    for path in _loaded_libraries():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for spelling in _SPELLINGS:
            try:
                core, getter, setter = (getattr(library, spelling.format(name)) for name in _FUNCTIONS)
            except AttributeError:
                continue
            core.restype, getter.restype, setter.argtypes = ctypes.c_char_p, ctypes.c_int, [ctypes.c_int]
            return Blas(core().decode(), getter, setter)
    return None


def _loaded_libraries() -> list[str]:
    """Files with "blas" in their names that this process has mapped (Linux), NumPy's own first."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if "blas" in line.rpartition("/")[2].lower() and "/" in line}
    return sorted(paths, key=lambda path: ("numpy" not in path, path))


def better_kernels() -> str | None:
    """Kernels that this processor could run and OpenBLAS did not pick, as a value for OPENBLAS_CORETYPE.

    OpenBLAS picks by model number and takes AVX2 kernels where it does not know the model: 0.3.31 on AMD's Zen 5.
    The variable is read when NumPy is imported, so it must be set before the process starts.
    """
    blas = find_blas()
    if blas is None or blas.kernels not in _AVX2 or not _cpu_flags() >= _AVX512:
        return None
    return "SkylakeX"


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return set(next((line.split() for line in text.splitlines() if line.startswith("flags")), []))


_lock = threading.Lock()
_holders = 0
_before = 1


@contextlib.contextmanager
def one_thread() -> Iterator[bool]:
    """Hold BLAS at one thread; yields whether that is so. Safe to enter from several threads at once."""
    global _holders, _before
    blas = find_blas()
    if blas is None:
        yield False
        return
    with _lock:
        if not _holders:
            _before = blas.get_threads()
            blas.set_threads(1)
        _holders += 1
    try:
        yield True
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                blas.set_threads(_before)


def _start_again() -> None:
    """A forked child has none of the threads that were holding the BLAS, and maybe a lock that nobody lets go."""
    global _lock, _holders
    blas = find_blas()
    if _holders and blas is not None:
        blas.set_threads(_before)
    _lock, _holders = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)
