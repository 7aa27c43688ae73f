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
    _check_opset(model, opset)
    check_operators(model)
    _fix_axis(model.graph, "pooled", -1, encoder.config.hidden_size)
    _fix_axis(model.graph, "token_states", -1, encoder.head.dim)
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


def export_module(
    module: torch.nn.Module,
    directory: Path,
    name: str,
    example: dict[str, torch.Tensor],
    axes: dict[str, tuple[str | int, ...]],
    opset: int = OPSET,
) -> GraphEntry:
    """Trace one of our own modules through PyTorch's exporter into ``NAME.onnx`` and ``NAME.onnx.data``.

    Args:
        module: Takes the tensors of `example` by name and returns a dict of tensors.
        directory: Where to write.
        name: Of the graph.
        example: Inputs; every named axis must be at least 2 here, or the tracer takes it for a constant.
        axes: Of every input and output: names are dynamic, numbers fixed.
        opset: ONNX opset.

    Raises:
        ExportError: It cannot be traced, or its graph has operators of the refused kind.
    """
    path = directory / f"{name}.onnx"
    dims = {axis: torch.export.Dim(axis) for tensor in example for axis in axes[tensor] if isinstance(axis, str)}
    shapes = {
        tensor: {i: dims[axis] for i, axis in enumerate(axes[tensor]) if isinstance(axis, str)} for tensor in example
    }
    outputs = [tensor for tensor in axes if tensor not in example]
    try:
        with quiet_tracing(), torch.inference_mode():
            program = torch.onnx.export(
                module, (), kwargs=example, dynamo=True, opset_version=opset, verbose=False,
                input_names=list(example), output_names=outputs, dynamic_shapes=shapes,
            )  # fmt: skip
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"cannot trace the graph {name}: {reason}") from error
    if program is None:
        raise ExportError(f"PyTorch returned no program for the graph {name}")
    program.save(path, external_data=True)
    model = onnx.load(path, load_external_data=False)
    _check_opset(model, opset)
    check_operators(model)
    found = [node.name for node in (*model.graph.input, *model.graph.output)]
    if found != [*example, *outputs]:
        raise ExportError(f"the graph {name} has {found}, expected {[*example, *outputs]}")
    for tensor in axes:
        for i, axis in enumerate(axes[tensor]):
            _fix_axis(model.graph, tensor, i, axis)
    onnx.save(model, path)
    onnx.checker.check_model(path)
    return GraphEntry(path.name, tuple(example), tuple(outputs))


def _check_opset(model: onnx.ModelProto, opset: int) -> None:
    """Exporters write another opset than asked for where they do not know the one asked for."""
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:
        raise ExportError(f"opset {opset} was asked for and PyTorch wrote {written}: give --opset {written}")


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse shapes and control flow that depend on data: TensorRT cannot plan them.

    Raises:
        ExportError: Names the operator.
    """
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        reduction = next((a.s for a in node.attribute if a.name == "reduction"), b"none")
        if node.op_type in _DATA_DEPENDENT or (node.op_type in _SCATTERS and reduction != b"none"):
            raise ExportError(
                f"the graph holds {node.op_type} ({node.name or 'unnamed'}), whose work depends on the data: "
                "engines cannot plan it, so this architecture is not supported"
            )


def _fix_axis(graph: onnx.GraphProto, name: str, axis: int, value: str | int) -> None:
    """Name an axis, or say its size, where the tracer chose another name or lost it."""
    node = next(node for node in (*graph.input, *graph.output) if node.name == name)
    dim = node.type.tensor_type.shape.dim[axis]
    if isinstance(value, str):
        dim.dim_param = value
    else:
        dim.dim_value = value


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Hide what the tracer says about every export; what it gets wrong, the parity check finds."""
    loggers = [logging.getLogger(name) for name in ("optimum", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
