"""Writing one graph, and refusing what engines cannot run."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING

import onnx
import torch
from optimum.exporters.onnx.convert import export_pytorch

from smartrt.errors import ExportError
from smartrt.manifest import GraphEntry

from .defaults import OPSET
from .onnx_config import text_encoder_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smartrt.models.text_encoder import TextEncoder

_INLINE_BYTES = 1024
_DATA_DEPENDENT = {"NonZero", "Loop", "If", "Scan", "Unique"}
_SCATTERS = {"ScatterND", "ScatterElements"}


def export_text_encoder(encoder: TextEncoder, directory: Path, name: str = "encoder", opset: int = OPSET) -> GraphEntry:
    """Trace `encoder` through optimum's exporter into ``NAME.onnx`` and ``NAME.onnx.data``.

    The weights lie in a file of their own: engines map it instead of holding it twice.

    Raises:
        ExportError: The architecture cannot be traced, or its graph has operators of the refused kind.
    """
    path = directory / f"{name}.onnx"
    config = text_encoder_config(encoder.config)
    try:
        with quiet_tracing():
            export_pytorch(encoder, config, opset=opset, output=path)
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"cannot trace {encoder.config.model_type!r}: {reason}") from error
    model = onnx.load(path)
    check_operators(model.graph)
    _fix_last_axes(model.graph, encoder.config.hidden_size)
    path.unlink()
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{name}.onnx.data",
        size_threshold=_INLINE_BYTES,
    )
    onnx.checker.check_model(path)
    return GraphEntry(
        path.name, tuple(node.name for node in model.graph.input), tuple(node.name for node in model.graph.output)
    )


def check_operators(graph: onnx.GraphProto) -> None:
    """Refuse shapes and control flow that depend on data: TensorRT cannot plan them.

    Raises:
        ExportError: Names the operator.
    """
    for node in graph.node:
        reduction = next((a.s for a in node.attribute if a.name == "reduction"), b"none")
        if node.op_type in _DATA_DEPENDENT or (node.op_type in _SCATTERS and reduction != b"none"):
            raise ExportError(
                f"the graph holds {node.op_type} ({node.name or 'unnamed'}), whose work depends on the data: "
                "engines cannot plan it, so this architecture is not supported"
            )


def _fix_last_axes(graph: onnx.GraphProto, hidden: int) -> None:
    """Say that vectors have `hidden` dimensions where the tracer lost it in the normalisation."""
    for node in graph.output:
        node.type.tensor_type.shape.dim[-1].dim_value = hidden


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Hide what the tracer says about every export; what it gets wrong, the parity check finds."""
    logger = logging.getLogger("optimum")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.onnx")
            yield
    finally:
        logger.setLevel(level)
