"""The ONNX Runtime that is installed: its build, and what its CUDA provider needs to load and can run on."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cuda_binary import GpuCode, gpu_code, needed_libraries
from .libraries import installed_version
from .reading import Answers, printable

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
"""Both install the module `onnxruntime` and overwrite each other's files."""

CUDA = "CUDAExecutionProvider"
PROVIDER_FILE = "capi/libonnxruntime_providers_cuda.so"
"""Of the module's folder."""

OF_NVIDIA = ("libcu", "libnv")
"""What the names of NVIDIA's libraries begin with."""


@dataclass(frozen=True)
class OnnxRuntime:
    """None is what could not be read; `unknown` says why.

    Attributes:
        version: Of the module that is imported.
        packages: Which packages that bring the module are installed.
        providers: Names of what it was built with.
        error: Why it does not import; None if it does.
        needed: NVIDIA's libraries that its CUDA provider is linked to; empty without one.
        code: The GPUs that its CUDA provider has kernels for; None without one.
        unknown: Attribute -> why it is None.
    """

    version: str | None
    packages: tuple[str, ...]
    providers: tuple[str, ...]
    error: str | None
    needed: tuple[str, ...] | None
    code: GpuCode | None
    unknown: dict[str, str]

    @property
    def has_cuda(self) -> bool:
        """Whether the build has the CUDA provider; it may still not load."""
        return CUDA in self.providers


def read_onnx_runtime(version: Callable[[str], str | None] = installed_version) -> OnnxRuntime:
    """Import ONNX Runtime and look at its files.

    Args:
        version: Name of a package -> its version.
    """
    packages = tuple(name for name in PACKAGES if version(name))
    try:
        module = importlib.import_module("onnxruntime")
        found, providers = str(module.__version__), tuple(map(str, module.get_available_providers()))
        folder = Path(module.__file__ or "").parent
    except ModuleNotFoundError:
        return _absent(packages, "it is not installed")
    except Exception as error:  # noqa: BLE001  (a broken build raises anything, and the report must say what)
        return _absent(packages, f"it does not load: {printable(str(error))[:200]}")
    if CUDA not in providers:
        return OnnxRuntime(found, packages, providers, None, (), None, {"code": "this build has no CUDA provider"})
    answers = Answers()
    needed = answers.ask("needed", lambda: needed_libraries(folder / PROVIDER_FILE))
    return OnnxRuntime(
        version=found,
        packages=packages,
        providers=providers,
        error=None,
        needed=None if needed is None else tuple(name for name in needed if name.startswith(OF_NVIDIA)),
        code=answers.ask("code", lambda: gpu_code(folder / PROVIDER_FILE)),
        unknown=answers.unknown,
    )


def _absent(packages: tuple[str, ...], reason: str) -> OnnxRuntime:
    unknown = dict.fromkeys(("version", "code"), reason)
    return OnnxRuntime(None, packages, (), reason, (), None, unknown)
