"""What is installed: Python packages with their versions, and shared libraries that really load.

A list of providers says what ONNX Runtime was built for, not what runs: it falls back to the CPU where a library is
missing. So each library is loaded, in a process of its own (`probe.py`).
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .reading import ROOT, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROBE = Path(__file__).with_name("probe.py")
_PROBE_S = 10.0
_LONGEST_OUTPUT = 1 << 20
_NOT_FOUND = re.compile(r"^(\S+): cannot open shared object file: No such file or directory$")
"""What glibc's loader says of a file that is nowhere."""

SHARED = {
    "libcuda": ("libcuda.so.1",),
    "libcudart": ("libcudart.so.13", "libcudart.so.12"),
    "libcublas": ("libcublas.so.13", "libcublas.so.12"),
    "libcudnn": ("libcudnn.so.9", "libcudnn.so.8"),
    "libnvinfer": ("libnvinfer.so.11", "libnvinfer.so.10"),
    "libnvonnxparser": ("libnvonnxparser.so.11", "libnvonnxparser.so.10"),
}
"""Library -> the files that it may be, newest first."""


@dataclass(frozen=True)
class SharedLibrary:
    """One shared library.

    Attributes:
        loads: Whether it loaded.
        file: What loaded.
        version: As it says itself; None if it does not.
        reason: Why it did not load.
    """

    loads: bool
    file: str | None
    version: str | None
    reason: str | None


@dataclass(frozen=True)
class CudaDevice:
    """A GPU as the CUDA driver lists it; memory in bytes."""

    name: str
    sm: str
    memory: int
    integrated: bool


@dataclass(frozen=True)
class Probe:
    """What came of loading.

    Attributes:
        libraries: By name: those of `SHARED`, and the files that were asked for beside them.
        cuda: ``ready``, or why the CUDA driver lists no GPU.
        devices: What it lists.
    """

    libraries: dict[str, SharedLibrary]
    cuda: str
    devices: tuple[CudaDevice, ...]


def installed_version(name: str) -> str | None:
    """The version of an installed Python package, or None; a package whose metadata is damaged counts as none."""
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError, OSError):
        return None


def find_module(name: str) -> Path | None:
    """The folder of a Python package that could be imported, which it is not; None if there is none."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(found.origin).parent if found and found.origin else None


def probe(files: Sequence[str] = (), wait_s: float = _PROBE_S) -> Probe:
    """Load the libraries of `SHARED` and `files` in another process.

    Args:
        files: More files, each for itself, such as those that ONNX Runtime's CUDA provider is linked to.
        wait_s: Seconds until the process is ended.
    """
    groups = {name: list(files) for name, files in SHARED.items()} | {file: [file] for file in files}
    command = [sys.executable, "-I", "-S", str(_PROBE), json.dumps(groups), *map(str, _folders())]
    try:
        finished = subprocess.run(  # noqa: S603  (this Python, our own file)
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=wait_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        return understand(late.stdout or b"", groups, f"it did not end in {wait_s:g} s")
    except OSError as error:
        return understand(b"", groups, f"Python could not be started: {error.strerror or error}")
    code = finished.returncode
    ended = f"it ended the process (signal {-code})" if code < 0 else f"the process ended with exit code {code}"
    return understand(finished.stdout, groups, ended)


def understand(output: bytes, groups: Mapping[str, Sequence[str]], ended: str) -> Probe:
    """What the lines of `probe.py` say, however early they end.

    Args:
        output: Its lines.
        groups: What was asked for.
        ended: How the process ended, the reason for what it did not come to say.
    """
    libraries: dict[str, SharedLibrary] = {}
    cuda, found = "libcuda does not load", tuple[CudaDevice, ...]()
    trying = None
    for line in _objects(output[:_LONGEST_OUTPUT]):
        trying = line.get("try")
        if "library" in line:
            libraries[str(line["library"])] = _shared(line)
        if "cuda" in line:
            cuda, found = _line(line["cuda"]), _devices(line.get("devices", []))
    if trying == "cuInit":
        cuda = f"cuInit: {ended}"
    for name in groups:
        reason = ended if name == trying else "not tried: an earlier library ended the process"
        libraries.setdefault(name, SharedLibrary(loads=False, file=None, version=None, reason=reason))
    return Probe(libraries, cuda, found)


def wheel_folders() -> list[Path]:
    """Folders with libraries that NVIDIA's wheels brought: `nvidia/*/lib` and `tensorrt_libs` beside the packages."""
    places = [Path(place) for place in sys.path if place]
    found = [folder for place in places for folder in sorted(place.glob("nvidia/*/lib"))]
    return found + [folder for place in places if (folder := place / "tensorrt_libs").is_dir()]


def _folders(root: Path = ROOT) -> list[Path]:
    """Where libraries lie that the loader may not search: NVIDIA's wheels, and toolkits below /usr/local."""
    return [*wheel_folders(), *sorted(root.glob("usr/local/cuda*/lib64"))]


def _objects(output: bytes) -> list[dict[str, Any]]:
    """Lines that are JSON objects; a line that was cut off is none."""
    found = []
    for line in output.decode("utf-8", "replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _shared(line: dict[str, Any]) -> SharedLibrary:
    if "error" in line:
        reason = _NOT_FOUND.sub(r"\1 is not found", _line(line["error"]))
        return SharedLibrary(loads=False, file=None, version=None, reason=reason)
    version = line.get("version")
    return SharedLibrary(
        loads=True, file=_line(line.get("file", "")), version=None if version is None else _line(version), reason=None
    )


def _devices(entries: Any) -> tuple[CudaDevice, ...]:
    """Those that are whole: a library may print to the same output."""
    found = map(_device, entries if isinstance(entries, list) else ())
    return tuple(device for device in found if device is not None)


def _device(entry: Any) -> CudaDevice | None:
    try:
        name, sm, memory, integrated = (entry[key] for key in ("name", "sm", "memory", "integrated"))
        return CudaDevice(_line(name), _line(sm), int(memory), bool(integrated))
    except (KeyError, TypeError, ValueError):
        return None


def _line(value: Any) -> str:
    return printable(str(value))[:300]
