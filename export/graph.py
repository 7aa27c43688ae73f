"""Writing one graph, and refusing what engines cannot run."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir
import torch

from smartrt.errors import ExportError

from .defaults import OPSET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


Weight: TypeAlias = tuple[tuple[int, ...], Callable[[], torch.Tensor]]
"""Shape of a weight, and what reads its values."""

_DATA_DEPENDENT = {"NonZero", "Loop", "If", "Scan", "Unique"}
_SCATTERS = {"ScatterND", "ScatterElements"}


def export_module(
    module: torch.nn.Module,
    name: str,
    example: dict[str, torch.Tensor],
    axes: dict[str, tuple[str | int, ...]],
    weights: Mapping[str, Weight],
    opset: int = OPSET,
) -> ir.Model:
    """Trace one of our own modules through PyTorch's exporter; nothing is written.

    Args:
        module: Takes the tensors of `example` by name and returns a dict of tensors.
        name: Of the graph.
        example: Inputs; every named axis must be at least 2 here, or the tracer takes it for a constant.
        axes: Of every input and output: names are dynamic, numbers fixed.
        weights: Per parameter of `module` that is a placeholder (NaN) its shape and what reads its values. It becomes
            an initializer of that name which is read whenever its value is asked for, and never kept.
        opset: ONNX opset.

    Raises:
        ExportError: It cannot be traced, its graph has operators of the refused kind, or the exporter computed
            something from a placeholder.
    """
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
    model = program.model
    check_opset(model.opset_imports[""], opset)
    check_operators(model)
    found = {str(value.name): value for value in (*model.graph.inputs, *model.graph.outputs)}
    if list(found) != [*example, *outputs]:
        raise ExportError(f"the graph {name} has {list(found)}, expected {[*example, *outputs]}")
    for tensor, value in found.items():
        value.shape = ir.Shape(axes[tensor])
    _connect_weights(model, name, weights)
    return model


def _connect_weights(model: ir.Model, name: str, weights: Mapping[str, Weight]) -> None:
    """Let the initializers that stand for weights read them, and see to it that nothing else was made of weights."""
    for key, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            raise ExportError(f"the weight {key} of the graph {name} has no value")
        if key in weights and tuple(tensor.shape) == weights[key][0]:
            value.const_value = ir.LazyTensor(
                _reader(key, weights[key][1]), dtype=tensor.dtype, shape=ir.Shape(weights[key][0]), name=key
            )
        elif _has_nan(tensor):
            raise ExportError(f"the exporter made {key} of the graph {name} out of a weight that is not loaded")
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if isinstance(attribute, ir.Attr) and _holds_nan(attribute):
                raise ExportError(f"the exporter made a constant of {node.op_type} in the graph {name} out of a weight")


def _reader(key: str, read: Callable[[], torch.Tensor]) -> Callable[[], ir.TensorProtocol]:
    return lambda: ir.tensor(read().numpy(), name=key)


def _has_nan(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype.is_floating_point() and bool(np.isnan(tensor.numpy()).any())


def _holds_nan(attribute: ir.Attr) -> bool:
    if attribute.type == ir.AttributeType.TENSOR:
        return _has_nan(attribute.as_tensor())
    numbers = {ir.AttributeType.FLOAT: lambda: [attribute.as_float()], ir.AttributeType.FLOATS: attribute.as_floats}
    return attribute.type in numbers and any(map(math.isnan, numbers[attribute.type]()))


def check_opset(written: int | None, opset: int) -> None:
    """Exporters write another opset than asked for where they do not know the one asked for."""
    if written != opset:
        raise ExportError(f"opset {opset} was asked for and PyTorch wrote {written}: give --opset {written}")


def check_operators(model: ir.Model) -> None:
    """Refuse shapes and control flow that depend on data: TensorRT cannot plan them.

    Raises:
        ExportError: Names the operator.
    """
    for node in _nodes(model):
        reduction = node.attributes["reduction"].as_string() if "reduction" in node.attributes else "none"
        if node.op_type in _DATA_DEPENDENT or (node.op_type in _SCATTERS and reduction != "none"):
            raise ExportError(
                f"the graph holds {node.op_type} ({node.name or 'unnamed'}), whose work depends on the data: "
                "engines cannot plan it, so this architecture is not supported"
            )


def _nodes(model: ir.Model) -> list[ir.Node]:
    functions = (node for function in model.functions.values() for node in function)
    return [*model.graph.all_nodes(), *functions]


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
