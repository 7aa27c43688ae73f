"""Small graphs in every precision, run in ONNX Runtime and compared with float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from precision_graphs import WIDTH, Given, Graph, rows, run, statistics, to_precision
from smartrt.errors import ExportError
from smartrt.export.precision.products import find_products
from smartrt.export.precision.proof import prove
from smartrt.export.precision.rounding import round_weight
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.export.precision.weights import weight_of

MOST = {"fp32": 0.0, "fp16": 1e-6, "int8": 1e-3, "int8-static": 3e-3, "w8": 3e-4, "int4": 0.1}
"""Share of the output's energy that a few products in a row may change."""

SCHEMES = [name for name in PRECISIONS if name != "fp32"]
FEEDS = {"x": rows((2, 7, WIDTH))}

every = pytest.mark.parametrize("scheme", SCHEMES)


def one_product():
    graph = Graph()
    bias = graph.constant("bias", np.linspace(-1, 1, WIDTH, dtype=np.float32))
    return graph.model({"y": graph.node("Add", [graph.product("a", graph.x), bias])})


def attention():
    """Query, key and value of one input, and two products of activations."""
    graph = Graph()
    query, key, value = (graph.product(path, graph.x) for path in ("q", "k", "v"))
    scores = graph.node("MatMul", [query, graph.node("Transpose", [key], perm=[0, 2, 1])], "scores")
    scaled = graph.node("Mul", [scores, graph.constant("scaling", np.float32(WIDTH**-0.5))])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scaled], axis=-1), value], "mixed")
    return graph.model({"y": graph.node("Tanh", [graph.product("o", mixed, columns=48)])})


def table(vocabulary):
    """Ids through a table and a product."""
    graph = Graph()
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", "length"]))
    states = graph.node("Gather", [graph.weight("words.weight", vocabulary, WIDTH), ids], axis=0)
    shifted = graph.node("Add", [states, graph.constant("bias", np.ones(WIDTH, np.float32))])
    return graph.model({"y": graph.node("Tanh", [graph.product("a", shifted)])}, [ids])


def shared_weight(*, behind_identity=False):
    """One weight that two inputs pass through, as ALBERT's layers do."""
    graph = Graph()
    weight = graph.weight("a.weight", WIDTH, WIDTH)
    once = graph.node("MatMul", [graph.x, weight], "/a/MatMul")
    again = graph.node("Identity", [weight]) if behind_identity else weight
    return graph.model({"y": graph.node("Tanh", [graph.node("MatMul", [graph.node("Tanh", [once]), again])])})


def chain():
    """A product that reads another's output as it is."""
    graph = Graph()
    return graph.model({"y": graph.node("Tanh", [graph.product("b", graph.product("a", graph.x))])})


def two_of_one_module():
    """Two products that a module makes of two parameters: their nodes are told apart by a number."""
    graph = Graph()
    first = graph.node("MatMul", [graph.x, graph.weight("onnx::1", WIDTH, WIDTH)], "/m/MatMul")
    states = graph.node("Tanh", [first])
    second = graph.node("MatMul", [states, graph.weight("onnx::2", WIDTH, WIDTH)], "/m/MatMul_1")
    return graph.model({"y": graph.node("Tanh", [second])})


def initializers(path):
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


@every
def test_a_product_with_a_bias_is_near_float32(scheme, tmp_path):
    found = to_precision(one_product(), scheme, tmp_path, statistics(["a"]))
    assert found.outcome.wide == {}
    assert 0 < found.differences(FEEDS)["y"] < MOST[scheme]
    proof = prove(found.after)
    assert proof.weights == {PRECISIONS[scheme].weights: WIDTH * WIDTH}
    assert len(found.outcome.errors) == PRECISIONS[scheme].quantized


@every
def test_products_of_one_input_and_of_two_activations(scheme, tmp_path):
    found = to_precision(attention(), scheme, tmp_path, statistics(["q", "k", "v", "o"]))
    assert 0 < found.differences({"x": rows((50, 7, WIDTH))})["y"] < MOST[scheme] / 2  # of few rows one decides
    nodes = onnx.load(found.after).graph.node
    kinds = [node.op_type for node in nodes]
    if scheme.startswith("int8"):  # one input, quantised once for all three that read it
        assert kinds.count("QuantizeLinear") == 2
    halves = {node.output[0] for node in nodes if node.op_type == "Cast" and node.attribute[0].i == 10}
    products = {node.name: node for node in nodes if node.op_type == "MatMul"}
    for name in ("scores", "mixed"):
        assert set(products[name].input) <= halves if scheme == "fp16" else not set(products[name].input) & halves


@every
def test_without_calibration_weights_are_rounded_to_the_nearest_and_a_static_scale_is_refused(scheme, tmp_path):
    if scheme == "int8-static":
        with pytest.raises(ExportError, match="calibration did not reach a"):
            to_precision(one_product(), scheme, tmp_path)
        return
    found = to_precision(one_product(), scheme, tmp_path)
    assert 0 < found.differences(FEEDS)["y"] < MOST[scheme]


@every
def test_a_large_table_is_stored_small_and_a_small_one_is_left(scheme, tmp_path):
    ids = {"ids": np.arange(400).reshape(8, 50)}
    for vocabulary, stored in ((400, PRECISIONS[scheme].table), (100, "fp32")):
        directory = tmp_path / str(vocabulary)
        directory.mkdir()
        found = to_precision(table(vocabulary), scheme, directory, Given(statistics(["a"]).left))
        feeds = {"ids": ids["ids"] % vocabulary}
        assert found.differences(feeds)["y"] < 3 * MOST[scheme]
        kinds = {name: tensor.data_type for name, tensor in initializers(found.after).items() if "words" in name}
        types = {"fp32": {1}, "fp16": {10}, "int8": {3, 1}}[stored]
        assert set(kinds.values()) == types
        assert ("words.weight" in kinds) == (stored == "fp32")


def test_a_table_of_int8_has_a_scale_per_row(tmp_path):
    found = to_precision(table(400), "w8", tmp_path, statistics(["a"]))
    stored = initializers(found.after)
    codes, scales = (numpy_helper.to_array(stored[f"words.weight.{name}"]) for name in ("codes", "scales"))
    wide = numpy_helper.to_array(initializers(found.before)["words.weight"])
    assert scales.shape == (400, 1)
    assert np.abs(wide - codes * scales).max(axis=1, keepdims=True).max() <= 0.501 * scales.max()
    np.testing.assert_array_equal(np.abs(codes).max(axis=1), 127)


def test_rows_of_zeros_are_zeros_in_dynamic_int8(tmp_path):
    found = to_precision(attention(), "int8", tmp_path, statistics(["q", "k", "v", "o"]))
    states = rows((2, 7, WIDTH))
    states[0] = 0
    states[1, 3:] = 0
    result = found.run({"x": states})["y"]
    assert np.isfinite(result).all()
    assert not result[0].any()
    assert np.isfinite(found.run({"x": states * np.float32(1e-38)})["y"]).all()
    assert np.isfinite(found.run({"x": states * np.float32(1e10)})["y"]).all()


def test_a_row_in_dynamic_int8_does_not_depend_on_its_neighbours(tmp_path):
    found = to_precision(one_product(), "int8", tmp_path, statistics(["a"]))
    states = rows((6, 9, WIDTH)) * np.geomspace(1e-3, 1e3, 54, dtype=np.float32).reshape(6, 9, 1)
    together = found.run({"x": states})["y"]
    for item in range(6):
        np.testing.assert_array_equal(found.run({"x": states[item : item + 1]})["y"][0], together[item])
    np.testing.assert_array_equal(found.run({"x": states[2:3, 4:5]})["y"][0, 0], together[2, 4])


def test_the_codes_of_four_bits_come_back_as_they_were_packed(tmp_path):
    found = to_precision(one_product(), PRECISIONS["int4"].override("nearest", None), tmp_path)
    stored = initializers(found.after)
    assert stored["a.codes"].data_type == onnx.TensorProto.INT4
    (product,) = find_products(ir.load(found.before).graph)
    expected = round_weight(weight_of(product), 4, WIDTH)
    np.testing.assert_array_equal(numpy_helper.to_array(stored["a.codes"]).astype(np.int8), expected.values.numpy())
    data = (tmp_path / "narrow.onnx.data").read_bytes()
    packed = np.frombuffer(data[: WIDTH * WIDTH // 2], np.uint8)
    flat = expected.values.numpy().reshape(-1)
    low, high = (packed & 15).astype(np.int8), (packed >> 4).astype(np.int8)
    signed = np.stack([low, high], axis=1).reshape(-1)
    np.testing.assert_array_equal(np.where(signed > 7, signed - 16, signed), flat)


@every
def test_float_weights_are_gone_from_the_file(scheme, tmp_path):
    found = to_precision(attention(), scheme, tmp_path, statistics(["q", "k", "v", "o"]))
    assert not [name for name in initializers(found.after) if name.endswith(".weight")]
    share = {"fp16": 0.5, "int8": 0.25, "int8-static": 0.25, "w8": 0.25, "int4": 0.125}[scheme]
    wide = 4 * sum(WIDTH * columns for columns in (64, 64, 64, 48))
    assert (tmp_path / "narrow.onnx.data").stat().st_size < share * wide + 6 * 4096  # pages between tensors
    used = {name for node in onnx.load(found.after).graph.node for name in node.input}
    assert set(initializers(found.after)) <= used


@pytest.mark.parametrize("scheme", ["int8", "int8-static", "w8", "int4"])
def test_what_is_kept_stays_wide_and_is_reported(scheme, tmp_path):
    found = to_precision(attention(), scheme, tmp_path, statistics(["q", "k", "v", "o"]), keep=["k", "o"])
    assert list(found.outcome.wide.items()) == [("k", WIDTH * WIDTH), ("o", WIDTH * 48)]
    assert set(found.outcome.errors) == {"q", "v"}
    weights, narrow = prove(found.after).weights, PRECISIONS[scheme].weights
    assert weights == {narrow: 2 * WIDTH * WIDTH, "fp16": WIDTH * (WIDTH + 48)}
    assert found.differences(FEEDS)["y"] < MOST[scheme]


@every
def test_an_adapter_stays_float32(scheme, tmp_path):
    graph = Graph()
    states = graph.node("Tanh", [graph.product("a", graph.x)])
    model = graph.model({"y": graph.node("Tanh", [graph.product("head.projection", states, columns=16)])})
    found = to_precision(model, scheme, tmp_path, statistics(["a", "head.projection"]))
    assert prove(found.after).weights == {PRECISIONS[scheme].weights: WIDTH * WIDTH, "fp32": WIDTH * 16}
    assert found.outcome.wide == ({"head.projection": WIDTH * 16} if PRECISIONS[scheme].quantized else {})


@pytest.mark.parametrize(("width", "block"), [(24, 0), (40, 0), (48, 16), (96, 32), (128, 128), (256, 128), (320, 64)])
@pytest.mark.parametrize("scheme", ["int4", "w8"])
def test_blocks_divide_the_channels_or_the_product_stays_wide(scheme, width, block, tmp_path):
    graph = Graph(width)
    model = graph.model({"y": graph.node("Tanh", [graph.product("a", graph.x, columns=20)])})
    found = to_precision(model, scheme, tmp_path, statistics(["a"], width))
    assert found.differences({"x": rows((2, 7, width))})["y"] < MOST[scheme]
    wide = scheme == "int4" and not block
    assert found.outcome.wide == ({"a": width * 20} if wide else {})
    assert prove(found.after).weights == {"fp16" if wide else PRECISIONS[scheme].weights: width * 20}
    if not wide:
        scales = numpy_helper.to_array(initializers(found.after)["a.scales"])
        assert scales.shape == ((width // block, 20) if block and block < width else (20,))


def test_a_product_that_four_bits_ruin_gets_eight(tmp_path):
    graph = Graph()
    spiky = graph.weight("a.weight", WIDTH, WIDTH).const_value.numpy().copy()
    spiky[::2] *= 30  # every block has a few numbers that fill its range, and many that vanish beside them
    spiky[1::2] *= 0.02
    model = graph.model({"y": graph.node("Tanh", [graph.node("MatMul", [graph.x, graph.constant("b.weight", spiky)])])})
    given = statistics(["b"])
    moments = given.left["b"].moments
    moments[::2], moments[:, ::2] = moments[::2] * 1e-5, moments[:, ::2] * 1e-5
    found = to_precision(model, PRECISIONS["int4"], tmp_path, given)
    assert found.outcome.errors["b"] > 0.02
    assert found.outcome.wide == {"b": WIDTH * WIDTH}
    assert prove(found.after).weights == {"int8": WIDTH * WIDTH}
    assert found.differences({"x": FEEDS["x"] * 1e-2})["y"] < 1e-4


@every
def test_converting_twice_gives_the_same_bytes(scheme, tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        to_precision(attention(), scheme, tmp_path / name, statistics(["q", "k", "v", "o"]))
        contents.append([(tmp_path / name / f"narrow.onnx{end}").read_bytes() for end in ("", ".data")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("scheme", ["fp16", "int8", "w8", "int4"])
def test_a_weight_that_two_inputs_pass_through_is_not_smoothed_for_one_of_them(scheme, tmp_path):
    found = to_precision(shared_weight(), scheme, tmp_path, statistics(["a"]))
    assert found.differences(FEEDS)["y"] < MOST[scheme]
    codes = [name for name in initializers(found.after) if name.endswith((".codes", ".half"))]
    assert len(codes) == 1
    assert run(found.after, FEEDS)["y"].shape == (2, 7, WIDTH)
