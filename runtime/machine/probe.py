"""A program of its own: load shared libraries and say, line by line, what came of it.

    python probe.py '{"libcudart": ["libcudart.so.13", "libcudart.so.12"]}' [FOLDER ...]

Loading may end a process (a library of another driver, a missing symbol) and always leaves something behind in it. So
`libraries.py` starts this file with the standard library alone, and reads one JSON object a line:

    {"try": "libcudart"}                                       before it is loaded: what a crash is then blamed on
    {"library": "libcudart", "file": "…", "version": "13.0"}   it loaded
    {"library": "libcudart", "error": "…"}                     it did not
    {"cuda": "ready", "devices": [{"name": …, "sm": "9.0", "memory": …, "integrated": false}]}    what libcuda lists
    {"cuda": "no device (100)"}                                why it lists nothing

Nothing here imports smartrt. No context is created on any GPU.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18
_ERRORS = {
    3: "not initialised", 34: "a stub library, not a driver", 35: "the driver is older than CUDA needs",
    100: "no device", 802: "the system is not ready", 803: "driver and library have different versions",
    999: "unknown error",
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Load every library that was asked for."""
    groups: dict[str, list[str]] = json.loads(arguments[0])
    for name, files in groups.items():
        tell({"try": name})
        library, answer = load(files, arguments[1:])
        tell({"library": name, **answer})
        if library is not None and name == "libcuda":
            tell({"try": "cuInit"})
            tell(devices(library))


def load(files: list[str], folders: list[str]) -> tuple[Any, dict[str, Any]]:
    """The first of `files` that loads, by name and then from one of `folders`."""
    error = "not found"
    for file in files:
        places = [os.path.join(folder, file) for folder in folders]  # noqa: PTH118  (pathlib costs start-up time)
        for place in [file, *(place for place in places if os.path.exists(place))]:  # noqa: PTH110
            library, error = opened(place)
            if library is not None:
                return library, {"file": place, "version": version(library)}
    return None, {"error": error}


def opened(place: str) -> tuple[Any, str]:
    """A library, or None and why it does not load."""
    try:
        return ctypes.CDLL(place), ""
    except OSError as error:
        return None, str(error)


def version(library: Any) -> str | None:
    """What the library says of its version, if it is one that says."""
    questions: tuple[tuple[str, Callable[[], str | None]], ...] = (
        ("cuDriverGetVersion", lambda: by_thousands(pointed(library.cuDriverGetVersion))),
        ("cudaRuntimeGetVersion", lambda: by_thousands(pointed(library.cudaRuntimeGetVersion))),
        ("getInferLibVersion", lambda: infer(library.getInferLibVersion())),
        ("cudnnGetVersion", lambda: cudnn(library.cudnnGetVersion())),
        ("cublasGetProperty", lambda: properties(library.cublasGetProperty)),
    )
    for name, ask in questions:
        if hasattr(library, name):
            return ask()
    return None


def pointed(function: Any) -> int | None:
    """The number that `function` writes to where it is told."""
    value = ctypes.c_int()
    return None if function(ctypes.byref(value)) else value.value


def by_thousands(value: int | None) -> str | None:
    """13010 -> 13.1."""
    return f"{value // 1000}.{value % 1000 // 10}" if value else None


def infer(value: int) -> str:
    """TensorRT: 101602 -> 10.16.2, and before version 10 8601 -> 8.6.1."""
    hundreds = (10000, 100) if value >= 100000 else (1000, 100)
    return f"{value // hundreds[0]}.{value % hundreds[0] // hundreds[1]}.{value % 100}"


def cudnn(value: int) -> str:
    """CuDNN: 90300 -> 9.3.0, and before version 9 8907 -> 8.9.7."""
    large = 10000 if value >= 90000 else 1000
    return f"{value // large}.{value % large // 100}.{value % 100}"


def properties(function: Any) -> str | None:
    """Major, minor and patch of a library with `libraryPropertyType`."""
    numbers = []
    for which in range(3):
        value = ctypes.c_int()
        if function(which, ctypes.byref(value)):
            return None
        numbers.append(str(value.value))
    return ".".join(numbers)


def devices(cuda: Any) -> dict[str, Any]:
    """What the driver lists; asking needs no context."""
    count = ctypes.c_int()
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return {"cuda": f"{_ERRORS.get(code, 'error')} ({code})"}
    return {"cuda": "ready", "devices": [device(cuda, number) for number in range(count.value)]}


def device(cuda: Any, number: int) -> dict[str, Any]:
    """Name, compute capability, bytes of memory, and whether it shares the processor's."""
    handle, name, memory = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(handle), number)
    cuda.cuDeviceGetName(name, 128, handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, handle)
        return value.value

    return {
        "name": name.value.decode("utf-8", "replace"),
        "sm": f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        "memory": memory.value,
        "integrated": bool(attribute(_INTEGRATED)),
    }


def tell(line: dict[str, Any]) -> None:
    """Print one line at once: the next step may end the process."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
