"""Graphs that are easily rewritten wrongly: outputs that a product makes, chains, shared and nameless weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from test_precision_graphs import MOST, SCHEMES, attention, chain, one_product, shared_weight, two_of_one_module

from precision_graphs import WIDTH, Graph, rows, statistics, to_precision
from smartrt.errors import ExportError
from smartrt.export.precision.opset import raise_opset
from smartrt.export.precision.proof import prove
from smartrt.export.precision.scheme import PRECISIONS

FEEDS = {"x": rows((2, 7, WIDTH))}


every = pytest.mark.parametrize("scheme", SCHEMES)


@every
def test_a_product_that_is_a_graph_output_keeps_its_name_and_type(scheme, tmp_path):
    graph = Graph()
    model = graph.model({"y": graph.product("a", graph.x)})
    found = to_precision(model, scheme, tmp_path, statistics(["a"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]


@every
def test_a_product_of_activations_that_is_a_graph_output(scheme, tmp_path):
    graph = Graph()
    keys = graph.node("Transpose", [graph.product("k", graph.x)], perm=[0, 2, 1])
    model = graph.model({"y": graph.node("MatMul", [graph.product("q", graph.x), keys])})
    found = to_precision(model, scheme, tmp_path, statistics(["q", "k"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]


@every
def test_rows_of_a_table_that_are_a_graph_output(scheme, tmp_path):
    graph = Graph()
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", "length"]))
    states = graph.node("Gather", [graph.weight("words.weight", 400, WIDTH), ids], axis=0)
    model = graph.model({"y": states}, [ids])
    found = to_precision(model, scheme, tmp_path)
    assert found.differences({"ids": np.arange(400).reshape(8, 50)})["y"] < MOST[scheme]


@every
def test_a_product_that_reads_another_products_output(scheme, tmp_path):
    found = to_precision(chain(), scheme, tmp_path, statistics(["a", "b"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]
    types = {value.name: value.type.tensor_type.elem_type for value in onnx.load(found.after).graph.output}
    assert types == {"y": onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("scheme", ["fp16", "int8", "w8", "int4"])
def test_two_products_of_one_module_keep_their_own_weights(scheme, tmp_path):
    found = to_precision(two_of_one_module(), scheme, tmp_path, statistics(["m"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]


@every
def test_a_shared_weight_behind_an_identity_is_narrow_and_stored_once(scheme, tmp_path):
    """PyTorch's older exporter writes a weight that several layers share so (ALBERT)."""
    found = to_precision(shared_weight(behind_identity=True), scheme, tmp_path, statistics(["a"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]
    proof = prove(found.after)
    assert proof.weights == {PRECISIONS[scheme].weights: 2 * WIDTH * WIDTH}
    assert proof.bytes.get("fp32", 0) < 4096


def test_a_shared_weight_has_static_scales_for_each_of_its_inputs(tmp_path):
    found = to_precision(shared_weight(), "int8-static", tmp_path, statistics(["a"]))
    assert found.differences(FEEDS)["y"] < MOST["int8-static"]


def test_rotary_angles_are_never_float16(tmp_path):
    """As Llama, Qwen3 and ModernBERT are traced: positions times inverse frequencies is a MatMul."""
    graph = Graph(1)
    turns = graph.constant("turns", (10000.0 ** -np.linspace(0, 1, 16)).astype(np.float32).reshape(1, 16, 1))
    column = graph.node("Transpose", [graph.x], perm=[0, 2, 1])
    shape = graph.constant("shape", np.array([1, 16, 1], np.int64))
    angles = graph.node("MatMul", [graph.node("Expand", [turns, shape]), column], "/rotary_emb/MatMul")
    found = to_precision(graph.model({"y": graph.node("Cos", [angles])}), "fp16", tmp_path)
    positions = np.arange(4000, dtype=np.float32).reshape(1, -1, 1)
    assert found.differences({"x": positions})["y"] < 1e-6


@pytest.mark.parametrize("scheme", ["w8", "int4"])
def test_packed_weights_can_be_multiplied_in_float16(scheme, tmp_path):
    chosen = PRECISIONS[scheme].override(None, "fp16")
    found = to_precision(attention(), chosen, tmp_path, statistics(["q", "k", "v", "o"]))
    assert found.differences(FEEDS)["y"] < 1.1 * MOST[scheme]
    assert prove(found.after).computed == {"fp16": WIDTH * (3 * WIDTH + 48)}


def test_static_int8_can_be_computed_in_float16(tmp_path):
    chosen = PRECISIONS["int8-static"].override(None, "fp16")
    found = to_precision(one_product(), chosen, tmp_path, statistics(["a"]))
    assert found.differences(FEEDS)["y"] < MOST["int8-static"]
    assert onnx.load(found.after).opset_import[0].version == 19  # the first with scales of float16


def test_static_int8_computed_in_float16_is_still_int8(tmp_path):
    chosen = PRECISIONS["int8-static"].override(None, "fp16")
    found = to_precision(one_product(), chosen, tmp_path, statistics(["a"]))
    assert prove(found.after).computed == {"int8": WIDTH * WIDTH}


def test_an_input_that_calibration_saw_zeros_of_has_a_normal_scale(tmp_path):
    given = statistics(["a"])
    for tensor in (given.left["a"].largest, given.left["a"].moments, given.left["a"].sample):
        tensor.zero_()
    found = to_precision(one_product(), "int8-static", tmp_path, given)
    scales = [t for t in onnx.load(found.after).graph.initializer if t.name.startswith("activation_scale")]
    assert onnx.numpy_helper.to_array(scales[0]) >= np.finfo(np.float32).tiny


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_table_beyond_float16_is_clipped_as_weights_are(tmp_path):
    graph = Graph()
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", "length"]))
    words = graph.constant("words.weight", np.full((400, WIDTH), 1e5, np.float32))
    states = graph.node("Tanh", [graph.node("Gather", [words, ids], axis=0)])
    found = to_precision(graph.model({"y": states}, [ids]), "fp16", tmp_path)
    stored = onnx.load(found.after).graph.initializer
    assert np.isfinite(onnx.numpy_helper.to_array(stored[0])).all()


@pytest.mark.parametrize(("scheme", "opset", "expected"), [
    ("fp16", 18, 18), ("int8", 18, 18), ("int8-static", 18, 18), ("w8", 18, 21), ("int4", 18, 21), ("int4", 22, 22),
    ("int8", 20, 20),
])  # fmt: skip
def test_the_opset_is_raised_only_where_it_is_needed(scheme, opset, expected, tmp_path):
    model = one_product()
    model.opset_imports[""] = opset
    found = to_precision(model, scheme, tmp_path, statistics(["a"]))
    imports = {entry.domain: entry.version for entry in onnx.load(found.after).opset_import}
    assert imports == {"": expected} | ({"com.microsoft": 1} if scheme == "int8" else {})


@pytest.mark.parametrize("scheme", ["fp32", "fp16"])
def test_wide_precisions_leave_an_old_opset_alone(scheme, tmp_path):
    graph = Graph()
    mean = graph.node("ReduceMean", [graph.x], axes=[-1], keepdims=1)  # its axes became an input in 18
    model = graph.model({"y": graph.node("Tanh", [graph.node("Sub", [graph.x, mean])])}, opset=17)
    found = to_precision(model, scheme, tmp_path)
    assert onnx.load(found.after).opset_import[0].version == 17


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), [
    ("GroupNormalization", 3, {"num_groups": 2}), ("GridSample", 2, {}),
])  # fmt: skip
def test_an_operator_that_means_something_else_is_refused(op_type, inputs, attributes):
    graph = Graph()
    found = graph.node(op_type, [graph.x] * inputs, **attributes)
    model = graph.model({"y": found})
    with pytest.raises(ExportError, match=f"{op_type} changed between opset 18 and 21: give --opset 21"):
        raise_opset(model, 21)
    assert model.opset_imports[""] == 18
    model.opset_imports[""] = 21
    raise_opset(model, 21)  # nothing to raise


def test_an_operator_that_changed_before_18_is_refused():
    graph = Graph()
    model = graph.model({"y": graph.node("ReduceMax", [graph.x], axes=[-1], keepdims=1)}, opset=17)
    with pytest.raises(ExportError, match="ReduceMax changed between opset 17 and 18"):
        raise_opset(model, 18)


def test_what_only_takes_more_types_may_be_raised():
    graph = Graph()
    model = graph.model({"y": graph.node("Transpose", [graph.node("Identity", [graph.x])], perm=[0, 2, 1])})
    raise_opset(model, 21)
    assert (model.opset_imports[""], model.ir_version) == (21, 10)
    raise_opset(model, 18)
    assert model.opset_imports[""] == 21
