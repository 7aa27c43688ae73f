"""What a written graph really stores and computes, counted from the file alone.

Nothing of the conversion is believed: each matrix product is followed back to its constant, and its types are
read off the operators between.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import onnx

from smartrt.errors import ExportError
from smartrt.price import GraphProof

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .scheme import Scheme

_TYPES = {"FLOAT": "fp32", "FLOAT16": "fp16"}  # the rest by ONNX's own name, in small letters
_BITS = {"int4": 4, "fp16": 16, "fp32": 32, "int8": 8, "uint8": 8, "bool": 8, "int32": 32, "bfloat16": 16}
_PASSED = {"Identity", "Transpose", "Reshape", "Cast", "DequantizeLinear"}
_INTEGER_PRODUCTS = {"MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"}
_PRODUCTS = {"MatMul", "Gemm", *_INTEGER_PRODUCTS}


def prove(path: Path) -> GraphProof:
    """Count a graph file; its weights are not read."""
    model = onnx.load(path, load_external_data=False)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in model.graph.node if node.op_type == "Constant"
        for attribute in node.attribute if attribute.name == "value"
    }  # fmt: skip
    makers = {output: node for node in model.graph.node for output in node.output}
    stored: Counter[str] = Counter()
    for tensor in constants.values():
        stored[_type(tensor.data_type)] += _bytes(tensor)
    weights: Counter[str] = Counter()
    computed: Counter[str] = Counter()
    for node in model.graph.node:
        found = _weight(node, constants, makers) if node.op_type in _PRODUCTS else None
        if found:
            tensor, passed = found
            weights[_type(tensor.data_type)] += _elements(tensor)
            computed[_arithmetic(node, makers, passed)] += _elements(tensor)
    return GraphProof(dict(sorted(stored.items())), dict(sorted(weights.items())), dict(sorted(computed.items())))


def check_proof(proofs: Mapping[str, GraphProof], scheme: Scheme, wide: Mapping[str, int]) -> None:
    """Compare what was written with what was asked for.

    Args:
        proofs: Per graph.
        scheme: The precision.
        wide: Per graph, weights of products that were left wide on purpose.

    Raises:
        ExportError: The precision did not take.
    """
    for name, proof in proofs.items():
        total = sum(proof.weights.values()) - wide.get(name, 0)
        narrow = proof.weights.get(scheme.weights, 0)
        if narrow < 0.9 * total:  # an adapter stays wide
            raise ExportError(
                f"the graph {name} was asked for in {scheme.name} and {1 - narrow / total:.0%} of its product weights "
                f"are something else ({proof.weights}): the architecture multiplies in a way smartrt does not quantise"
            )
        arithmetic = "int8" if scheme.activations != "float" else scheme.compute
        if narrow and proof.computed.get(arithmetic, 0) < 0.9 * narrow:
            raise ExportError(f"the graph {name} computes in {proof.computed}, {scheme.name} means {arithmetic}")
    if scheme.quantized and not any(proof.weights.get(scheme.weights) for proof in proofs.values()):
        raise ExportError(
            f"nothing became {scheme.weights}: no product of this model may be rounded so far; choose another precision"
        )


def _weight(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto]
) -> tuple[onnx.TensorProto, list[onnx.NodeProto]] | None:
    """The constant that a product multiplies by, on either side."""
    places = (3, 0) if node.op_type == "QLinearMatMul" else (1, 0)
    return next((found for place in places if (found := _constant(node.input[place], constants, makers))), None)


def _constant(
    name: str, constants: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto]
) -> tuple[onnx.TensorProto, list[onnx.NodeProto]] | None:
    passed: list[onnx.NodeProto] = []
    while name not in constants:
        node = makers.get(name)
        if node is None or node.op_type not in _PASSED:
            return None
        passed.append(node)
        name = node.input[0]
    return constants[name], passed


def _arithmetic(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], passed: list[onnx.NodeProto]) -> str:
    """What the product multiplies in, by what its two inputs come out of."""
    if node.op_type in _INTEGER_PRODUCTS:
        return "int8"
    left = makers.get(node.input[0])
    if left is not None and left.op_type == "DequantizeLinear" and passed and passed[0].op_type == "DequantizeLinear":
        return "int8"  # explicit Q/DQ on both sides: engines multiply the integers
    if left is not None and left.op_type == "Cast":
        to = next(attribute.i for attribute in left.attribute if attribute.name == "to")
        return _type(to)
    return "fp32"


def _type(number: int) -> str:
    name: str = onnx.TensorProto.DataType.Name(number)
    return _TYPES.get(name, name.lower())


def _elements(tensor: onnx.TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _bytes(tensor: onnx.TensorProto) -> int:
    return -(-_elements(tensor) * _BITS.get(_type(tensor.data_type), 64) // 8)
