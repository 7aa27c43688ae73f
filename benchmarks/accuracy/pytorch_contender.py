"""PyTorch as an encoder of a measurement: the checkpoint of the bundles, in the types that people serve it in."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from smartrt.bundle import sha256_of
from smartrt.export.measure import BATCH, in_batches

from ..pytorch import KINDS, check_kind, check_source, open_pytorch
from .contenders import Contender, circumstances, weights_of
from .names import pytorch_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartrt.manifest import Manifest
    from smartrt.models.checkpoint import Checkpoint

    from .contenders import Start

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_RECIPE = (
    "family", "tokenizer", "prompts", "chat", "images", "pooling", "pooled_token_id", "normalized", "token_layers",
    "late_mask",
)  # fmt: skip
_SETTINGS = (".json", ".txt", ".jinja", ".model")  # beside the weights: architecture, tokenizer, pooling


def pytorch_contenders(
    source: str, kinds: Sequence[str], manifest: Manifest, device: str = "cpu"
) -> tuple[Contender, ...]:
    """A contender for each way to run `source`; the weights are loaded when the first text has to be encoded.

    Args:
        source: The checkpoint, as `smartrt export` takes it.
        kinds: Names in `pytorch.KINDS`.
        manifest: Of a bundle that came from `source`: its recipe, and its weights of the hybrid.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        OptionError: There is no such kind or device; the checkpoint holds other weights than the bundle was made from;
            or the bundle has an adapter, whose file it does not carry.
        MissingDependencyError: A library, a compiler or a GPU is missing.
        ExportError: There is no such checkpoint.
    """
    for kind in kinds:
        check_kind(kind, device)
    # `open_pytorch` checks it too, but it may not be called before minutes have passed, or never with a cache.
    shared = _decides(check_source(source, manifest), manifest, device)
    return tuple(
        Contender(
            pytorch_label(kind), "pytorch", manifest.source.weights_sha256, KINDS[kind].dtype, manifest.dims.token,
            weights_of(manifest), shared | {"kind": kind}, functools.partial(_loaded, source, kind, manifest, device),
        )
        for kind in dict.fromkeys(kinds)
    )  # fmt: skip


def _decides(checkpoint: Checkpoint, manifest: Manifest, device: str) -> dict[str, Any]:
    import torch

    described = dataclasses.asdict(manifest)
    settings = sorted(path for path in checkpoint.path.rglob("*") if path.suffix in _SETTINGS and path.is_file())
    return circumstances(_LIBRARIES) | {
        "weights": manifest.source.weights_sha256,
        "settings": {str(path.relative_to(checkpoint.path)): sha256_of(path) for path in settings},
        "recipe": {key: described[key] for key in _RECIPE},
        "device": device,
        "threads": torch.get_num_threads(),
        "batch": BATCH,
    }


@contextlib.contextmanager
def _loaded(source: str, kind: str, manifest: Manifest, device: str) -> Iterator[Start]:
    yield functools.partial(in_batches, open_pytorch(source, kind, manifest, device=device))
