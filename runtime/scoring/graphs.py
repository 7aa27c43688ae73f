"""Products of matrices on ONNX Runtime, as graphs of one operator that ship with the package.

Its kernels use what the processor has (AVX-512, VNNI, dot products of ARM) where NumPy's BLAS may not: OpenBLAS 0.3.31
runs AVX2 kernels on AMD's Zen 5. Each engine runs with one thread: the threads are ours.
"""

from __future__ import annotations

import functools
import sys
from importlib import resources
from typing import TYPE_CHECKING

from ..errors import SmartrtError

if TYPE_CHECKING:
    from ..engines.ort import OrtEngine


def is_at_hand() -> bool:
    """Whether this process has loaded ONNX Runtime and it works: a float32 product alone is no reason to load it."""
    return sys.modules.get("onnxruntime") is not None and open_product("single") is not None


@functools.cache
def open_product(name: str) -> OrtEngine | None:
    """The graph ``single`` (float32) or ``rough`` (bytes to int32), or None where ONNX Runtime is not installed."""
    try:
        from ..engines.ort import OrtOptions, open_file

        with resources.as_file(resources.files(__package__).joinpath(f"{name}.onnx")) as path:
            return open_file(path, "cpu", OrtOptions(threads=1))
    except SmartrtError:
        return None
