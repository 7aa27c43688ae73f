"""PyTorch as it is deployed: the same checkpoint, in the types and modes that people serve it in.

The reference of an export (`smartrt.models`) is float32 with eager attention, because that can be traced. What is
timed here is the stronger baseline: transformers' own choice of attention (SDPA), weights in memory on the device, and
on top of it bfloat16, `torch.compile`, or on CUDA float16, there with eager attention as well.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from smartrt.errors import MissingDependencyError, OptionError

from .clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartrt.manifest import Manifest, Side
    from smartrt.models.checkpoint import Checkpoint
    from smartrt.types import Embeddings


@dataclass(frozen=True)
class Kind:
    """One way to run PyTorch: the type of weights and arithmetic, whether the graph is compiled, and which attention.

    `attention` is transformers' ``attn_implementation``; None is its own choice, SDPA.
    """

    label: str
    dtype: Literal["float32", "bfloat16", "float16"]
    compiled: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    attention: Literal["eager"] | None = None


KINDS = {
    "fp32": Kind("PyTorch float32", "float32"),
    "bf16": Kind("PyTorch bfloat16", "bfloat16"),
    "compile": Kind("torch.compile float32", "float32", compiled=True),
    "fp16": Kind("PyTorch float16", "float16", devices=("cuda",)),
    "fp16-eager": Kind("PyTorch float16, eager attention", "float16", devices=("cuda",), attention="eager"),
}


class PyTorch(Protocol):
    """A checkpoint that encodes; outputs are on the CPU when it returns, in float32."""

    def encode(self, items: Sequence[Any], side: Side) -> Embeddings:
        """Encode as one batch, or as few as equal lengths allow."""


def need_pytorch() -> None:
    """Refuse where the PyTorch side cannot run at all.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
    """
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(f"the PyTorch side needs {name}: pip install 'smartrt[export]'")


def check_kind(kind: str, device: str = "cpu") -> None:
    """Refuse what cannot run, before anything is measured.

    Raises:
        OptionError: There is no such kind or device, or the kind does not run on the device.
        MissingDependencyError: A library, a compiler or a GPU is missing.
    """
    if kind not in KINDS:
        raise OptionError(f"unknown PyTorch kind {kind!r}; there are: {', '.join(KINDS)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise OptionError(f"unknown device {device!r}; there are: cpu, cuda, cuda:N")
    if device.split(":")[0] not in KINDS[kind].devices:
        raise OptionError(f"{KINDS[kind].label} runs on {', '.join(KINDS[kind].devices)}, not on {device}")
    need_pytorch()
    if KINDS[kind].compiled and device == "cpu" and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise MissingDependencyError("torch.compile on a CPU needs a C++ compiler: install g++, or leave compile out")
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise MissingDependencyError(f"this PyTorch has no {device}: install a CUDA build, or ask for device cpu")


def check_source(source: str, manifest: Manifest) -> Checkpoint:
    """The checkpoint `source`, if a bundle came from it.

    Raises:
        OptionError: It holds other weights than the bundle was made from, or the bundle has an adapter, whose file it
            does not carry.
        ExportError: There is no such checkpoint.
    """
    from smartrt.models.checkpoint import Checkpoint

    if manifest.adapter:
        raise OptionError(f"{manifest.name} has an adapter: leave PyTorch out, it is measured without adapters")
    checkpoint = Checkpoint.resolve(source)
    if checkpoint.weights_sha256() != manifest.source.weights_sha256:
        raise OptionError(f"{source} does not hold the weights that {manifest.name} came from: give --source another")
    return checkpoint


def open_pytorch(
    source: str,
    kind: str,
    manifest: Manifest,
    *,
    device: str = "cpu",
    clock: Clock | None = None,
    checked: bool = False,
) -> PyTorch:
    """Load `source` with the recipe of a bundle: its prompts, lengths, pooling and token layer.

    Args:
        source: The checkpoint, as `smartrt export` takes it.
        kind: A name in `KINDS`.
        manifest: Of a bundle that came from `source`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        clock: Counts the stages ``preprocess`` and ``encoder``, or ``preprocess``, ``vision`` and ``decoder``.
        checked: `check_source` was called before.

    Raises:
        OptionError: See `check_kind` and `check_source`.
        MissingDependencyError: See `check_kind`.
        ExportError: The checkpoint cannot be loaded.
    """
    check_kind(kind, device)
    from smartrt.models.checkpoint import Checkpoint

    checkpoint = Checkpoint.resolve(source) if checked else check_source(source, manifest)
    if manifest.family == "text-encoder":
        from .pytorch_text import open_text

        return open_text(checkpoint, KINDS[kind], manifest, device, clock or Clock())
    from .pytorch_qwen import open_qwen

    return open_qwen(checkpoint, KINDS[kind], manifest, device, clock or Clock())
