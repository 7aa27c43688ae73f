"""The functions of libcudart that are used here: their C types and flags.

From cuda_runtime_api.h and driver_types.h of CUDA 12.9 and 13.5, which declare all of them alike. A pointer that is
passed without a declared type is cut to 32 bits by ctypes: so every function is declared before it is called.
"""

from __future__ import annotations

from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# A pointer that the function writes a value to: `byref(...)` of any type.
_OUT = c_void_p

ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "cudaRuntimeGetVersion": (_OUT,),
    "cudaDriverGetVersion": (_OUT,),
    "cudaGetErrorName": (c_int,),
    "cudaGetErrorString": (c_int,),
    "cudaGetLastError": (),
    "cudaGetDeviceCount": (_OUT,),
    "cudaSetDevice": (c_int,),
    "cudaDeviceReset": (),
    "cudaDeviceGetAttribute": (_OUT, c_int, c_int),
    "cudaGetDeviceProperties": (_OUT, c_int),
    "cudaMemGetInfo": (_OUT, _OUT),
    "cudaMalloc": (_OUT, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (_OUT, c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaHostGetDevicePointer": (_OUT, c_void_p, c_uint),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaStreamCreateWithFlags": (_OUT, c_uint),
    "cudaStreamDestroy": (c_void_p,),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, _OUT),
    # Three arguments since CUDA 12; CUDA 11 had five under the same name, one reason why it is not taken.
    "cudaGraphInstantiate": (_OUT, c_void_p, c_ulonglong),
    "cudaGraphGetNodes": (c_void_p, c_void_p, _OUT),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaGraphDestroy": (c_void_p,),
    "cudaGraphExecDestroy": (c_void_p,),
}
_TEXTS = frozenset({"cudaGetErrorName", "cudaGetErrorString"})

# driver_types.h
HOST_DEFAULT: Final = 0  # cudaHostAllocDefault: pinned
HOST_MAPPED: Final = 2  # cudaHostAllocMapped: pinned, and visible to the GPU
STREAM_NON_BLOCKING: Final = 1  # cudaStreamNonBlocking: does not wait for the default stream of other libraries
CAPTURE_THREAD_LOCAL: Final = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile
HOST_TO_DEVICE: Final = 1  # cudaMemcpyHostToDevice
DEVICE_TO_HOST: Final = 2  # cudaMemcpyDeviceToHost
BY_ADDRESS: Final = 4  # cudaMemcpyDefault: the addresses tell, as they do on every 64-bit Linux
INTEGRATED: Final = 18  # cudaDevAttrIntegrated
CAPABILITY_MAJOR: Final = 75  # cudaDevAttrComputeCapabilityMajor
CAPABILITY_MINOR: Final = 76  # cudaDevAttrComputeCapabilityMinor


def declare(library: Any, functions: Iterable[str] = ARGUMENTS) -> None:
    """Tell ctypes the types of the functions of `library`.

    Args:
        library: A `ctypes.CDLL`. What is declared is this object's: others of the same file keep theirs.
        functions: Names; all of `ARGUMENTS` unless told.

    Raises:
        AttributeError: The library has no such function.
    """
    for name in functions:
        function = getattr(library, name)
        function.argtypes = list(ARGUMENTS[name])
        function.restype = c_char_p if name in _TEXTS else c_int


def versions(library: Any) -> tuple[int, int]:
    """The version of libcudart and the newest CUDA of the driver, each ``1000 * major + 10 * minor``; 0: no driver."""
    return integer(library, "cudaRuntimeGetVersion")[1], integer(library, "cudaDriverGetVersion")[1]


def integer(library: Any, function: str) -> tuple[int, int]:
    """Call a function that writes one integer: its return code, and the integer."""
    value = c_int()
    return getattr(library, function)(byref(value)), value.value
