"""The dialect `fused` of every family's graphs: it computes what was traced, and nothing of attention is left over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import dialects
import tiny_checkpoints
import tiny_qwen_vl
from smartrt.export.dialect.fuse import OPSET, Fused, fuse
from smartrt.export.graph import check_operators
from smartrt.export.precision.products import find_products

CLOSE = 2e-5
LAYERS = 2

# attention, causal, RMS norms, rotary embeddings, GELUs, softmaxes left
_ENCODER = Fused(LAYERS, 0, 0, 0, LAYERS, 0)
_DECODER = Fused(LAYERS, 0, 2 * LAYERS + 1, 2 * LAYERS, 0, 0)
TEXT = dict.fromkeys(tiny_checkpoints.FAMILIES, _ENCODER) | {
    "modernbert": Fused(LAYERS, 0, 0, 2 * LAYERS, LAYERS, 0),
    "llama": _DECODER,
    "qwen3": Fused(LAYERS, 0, 4 * LAYERS + 1, 2 * LAYERS, 0, 0),
}
QWEN_2 = {"vision": Fused(2, 0, 0, 4, 1, 0), "decoder": Fused(3, 3, 7, 6, 0, 0)}
QWEN_3 = {"vision": Fused(3, 0, 0, 6, 4, 0), "decoder": Fused(3, 3, 13, 6, 0, 0)}
DEEPSTACK = {"vision": Fused(3, 0, 0, 6, 6, 0), "decoder": Fused(3, 3, 13, 6, 0, 0)}
"""Each merger of the vision tower has a GELU; so do Qwen3's blocks."""

PRESETS = {"qwen3-vl-embedding": DEEPSTACK, "lamra": QWEN_3, "gme": QWEN_2, "vlm2vec": QWEN_2}


FAST = ("bert", "distilbert", "modernbert", "qwen3")
"""Of all ways to write attention one each; the others differ around it."""


@pytest.fixture(
    scope="module",
    params=[family if family in FAST else pytest.param(family, marks=pytest.mark.slow) for family in TEXT],
)
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ir.Model]:
    """A family and its graph, loud enough that a wrong attention shows."""
    directory = tmp_path_factory.mktemp(request.param)
    checkpoint = tiny_checkpoints.build(request.param, directory / "checkpoint")
    return request.param, dialects.louder(dialects.traced(checkpoint, directory / "scratch")["encoder"])


def check_graph(model: ir.Model, expected: Fused) -> ir.Model:
    """Fuse a copy of `model`; what it says it did is what the copy holds."""
    fused = model.clone()
    assert fuse(fused) == expected
    held = dialects.operators(fused)
    assert (held["Attention"], held["RMSNormalization"]) == (expected.attention, expected.rms_norms)
    assert (held["RotaryEmbedding"], held["Gelu"]) == (expected.rotary, expected.gelus)
    assert not {"Softmax", "Erf", "Identity", "Constant"} & set(held)
    assert held["Cast"] <= dialects.operators(model)["Cast"]
    assert (fused.opset_imports[""], fused.ir_version) == (OPSET, 11)
    dialects.check(fused)
    check_operators(fused)
    for seed, sizes in enumerate(dialects.SIZES):
        assert dialects.difference(model, fused, dialects.feeds(model, sizes, seed)) <= CLOSE
    return fused


def check_products(model: ir.Model, fused: ir.Model) -> None:
    """Calibration and precision name products as before."""
    assert [product.path for product in find_products(fused.graph)] == [p.path for p in find_products(model.graph)]


def test_a_text_family_computes_the_same_fused(text: tuple[str, ir.Model]) -> None:
    family, model = text
    check_products(model, check_graph(model, TEXT[family]))


def test_a_forgotten_scale_would_show(text: tuple[str, ir.Model]) -> None:
    model = text[1]
    fused = model.clone()
    fuse(fused)
    node = next(node for node in fused.graph if node.op_type == "Attention")
    node.attributes["scale"] = ir.AttrFloat32("scale", node.attributes["scale"].as_float() * 1.05)
    assert dialects.difference(model, fused, dialects.feeds(model, dialects.SIZES[2])) > 10 * CLOSE


def test_layers_share_one_mask_that_is_spread_over_the_queries(text: tuple[str, ir.Model]) -> None:
    family, model = text
    fused = model.clone()
    fuse(fused)
    masks = {node.inputs[3] for node in fused.graph if node.op_type == "Attention"}
    apart = {"distilbert", "modernbert"}  # the one makes its mask in each layer, the other has local and global layers
    assert len(masks) == (LAYERS if family in apart else 1)


def test_an_item_of_padding_alone_computes_the_same_fused(text: tuple[str, ir.Model]) -> None:
    """Batches are filled up with rows of zeros: each of their queries has all keys hidden."""
    model = text[1]
    fused = model.clone()
    fuse(fused)
    fed = dialects.feeds(model, dialects.SIZES[2])
    fed["attention_mask"][1:] = 0
    before, after = dialects.run(model, fed), dialects.run(fused, fed)
    for name, truth in before.items():
        assert np.isfinite(truth).all()
        np.testing.assert_allclose(after[name], truth, atol=CLOSE)


@pytest.mark.parametrize("graph", ["vision", "decoder"])
def test_a_page_model_computes_the_same_fused(page_path: Path, graph: str) -> None:
    model = ir.external_data.load_to_model(ir.load(page_path / f"{graph}.onnx"))
    fused = check_graph(model, DEEPSTACK[graph])
    check_products(model, fused)
    if graph == "decoder":
        check_decoder(fused)


def check_decoder(fused: ir.Model) -> None:
    """Causality by attribute, keys and values of the groups as they are, rotation prepared once."""
    attention = [node for node in fused.graph if node.op_type == "Attention"]
    assert all(len(node.inputs) == 3 and node.attributes["is_causal"].as_int() == 1 for node in attention)
    assert {node.inputs[place].shape[1] for node in attention for place in (1, 2)} == {2}
    assert {node.inputs[0].shape[1] for node in attention} == {4}
    assert len({node.inputs[1:] for node in fused.graph if node.op_type == "RotaryEmbedding"}) == 1
    assert dialects.operators(fused)["Cos"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("preset", tiny_qwen_vl.PRESET_NAMES)
def test_every_page_preset_computes_the_same_fused(preset: str, tmp_path: Path) -> None:
    checkpoint = tiny_qwen_vl.build(preset, tmp_path / "checkpoint")
    for graph, model in dialects.traced(checkpoint, tmp_path / "scratch", preset).items():
        check_products(model, check_graph(dialects.louder(model, 2.0), PRESETS[preset][graph]))


@pytest.mark.slow
def test_minilm_computes_the_same_fused(tmp_path: Path) -> None:
    model = dialects.traced("minilm", tmp_path)["encoder"]
    check_products(model, check_graph(model, Fused(6, 0, 0, 0, 6, 0)))
