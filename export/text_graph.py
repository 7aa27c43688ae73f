"""Tracing a text encoder, through optimum's exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
import torch
from optimum.exporters.onnx.convert import export_pytorch

from smartrt.errors import ExportError

from .graph import check_operators, check_opset, quiet_tracing
from .onnx_config import text_encoder_config

if TYPE_CHECKING:
    from pathlib import Path

    from smartrt.models.text_encoder import TextEncoder


def trace_text_encoder(encoder: TextEncoder, scratch: Path, opset: int) -> ir.Model:
    """The graph `encoder` with its weights, which may lie in `scratch` as long as it is used.

    Raises:
        ExportError: The architecture cannot be traced, or its graph has operators of the refused kind.
    """
    path = scratch / "traced.onnx"
    config = text_encoder_config(encoder.config)
    try:
        with quiet_tracing():
            export_pytorch(encoder, config, opset=opset, output=path)
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"cannot trace {encoder.config.model_type!r}: {reason}") from error
    model = ir.load(path)
    check_opset(model.opset_imports[""], opset)
    check_operators(model)
    dims = {"pooled": encoder.config.hidden_size, "token_states": encoder.head.dim}
    for value in model.graph.outputs:  # the tracer loses or misnames the last axis
        shape = list(value.shape.dims if value.shape is not None else ())
        value.shape = ir.Shape([*shape[:-1], dims[str(value.name)]])
    return model
