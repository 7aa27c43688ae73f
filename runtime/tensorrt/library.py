"""Finding TensorRT: the module, or one line that says what is missing and how to get it.

TensorRT is not a dependency of smartrt: on a Jetson it belongs to the system, elsewhere its wheels are larger than
everything else together. Versions 10.3 (JetPack 6) to 11 share the calls that smartrt makes: strongly typed networks
have no other precision than the graph's own, and no call that 11 removed is made.
"""

from __future__ import annotations

import importlib
import platform
import re
from typing import Any

from ..errors import MissingDependencyError

OLDEST = (10, 3)
"""First release whose calls smartrt makes: that of JetPack 6.1."""

NEWEST_MAJOR = 11
"""Last major release that was tried."""

_SHARED_LIBRARY = re.compile(r"\blib[\w+-]+\.so[\w.]*\b")


def load_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        MissingDependencyError: It is not installed, does not load (the message names the shared library that is
            missing) or is not of a release from 10.3 to 11.
    """
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        missing = "TensorRT is not installed" if error.name == "tensorrt" else f"TensorRT lacks its part {error.name}"
        raise MissingDependencyError(f"{missing}: {how_to_get()}") from error
    except (ImportError, OSError) as error:  # OSError: the wheels open their libraries with ctypes
        raise MissingDependencyError(_does_not_load(" ".join(str(error).split()))) from error
    if not hasattr(tensorrt, "Builder"):  # a folder of that name is a module too
        where = getattr(tensorrt, "__file__", None) or next(iter(getattr(tensorrt, "__path__", ())), "nowhere")
        raise MissingDependencyError(f"the module tensorrt at {where} is not NVIDIA's: {how_to_get()}")
    _check_version(str(getattr(tensorrt, "__version__", "unknown")))
    return tensorrt


def missing_library(text: str) -> str | None:
    """The file name of a shared library that `text`, an error of the loader, is about."""
    found = _SHARED_LIBRARY.search(text)
    return found.group() if found else None


def how_to_get() -> str:
    """The way to TensorRT on this kind of machine."""
    if platform.machine() == "aarch64":
        return (
            "on a Jetson run `sudo apt install python3-libnvinfer` and use the system's Python or a venv made with "
            "--system-site-packages; its pip packages are not for JetPack"
        )
    return "run pip install 'tensorrt-cu12>=10.3' for CUDA 12, or 'tensorrt-cu13' for CUDA 13"


def _does_not_load(reason: str) -> str:
    library = missing_library(reason)
    if library is None or "cannot open" not in reason:
        return f"TensorRT is installed and does not load ({reason}): {how_to_get()}"
    return f"TensorRT is installed and its library {library} is missing: {how_to_get()}"


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if len(numbers) == 2 and numbers >= OLDEST and numbers[0] <= NEWEST_MAJOR:
        return
    wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}"
    raise MissingDependencyError(f"TensorRT {version} is installed and smartrt needs {wanted}: {how_to_get()}")
