"""Find and load libcudart, the CUDA runtime, of CUDA 12 or 13.

It may come with an engine that is loaded already, from the system's loader, from a pip package, from a CUDA toolkit or
from JetPack. The first that loads and that the driver can serve is taken; all share the GPU's one primary context.
"""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import MissingDependencyError
from .codes import version_in_words
from .prototypes import declare, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a loader finds by name, newest first, and where the pip packages of each version put it.
_NAMES: Final = {"libcudart.so.13": "nvidia/cu13/lib", "libcudart.so.12": "nvidia/cuda_runtime/lib"}
_MAJORS: Final = (12, 13)
_TOOLKITS: Final = ("usr/local/cuda*/lib64", "usr/local/cuda*/targets/*/lib")
# Wheels that carry their own copy rename it: libcudart-1a2b3c4d.so.12.4.127.
_LOADED: Final = re.compile(r"\S+ \S+ \S+ \S+ \S+ +(/.*/libcudart[^/]*\.so[^/ ]*)")
_INSTALL: Final = (
    "on a Jetson: sudo apt install nvidia-jetpack; elsewhere: pip install nvidia-cuda-runtime-cu12, "
    "or nvidia-cuda-runtime for a driver of CUDA 13, or the CUDA toolkit"
)


@dataclass(frozen=True)
class SearchPlaces:
    """Where libcudart is looked for.

    Attributes:
        maps: What this process has loaded, as Linux lists it.
        packages: Folders that Python packages are in.
        root: The file system's root, below which toolkits are.
    """

    maps: Path = Path("/proc/self/maps")
    packages: tuple[Path, ...] = field(default_factory=lambda: tuple(Path(each) for each in sys.path if each))
    root: Path = Path("/")


def load_cudart(places: SearchPlaces | None = None, load: Callable[[str], Any] = ctypes.CDLL) -> Any:
    """Load libcudart and declare its functions.

    Tried in this order: a libcudart that the process has loaded already (with ONNX Runtime, say); ``libcudart.so.13``
    and ``.12`` where the loader finds them (LD_LIBRARY_PATH, ldconfig); the pip packages' folders ``nvidia/cu13/lib``
    and ``nvidia/cuda_runtime/lib``; ``/usr/local/cuda*/lib64`` and ``/usr/local/cuda*/targets/*/lib``. One for a newer
    CUDA than the driver's is passed over if there is another.

    Args:
        places: Where to look; None is this machine.
        load: Opens a library by its name or path, or raises OSError.

    Returns:
        The library, for `Cuda.open`.

    Raises:
        MissingDependencyError: There is none that can be used; the message says what was tried and what to install.
    """
    too_new, reasons = None, []
    for name in _candidates(places or SearchPlaces()):
        try:
            library = load(name)
            declare(library)
        except (OSError, AttributeError) as error:
            if "No such file" not in str(error):  # one that is there and does not load
                reasons.append(f"{name}: {' '.join(str(error).split())}")
            continue
        runtime, driver = versions(library)
        if runtime // 1000 not in _MAJORS:
            reasons.append(f"{name}: CUDA {version_in_words(runtime)}")
        elif driver and driver // 1000 < runtime // 1000:
            too_new = too_new or library
        else:
            return library
    if too_new is not None:
        return too_new  # the first call on a device says what is wrong
    raise _nothing_found(reasons)


def _candidates(places: SearchPlaces) -> Iterator[str]:
    seen = set()
    for name in (*_loaded(places.maps), *_NAMES, *_in_packages(places.packages), *_in_toolkits(places.root)):
        if name not in seen:
            seen.add(name)
            yield name


def _loaded(maps: Path) -> list[str]:
    try:
        lines = maps.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []  # not Linux
    return [match[1] for match in map(_LOADED.fullmatch, lines) if match]


def _in_packages(folders: tuple[Path, ...]) -> Iterator[str]:
    for name, inside in _NAMES.items():
        for folder in folders:
            path = folder / inside / name
            if path.is_file():
                yield str(path)


def _in_toolkits(root: Path) -> Iterator[str]:
    for name in _NAMES:
        for pattern in _TOOLKITS:
            yield from map(str, sorted(root.glob(f"{pattern}/{name}")))


def _nothing_found(reasons: list[str]) -> MissingDependencyError:
    found = f"; not usable: {'; '.join(reasons[:4])}" if reasons else ""
    return MissingDependencyError(
        f"no CUDA runtime found: tried {', '.join(_NAMES)} by name, in Python's {', '.join(_NAMES.values())} and "
        f"in /usr/local/cuda*{found}. Install one: {_INSTALL}"
    )
