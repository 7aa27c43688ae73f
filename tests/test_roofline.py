"""The floor of a call: operations counted by hand, bandwidth and peaks by their source, and the longer of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fake_cuda import FakeCudart
from smartrt.benchmarks.roofline.floor import Floor, floor_of
from smartrt.benchmarks.roofline.gpus import Override, Roof, find_roof
from smartrt.benchmarks.roofline.work import CallShape, Work, graph_flops, weight_bytes, work_of
from smartrt.bundle import Bundle
from smartrt.errors import MissingDependencyError, OptionError
from smartrt.price import GraphProof
from support import message_of

FLOAT, HALF, INT8, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT64


def roof_of(name: str, board: str = "", override: Override | None = None) -> Roof | str:
    """The roof of the GPU that CUDA calls so."""
    return find_roof("cuda", board, override, lambda _: name)


H100 = roof_of("NVIDIA H100 80GB HBM3")


def written(path: Path, nodes: list[Any], inputs: dict[str, Any], constants: dict[str, Any], opset: int = 23) -> Path:
    """A graph file; inputs and constants are (type, shape), what comes out last is its output."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)],
        [helper.make_tensor(name, kind, shape, values) for name, (kind, shape, values) in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def zeros(kind: int, *shape: int) -> tuple[int, tuple[int, ...], list[float]]:
    size = 1
    for axis in shape:
        size *= axis
    return kind, shape, [0] * size


def test_a_product_takes_two_operations_for_every_number_and_channel(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = written(tmp_path / "g.onnx", [node], {"x": (HALF, ["batch", "length", 16])}, {"w": zeros(HALF, 16, 4)})
    assert graph_flops(path, {"batch": 3, "length": 5}) == {"fp16": 2 * 3 * 5 * 16 * 4}


def test_what_is_cast_counts_in_the_type_that_it_is_multiplied_in(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=HALF),
        helper.make_node("MatMul", ["h", "w"], ["a"]),
        helper.make_node("Cast", ["a"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    constants = {"w": zeros(HALF, 8, 4), "v": zeros(FLOAT, 4, 2)}
    path = written(tmp_path / "g.onnx", nodes, {"x": (FLOAT, ["batch", 8])}, constants)
    assert graph_flops(path, {"batch": 7}) == {"fp16": 2 * 7 * 8 * 4, "fp32": 2 * 7 * 4 * 2}


@pytest.mark.parametrize(("turned", "shape"), [(0, ["batch", 8]), (1, [8, "batch"])], ids=["as it is", "transposed"])
def test_a_gemm_counts_its_inner_axis(tmp_path: Path, turned: int, shape: list[Any]) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=turned)
    path = written(tmp_path / "g.onnx", [node], {"x": (FLOAT, shape)}, {"w": zeros(FLOAT, 8, 4)})
    assert graph_flops(path, {"batch": 6}) == {"fp32": 2 * 6 * 8 * 4}


def dequantised(name: str, values: str) -> Any:
    return helper.make_node("DequantizeLinear", [values, "scale"], [name])


@pytest.mark.parametrize(("both", "kind"), [(True, "int8"), (False, "fp32")], ids=["both sides", "the weight alone"])
def test_integers_on_both_sides_are_multiplied_as_integers(tmp_path: Path, both: bool, kind: str) -> None:
    quantised = [helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], output_dtype=INT8), dequantised("a", "q")]
    nodes = [*quantised, dequantised("b", "w"), helper.make_node("MatMul", ["a" if both else "x", "b"], ["y"])]
    constants = {"w": zeros(INT8, 8, 4), "scale": (FLOAT, (), [1.0])}
    path = written(tmp_path / "g.onnx", nodes, {"x": (FLOAT, ["batch", 8])}, constants)
    assert graph_flops(path, {"batch": 2}) == {kind: 2 * 2 * 8 * 4}


def test_attention_counts_scores_and_mixtures_of_every_head_of_the_queries(tmp_path: Path) -> None:
    """Four heads of queries and two of keys, 8 wide: grouped heads multiply as often as whole ones."""
    inputs = {"q": (HALF, ["batch", "length", 32]), "k": (HALF, ["batch", "length", 16]),
              "v": (HALF, ["batch", "length", 16])}  # fmt: skip
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=4, kv_num_heads=2)
    path = written(tmp_path / "three.onnx", [node], inputs, {})
    expected = 2 * 3 * 4 * 5 * 5 * (8 + 8)
    assert graph_flops(path, {"batch": 3, "length": 5}) == {"fp16": expected}

    split = {"q": (HALF, ["batch", 4, "length", 8]), "k": (HALF, ["batch", 2, "length", 8]),
             "v": (HALF, ["batch", 2, "length", 8])}  # fmt: skip
    path = written(tmp_path / "four.onnx", [helper.make_node("Attention", ["q", "k", "v"], ["y"])], split, {})
    assert graph_flops(path, {"batch": 3, "length": 5}) == {"fp16": expected}


@pytest.mark.parametrize(
    ("rows", "columns", "pairs"), [(5, 5, 15), (3, 5, 6), (5, 3, 12)], ids=["square", "more keys", "more queries"]
)
def test_causal_attention_counts_what_is_seen_alone(tmp_path: Path, rows: int, columns: int, pairs: int) -> None:
    inputs = {"q": (HALF, ["batch", 4, rows, 8]), "k": (HALF, ["batch", 4, columns, 8]),
              "v": (HALF, ["batch", 4, columns, 8])}  # fmt: skip
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1)
    path = written(tmp_path / "g.onnx", [node], inputs, {})
    assert graph_flops(path, {"batch": 3}) == {"fp16": 2 * 3 * 4 * pairs * (8 + 8)}


@pytest.mark.parametrize(
    ("node", "mention"),
    [(helper.make_node("Conv", ["x", "w"], ["y"]), "Conv"),
     (helper.make_node("Einsum", ["x", "w"], ["y"], equation="abcd,efgd->abe"), "Einsum"),
     (helper.make_node("MatMulNBits", ["x", "w"], ["y"], domain="com.microsoft"), "com.microsoft.MatMulNBits")],
    ids=["convolution", "einsum", "of another domain"],
)  # fmt: skip
def test_what_multiplies_and_is_not_counted_is_an_error_and_no_low_floor(
    tmp_path: Path, node: Any, mention: str
) -> None:
    path = written(tmp_path / "g.onnx", [node], {"x": (FLOAT, ["batch", 3, 8, 8])}, {"w": zeros(FLOAT, 4, 3, 8, 8)})
    with pytest.raises(OptionError) as caught:
        graph_flops(path, {"batch": 1})
    message_of(caught.value, mention, "counted")


def test_an_axis_of_unknown_size_is_named(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = written(tmp_path / "g.onnx", [node], {"x": (HALF, ["batch", "frames", 16])}, {"w": zeros(HALF, 16, 4)})
    with pytest.raises(OptionError) as caught:
        graph_flops(path, {"batch": 3})
    message_of(caught.value, "frames", "x")


def test_sizes_that_are_computed_in_the_graph_are_followed(tmp_path: Path) -> None:
    """As PyTorch writes ``view(batch, length * 4, 2)``: a scalar that is reshaped to one number."""
    nodes = [
        helper.make_node("Shape", ["x"], ["length"], start=1, end=2),
        helper.make_node("Squeeze", ["length"], ["scalar"]),
        helper.make_node("Mul", ["scalar", "four"], ["patches"]),
        helper.make_node("Reshape", ["patches", "flat"], ["axis"]),
        helper.make_node("Concat", ["one", "axis", "two"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["turned"]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    constants = {
        "four": (INT64, (), [4]), "flat": (INT64, (1,), [-1]), "one": (INT64, (1,), [1]), "two": (INT64, (1,), [2]),
        "w": zeros(FLOAT, 2, 3),
    }  # fmt: skip
    path = written(tmp_path / "g.onnx", nodes, {"x": (FLOAT, [1, "length", 8])}, constants)
    assert graph_flops(path, {"length": 5}) == {"fp32": 2 * 20 * 2 * 3}


def test_a_shape_that_depends_on_values_is_an_error_and_no_guess(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["turned"]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    inputs = {"x": (FLOAT, ["batch", 8]), "shape": (INT64, [2])}
    path = written(tmp_path / "g.onnx", nodes, inputs, {"w": zeros(FLOAT, 8, 4)})
    with pytest.raises(OptionError) as caught:
        graph_flops(path, {"batch": 2})
    message_of(caught.value, "cannot be told")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_real_bundle_counts_what_the_manifest_counts_and_attention_besides(tiny_path: Path, batch: int) -> None:
    bundle = Bundle.open(tiny_path)
    weights = sum(bundle.manifest.precision.graphs["encoder"].weights.values())
    layers, length, hidden = 2, 8, bundle.manifest.dims.pooled
    products, attention = 2 * weights * batch * length, layers * 4 * batch * length**2 * hidden
    assert work_of(bundle, CallShape(batch, length)) == Work(4 * weights, {"fp32": products + attention})


@pytest.mark.slow
def test_a_text_does_not_pass_the_graph_that_sees_and_a_page_does(page_path: Path) -> None:
    bundle = Bundle.open(page_path)
    proofs = bundle.manifest.precision.graphs
    text, page = work_of(bundle, CallShape(1, 40)), work_of(bundle, CallShape(1, 40, 1, 8))
    assert text.weight_bytes == weight_bytes(proofs["decoder"])
    assert page.weight_bytes == text.weight_bytes + weight_bytes(proofs["vision"])
    # Three layers of the tower, 48 wide, over 32 patches: attention alone.
    seen = page.flops["fp32"] - text.flops["fp32"]
    assert 3 * 4 * 32**2 * 48 < seen <= 3 * 4 * 32**2 * 48 + 2 * 32 * sum(proofs["vision"].weights.values())


def test_four_bits_are_half_a_byte() -> None:
    assert weight_bytes(GraphProof({}, {"int4": 1001, "fp16": 10, "int8": 3, "fp32": 1}, {})) == 501 + 20 + 3 + 4


def test_the_floor_is_the_longer_of_reading_and_multiplying() -> None:
    assert isinstance(H100, Roof)
    assert floor_of(Work(3_350_000_000, {"fp16": 0}), H100) == Floor(pytest.approx(1.0), 0.0)
    assert floor_of(Work(0, {"fp16": 989_400_000_000}), H100) == Floor(0.0, pytest.approx(1.0))
    both = floor_of(Work(3_350_000_000, {"fp16": 2 * 989_400_000_000}), H100)
    assert isinstance(both, Floor)
    assert both.ms == pytest.approx(2.0)


def test_a_2b_query_of_32_tokens_is_bound_by_reading_its_weights() -> None:
    """28 x 50.3 M weights in float16: 0.84 ms to read on an H100, 0.09 ms to multiply."""
    assert isinstance(H100, Roof)
    weights = 28 * 50_331_648
    floor = floor_of(Work(2 * weights, {"fp16": 2 * weights * 32}), H100)
    assert isinstance(floor, Floor)
    assert (floor.read_ms, floor.multiply_ms) == (pytest.approx(0.8413, rel=1e-3), pytest.approx(0.0912, rel=1e-3))


def test_every_arithmetic_has_its_own_peak_and_an_unknown_one_is_said() -> None:
    roof = Roof("board", 100, {"fp16": 1.0, "tf32": 2.0}, "test")
    work = Work(0, {"fp16": 10**9, "fp32": 10**9})
    assert floor_of(work, roof) == "the peak of board in fp32 is in no table"
    assert floor_of(work, roof, tf32=True) == Floor(0.0, pytest.approx(1.5))


@given(st.integers(0, 10**12), st.integers(1, 10**15), st.integers(2, 9))
def test_more_work_never_has_a_lower_floor(read: int, flops: int, times: int) -> None:
    assert isinstance(H100, Roof)
    once = floor_of(Work(read, {"fp16": flops}), H100)
    more = floor_of(Work(times * read, {"fp16": times * flops}), H100)
    assert isinstance(once, Floor)
    assert isinstance(more, Floor)
    assert more.ms == pytest.approx(times * once.ms)


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [("NVIDIA H100 80GB HBM3", 3350), ("NVIDIA H200", 4800), ("NVIDIA H100 PCIe", 2000), ("NVIDIA L4", 300)],
)
def test_a_gpu_is_found_by_its_whole_name(name: str, bandwidth: float) -> None:
    roof = roof_of(name)
    assert isinstance(roof, Roof)
    assert roof.bandwidth_gb == bandwidth
    assert "datasheet" in roof.source


def test_the_gpu_is_the_one_that_cuda_counts_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML's second GPU may be the first of CUDA_VISIBLE_DEVICES: the device itself is asked for its name."""
    cudart = FakeCudart(devices=2, name="NVIDIA H200")
    monkeypatch.setattr("smartrt.cuda.device.load_cudart", lambda: cudart)
    roof = find_roof("cuda:1")
    assert isinstance(roof, Roof)
    assert roof.name == "H200 SXM"
    assert "no GPU 2" in str(find_roof("cuda:2"))


@pytest.mark.parametrize(
    ("board", "bandwidth"),
    [("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 102),
     ("NVIDIA Jetson Orin Nano Developer Kit Super", 102), ("Jetson AGX Orin 64GB", 204.8),
     ("NVIDIA Jetson AGX Orin Developer Kit", 204.8), ("NVIDIA Jetson AGX Thor Developer Kit", 273)],
)  # fmt: skip
def test_a_jetson_is_found_by_its_board_for_every_orin_is_called_orin(board: str, bandwidth: float) -> None:
    roof = roof_of("Orin", board)
    assert isinstance(roof, Roof)
    assert roof.bandwidth_gb == bandwidth


@pytest.mark.parametrize(
    "board",
    ["Jetson Orin Nano", "NVIDIA Jetson AGX Orin 32GB", "NVIDIA Jetson Orin Nano 4GB Super",
     "NVIDIA Jetson Orin Nano Developer Kit", "a carrier for the AGX Orin Developer Kit"],
)  # fmt: skip
def test_another_module_of_the_family_does_not_take_its_figures(board: str) -> None:
    assert roof_of("Orin", board) == "the GPU 'Orin' is in no table"


def test_what_is_in_no_table_is_not_guessed() -> None:
    assert "CPU" in str(find_roof("cpu"))
    assert "'NVIDIA H200 NVL'" in str(roof_of("NVIDIA H200 NVL"))
    assert "(MIG)" in str(roof_of("NVIDIA H100 80GB HBM3 MIG 1g.10gb"))

    def absent(_: str) -> str:
        raise MissingDependencyError("there is no libcudart")

    assert find_roof("cuda", name_of=absent) == "there is no libcudart"


def test_figures_of_the_command_line_count_before_the_tables_and_for_a_cpu_too() -> None:
    slower = roof_of("NVIDIA H200", override=Override(bandwidth_gb=1000))
    assert isinstance(slower, Roof)
    assert (slower.bandwidth_gb, slower.peak_tflops["fp16"]) == (1000, 989.4)
    assert slower.source.startswith("command line")
    cpu = find_roof("cpu", override=Override(20, 0.1))
    assert isinstance(cpu, Roof)
    assert floor_of(Work(20_000_000, {"int8": 0}), cpu) == Floor(pytest.approx(1.0), 0.0)


@pytest.mark.parametrize(
    ("given_", "missing"), [(Override(20), "--peak-tflops"), (Override(None, 1), "--bandwidth-gb")]
)
def test_half_of_the_figures_of_an_unknown_device_is_not_enough(given_: Override, missing: str) -> None:
    assert f"give {missing} as well" in str(find_roof("cpu", override=given_))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_figure_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(OptionError, match="above 0"):
        Override(bandwidth_gb=value)
