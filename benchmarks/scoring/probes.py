"""What the machine can do at this moment: a product of matrices, and reading memory."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import numpy as np

from smartrt.errors import EngineError
from smartrt.scoring.blas import find_blas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIDE = 1024
_READ = 128 << 20  # bytes: more than a cache


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let NumPy's BLAS use so many threads.

    Raises:
        EngineError: It is no OpenBLAS, which could not be told.
    """
    blas = find_blas()
    if blas is None:
        raise EngineError("this NumPy has no OpenBLAS, whose threads can be set: install the wheel from pip")
    before = blas.get_threads()
    blas.set_threads(count)
    try:
        yield
    finally:
        blas.set_threads(before)


class Probes:
    """Both probes; memory is allocated once."""

    def __init__(self, threads: int) -> None:
        rng = np.random.default_rng(0)
        self._threads = threads
        self._square = rng.normal(size=(_SIDE, _SIDE)).astype(np.float32)
        self._out = np.empty_like(self._square)
        self._memory = np.ones(_READ // 8, np.uint64)

    def run(self) -> dict[str, float]:
        """``gflop_per_cpu_s``, ``gflop_per_s`` of sgemm and ``read_gb_per_s`` of one thread."""
        with blas_threads(self._threads):
            wall, cpu = clocked(lambda: np.matmul(self._square, self._square, out=self._out))
        read, _ = clocked(lambda: self._memory.sum())
        work = 2 * _SIDE**3 / 1e9
        return {"gflop_per_cpu_s": work / cpu, "gflop_per_s": work / wall, "read_gb_per_s": _READ / 1e9 / read}


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu
