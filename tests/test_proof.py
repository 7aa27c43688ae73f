"""The proof of a precision: counted from graphs made by hand, and refused where something stayed as it was."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from precision_graphs import WIDTH, Graph, statistics, to_precision
from smartrt.errors import ExportError
from smartrt.export.precision.proof import check_proof, prove
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.price import GraphProof


def constant(name, shape, kind):
    return helper.make_tensor(name, kind, shape, np.zeros(int(np.prod(shape)), np.int8))


def saved(directory, nodes, initializers):
    graph = helper.make_graph(nodes, "tiny", [], [], initializers)
    path = directory / "graph.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def proof(weights, computed=None):
    return GraphProof({}, weights, weights if computed is None else computed)


def test_bytes_are_counted_by_type(tmp_path):
    kinds = {
        "fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
        "int64": TensorProto.INT64, "bfloat16": TensorProto.BFLOAT16,
    }  # fmt: skip
    tensors = [constant(name, [3, 5], kind) for name, kind in kinds.items()]
    tensors += [constant("packed", [3, 5], TensorProto.INT4), constant("more", [4], TensorProto.FLOAT)]
    inside = helper.make_node("Constant", [], ["inside"], value=numpy_helper.from_array(np.zeros(7, np.float32)))
    found = prove(saved(tmp_path, [inside], tensors))
    assert found.bytes == {
        "bfloat16": 30, "fp16": 30, "fp32": 60 + 16 + 28, "int4": 8, "int64": 120, "int8": 15, "uint8": 15,
    }  # fmt: skip
    assert (found.weights, found.computed) == ({}, {})


@pytest.mark.parametrize("passed", [(), ("Identity",), ("Transpose",), ("Cast", "Transpose"), ("Reshape", "Identity")])
@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_a_product_is_followed_back_to_its_constant(passed, op_type, tmp_path):
    nodes, name = [], "w"
    for i, kind in enumerate(passed):
        attributes = {"to": TensorProto.FLOAT} if kind == "Cast" else {}
        nodes.append(helper.make_node(kind, [name], [f"v{i}"], **attributes))
        name = f"v{i}"
    nodes.append(helper.make_node(op_type, ["x", name], ["y"]))
    found = prove(saved(tmp_path, nodes, [constant("w", [6, 4], TensorProto.FLOAT16)]))
    assert (found.weights, found.computed) == ({"fp16": 24}, {"fp32": 24})


def test_a_product_of_two_activations_is_none_of_a_weight(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("MatMul", ["a", "a"], ["y"])]
    assert prove(saved(tmp_path, nodes, [])).weights == {}


@pytest.mark.parametrize("op_type", ["MatMulInteger", "MatMulIntegerToFloat"])
def test_an_integer_product_computes_in_int8(op_type, tmp_path):
    nodes = [helper.make_node(op_type, ["x", "w"], ["y"])]
    found = prove(saved(tmp_path, nodes, [constant("w", [6, 4], TensorProto.INT8)]))
    assert (found.weights, found.computed) == ({"int8": 24}, {"int8": 24})


def test_the_weight_of_qlinearmatmul_is_its_fourth_input(tmp_path):
    names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
    tensors = [constant("w", [6, 4], TensorProto.INT8), constant("x_scale", [], TensorProto.FLOAT)]
    found = prove(saved(tmp_path, [helper.make_node("QLinearMatMul", names, ["y"])], tensors))
    assert found.weights == {"int8": 24}


def test_a_weight_on_the_left_is_a_weight(tmp_path):
    nodes = [helper.make_node("MatMul", ["w", "x"], ["y"])]
    assert prove(saved(tmp_path, nodes, [constant("w", [6, 4], TensorProto.FLOAT)])).weights == {"fp32": 24}


@pytest.mark.parametrize(("left", "arithmetic"), [("DequantizeLinear", "int8"), ("Relu", "fp32"), ("Cast", "fp16")])
def test_arithmetic_is_read_off_what_both_inputs_come_out_of(left, arithmetic, tmp_path):
    attributes = {"to": TensorProto.FLOAT16} if left == "Cast" else {}
    nodes = [
        helper.make_node(left, ["x", "s"] if left == "DequantizeLinear" else ["x"], ["a"], **attributes),
        helper.make_node("DequantizeLinear", ["w", "s"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    tensors = [constant("w", [6, 4], TensorProto.INT8), constant("s", [], TensorProto.FLOAT)]
    found = prove(saved(tmp_path, nodes, tensors))
    assert (found.weights, found.computed) == ({"int8": 24}, {arithmetic: 24})


def test_external_weights_are_counted_and_not_read(tmp_path):
    graph = Graph()
    model = graph.model({"y": graph.node("Tanh", [graph.product("a", graph.x)])})
    found = to_precision(model, "w8", tmp_path, statistics(["a"]))
    (tmp_path / "narrow.onnx.data").unlink()
    counted = prove(found.after)
    assert counted.weights == {"int8": WIDTH * WIDTH}
    assert counted.bytes == {"fp32": WIDTH * 4, "int8": WIDTH * WIDTH}


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_graph_that_is_what_was_asked_for_passes(name):
    scheme = PRECISIONS[name]
    computed = {"int8" if scheme.activations != "float" else scheme.compute: 1000}
    check_proof({"encoder": proof({scheme.weights: 1000}, computed)}, scheme, {"encoder": 0})


@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "fp32"])
def test_weights_that_silently_stayed_float_are_refused(name):
    scheme = PRECISIONS[name]
    computed = {"int8" if scheme.activations != "float" else scheme.compute: 1000}
    mixed = {"encoder": proof({scheme.weights: 800, "fp32": 200}, computed)}
    with pytest.raises(ExportError, match=f"encoder was asked for in {name} and 20% of its product weights are some"):
        check_proof(mixed, scheme, {"encoder": 0})
    vision = {"vision": proof({scheme.weights: 1000}, computed)}
    with pytest.raises(ExportError, match="encoder was asked for"):  # whatever the other graph is
        check_proof(vision | mixed, scheme, {})
    small = {"encoder": proof({scheme.weights: 950, "fp32": 50}, computed)}  # an adapter
    check_proof(small, scheme, {"encoder": 0})


@pytest.mark.parametrize("name", [name for name in PRECISIONS if PRECISIONS[name].quantized])
@pytest.mark.parametrize("weights", [{"fp16": 1000}, {}])
def test_a_bundle_of_which_nothing_was_rounded_is_refused(name, weights):
    scheme = PRECISIONS[name]
    with pytest.raises(ExportError, match=f"nothing became {scheme.weights}"):
        check_proof({"encoder": proof(weights)}, scheme, {"encoder": sum(weights.values())})


@pytest.mark.parametrize(("name", "computed"), [
    ("int8", "fp32"), ("int8-static", "fp32"), ("int8-static", "fp16"), ("fp16", "fp32"), ("w8", "int8"),
])  # fmt: skip
def test_arithmetic_that_was_not_asked_for_is_refused(name, computed):
    scheme = PRECISIONS[name]
    with pytest.raises(ExportError, match=f"encoder computes in .*'{computed}'.*{name} means"):
        check_proof({"encoder": proof({scheme.weights: 1000}, {computed: 1000})}, scheme, {})


def test_what_was_left_wide_on_purpose_may_be_wide():
    mixed = {"encoder": proof({"int4": 500, "fp16": 500}, {"fp32": 1000})}
    check_proof(mixed, PRECISIONS["int4"], {"encoder": 500})
    with pytest.raises(ExportError, match="17% of its product weights are something else"):
        check_proof(mixed, PRECISIONS["int4"], {"encoder": 400})


def test_one_product_that_was_kept_does_not_hide_others_that_stayed_float():
    mixed = {"encoder": proof({"int4": 400, "fp16": 100, "fp32": 500}, {"fp32": 1000})}
    with pytest.raises(ExportError, match="encoder was asked for in int4 and 56% of its product weights"):
        check_proof(mixed, PRECISIONS["int4"], {"encoder": 100})


def test_a_graph_whose_products_are_not_found_is_refused(tmp_path):
    """Gemm is no product that is rewritten: whoever writes it must notice."""
    graph = Graph()
    flat = graph.node("Reshape", [graph.x, graph.constant("flat", np.array([-1, WIDTH]))])
    missed = graph.node("Gemm", [flat, graph.weight("b.weight", WIDTH, WIDTH)])
    back = graph.node("Reshape", [missed, graph.constant("back", np.array([1, -1, WIDTH]))])
    model = graph.model({"y": graph.node("Tanh", [graph.product("a", back)])})
    found = to_precision(model, "int8", tmp_path, statistics(["a"]))
    with pytest.raises(ExportError, match="50% of its product weights are something else"):
        check_proof({"encoder": prove(found.after)}, PRECISIONS["int8"], {"encoder": sum(found.outcome.wide.values())})
