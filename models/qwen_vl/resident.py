"""transformers' model with its weights in memory, on a device: for timing. The reference of an export streams them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn

from .skeleton import put, rotary

if TYPE_CHECKING:
    from .reference import QwenVLReference


def resident(reference: QwenVLReference, dtype: torch.dtype, device: str) -> QwenVLReference:
    """`reference` with a model that holds its weights, and the attention that transformers itself would choose.

    Args:
        reference: Loaded on placeholders (`load.load_backbone`).
        dtype: Of weights and arithmetic. Rotary frequencies stay float32.
        device: As PyTorch names it.
    """
    backbone = reference.backbone
    with torch.device("meta"):
        model: Any = transformers.AutoModel.from_config(backbone.config, dtype=dtype, trust_remote_code=False)
    for name, _ in list(model.named_parameters()):
        weight = backbone.weights.read(name).to(device=device, dtype=dtype)
        put(model, name, nn.Parameter(weight, requires_grad=False))
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            put(model, name, rotary(module).to(device))
    return dataclasses.replace(reference, backbone=dataclasses.replace(backbone, model=model.eval()))
