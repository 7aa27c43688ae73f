"""A Qwen-VL whose weights are in memory one layer at a time, against one that is loaded whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers

import tiny_qwen_vl
from smartrt.errors import ExportError
from smartrt.export import qwen_vl_family
from smartrt.export.graph import export_module
from smartrt.export.pictures import picture_items
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.qwen_vl.calibrate import calibrate
from smartrt.models.qwen_vl.skeleton import is_placeholder, loaded, skeleton
from smartrt.models.qwen_vl.traced import traced_decoder, traced_vision
from smartrt.models.statistics import InputStatistics
from support import message_of

_CLASSES = {
    "qwen3-vl": transformers.Qwen3VLForConditionalGeneration,
    "qwen2-vl": transformers.Qwen2VLForConditionalGeneration,
}
FIELDS = ("input_ids", "position_ids", "visual", "deepstack", "inputs_embeds", "pooled", "token_states")


@pytest.fixture(scope="module", params=["qwen3-vl-embedding", "vlm2vec"])
def reference(request, tmp_path_factory):
    """A reference of a checkpoint in bfloat16."""
    path = tiny_qwen_vl.build(request.param, tmp_path_factory.mktemp("s") / "c", dtype=torch.bfloat16)
    return qwen_vl_family.load(Checkpoint.resolve(str(path)), {"preset": request.param}, None, None)


@pytest.fixture(scope="module")
def whole(reference):
    """The same with transformers' own loading."""
    stored = reference.backbone.weights.stored("language_model.norm.weight")
    kind = _CLASSES[reference.backbone.family]
    model = kind.from_pretrained(stored.file.parent, dtype=torch.float32, attn_implementation="eager").model.eval()
    return dataclasses.replace(reference, backbone=dataclasses.replace(reference.backbone, model=model))


def items_of(reference):
    """Side and item of everything the parity check compares."""
    items = picture_items(reference.preset.max_images)
    return [(side, item) for side in items for item in items[side]]


@pytest.fixture(scope="module")
def graphs(reference, tmp_path_factory):
    """Both graphs, and the parts they were traced from."""
    models = qwen_vl_family.trace(reference, tmp_path_factory.mktemp("scratch"), 18)
    return [(models["vision"], traced_vision(reference)), (models["decoder"], traced_decoder(reference))]


# The reference.


def test_a_streamed_model_gives_the_very_numbers_of_a_loaded_one(reference, whole):
    for side, item in items_of(reference):
        mine, theirs = reference.trace(item, side), whole.trace(item, side)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field), err_msg=field)


def test_nothing_stays_loaded_behind_a_call(reference):
    reference.trace(*reversed(items_of(reference)[0]))
    assert all(is_placeholder(parameter) for parameter in reference.backbone.model.parameters())


def test_a_call_that_fails_leaves_no_weights_behind(reference):
    model = reference.backbone.model
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        model.visual.blocks[0](torch.zeros(3, 7))
    assert all(is_placeholder(parameter) for parameter in model.parameters())


def test_a_skeleton_takes_no_memory_and_has_no_two_equal_weights(reference):
    model = skeleton(reference.backbone.config)
    parameters = list(model.parameters())
    assert all(parameter.untyped_storage().nbytes() == 4 for parameter in parameters)
    assert all(not any(parameter.stride()) for parameter in parameters)
    bits = {int(parameter.flatten()[:1].view(torch.int32)) for parameter in parameters}
    assert len(bits) == len(parameters)
    assert all(torch.isnan(parameter.flatten()[0]) for parameter in parameters)
    assert not model.training
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_the_buffers_of_a_skeleton_are_those_of_a_loaded_model(reference, whole):
    mine, theirs = (dict(model.named_buffers()) for model in (reference.backbone.model, whole.backbone.model))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# The traced modules.


def test_each_weight_of_a_traced_part_is_the_checkpoints_turned(reference):
    weights, decoder = reference.backbone.weights, traced_decoder(reference)
    name = "layers.0.mlp.up_proj.weight"
    assert torch.equal(decoder.read(name), weights.read(f"language_model.{name}").T)
    assert torch.equal(decoder.read("norm.weight"), weights.read("language_model.norm.weight"))
    for part in (traced_vision(reference), decoder):
        assert all(part.read(path).shape == shape for path, (shape, _) in part.lazy().items())
        assert not any(isinstance(module, torch.nn.Linear) for module in part.module.modules())


def test_traced_modules_with_weights_give_what_the_reference_does(reference):
    part = traced_decoder(reference)
    side, item = next((side, item) for side, item in items_of(reference) if "image" not in item)
    trace = reference.trace(item, side)
    with torch.no_grad(), loaded(part.module, part.read, ""):
        found = part.module(
            torch.from_numpy(trace.inputs_embeds)[None],
            torch.from_numpy(trace.position_ids)[:, None],
            torch.tensor([trace.pooled_at]),
            torch.zeros(1, len(trace.input_ids), dtype=torch.int64),
            torch.zeros(1, trace.inputs_embeds.shape[-1]),
        )
    np.testing.assert_allclose(found["pooled"][0], trace.pooled, atol=1e-5)
    np.testing.assert_allclose(found["token_states"][0], trace.token_states, atol=1e-5)


def test_initializers_are_named_by_their_paths_and_read_when_asked_for(graphs):
    for model, part in graphs:
        initializers, lazy = model.graph.initializers, part.lazy()
        assert set(lazy) <= set(initializers)
        for path, (shape, read) in lazy.items():
            tensor = initializers[path].const_value
            assert isinstance(tensor, ir.LazyTensor)
            assert tuple(tensor.shape) == shape
            np.testing.assert_array_equal(tensor.numpy(), read().numpy())
        assert {node.op_type for node in model.graph}.isdisjoint({"Gemm", "Conv"})
        for node in model.graph:
            if node.op_type == "Transpose":  # of states only
                assert node.inputs[0].name not in initializers


def test_every_weight_is_the_second_input_of_one_matmul(graphs):
    for model, part in graphs:
        uses = {path: value.uses() for path, value in model.graph.initializers.items()}
        for path, (shape, _) in part.lazy().items():
            if len(shape) == 2 and path != "pos_embed.weight":
                (use,) = uses[path]
                assert (use.node.op_type, use.idx) == ("MatMul", 1)


class _Product(torch.nn.Module):
    """A product with a weight, and with the sum of its rows added where `folded`."""

    def __init__(self, weight, *, folded):
        super().__init__()
        self.weight = weight
        self.register_buffer("offset", weight.detach().sum(0) if folded else torch.ones(4), persistent=False)

    def forward(self, states):
        return {"out": states @ self.weight + self.offset}


@pytest.mark.parametrize("folded", [False, True])
def test_what_is_computed_from_a_weight_that_is_not_loaded_is_refused(folded):
    weight = torch.nn.Parameter(torch.tensor([torch.nan]).expand(4, 4), requires_grad=False)
    arguments = "x", {"states": torch.zeros(2, 4)}, {"states": ("row", 4), "out": ("row", 4)}
    lazy = {"weight": ((4, 4), lambda: torch.eye(4))}
    module = _Product(weight, folded=folded).eval()
    if folded:
        with pytest.raises(ExportError) as caught:
            export_module(module, *arguments, lazy)
        message_of(caught.value, "graph x", "not loaded")
    else:
        model = export_module(module, *arguments, lazy)
        np.testing.assert_array_equal(model.graph.initializers["weight"].const_value.numpy(), np.eye(4))


# Calibration.


@pytest.fixture(scope="module")
def expected(reference, whole):
    """Of each linear layer by its path: rows, largest values and moments over the same items, all at once."""
    found = {}
    handles = []

    def hook(path):
        def add(_, inputs):
            rows = inputs[0].flatten(0, -2)
            largest, moments, count = found.get(path, (torch.zeros(rows.shape[1]), 0, 0))
            largest = torch.maximum(largest, rows.abs().amax(0))
            found[path] = largest, moments + rows.T @ rows, count + len(rows)

        return add

    for path, module in whole.backbone.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            handles.append(module.register_forward_pre_hook(hook(path)))
    for side, item in items_of(reference):
        whole.trace(item, side)
    for handle in handles:
        handle.remove()
    return found


def test_statistics_are_those_of_the_whole_model(reference, expected):
    names = {"vision": "visual", "decoder": "language_model"}
    seen = set()
    for graph, path, statistics in calibrate(reference, items_of(reference), moments=True):
        if path == "patch_embed.proj":
            continue
        name = f"{names[graph]}.{path}"
        largest, moments, rows = expected[name]
        torch.testing.assert_close(statistics.largest, largest, rtol=1e-4, atol=1e-4)
        # The reference sees pictures twice for some presets.
        torch.testing.assert_close(statistics.moments / statistics.rows, moments / rows, rtol=1e-3, atol=1e-3)
        seen.add(name)
    skipped = "visual.deepstack_merger_list" if not reference.deepstack_layers else "-"
    assert seen == {name for name in expected if not name.startswith(skipped)}


def test_layers_come_in_the_order_they_run_and_share_what_they_share(reference):
    found = list(calibrate(reference, items_of(reference)[:5], moments=False))
    graphs = [graph for graph, _, _ in found]
    assert graphs == sorted(graphs, reverse=True)
    paths = [path for graph, path, _ in found if graph == "vision"]
    assert paths[0] == "patch_embed.proj"
    assert paths[-1].startswith("merger.")
    first = [(path, statistics) for graph, path, statistics in found if graph == "decoder"][:7]
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    parts += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    assert [path for path, _ in first] == [f"layers.0.{part}" for part in parts]
    query, key, value, output, gate, up, _ = (statistics for _, statistics in first)
    assert query is key is value is not output
    assert gate is up
    assert query.moments is None


def test_moments_that_grow_item_by_item_are_those_of_all_rows():
    rows = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    grown = InputStatistics.of(rows[0], moments=True).with_item(rows[1]).with_item(rows[2][None])
    flat = rows.flatten(0, 1)
    assert grown.rows == 15
    torch.testing.assert_close(grown.moments, flat.T @ flat)
    torch.testing.assert_close(grown.largest, flat.abs().amax(0))
    assert InputStatistics.of(rows[0], moments=False).with_item(rows[1]).moments is None


def test_texts_alone_leave_the_vision_tower_out(reference):
    graphs = {graph for graph, _, _ in calibrate(reference, [("query", {"text": "a"})], moments=False)}
    assert graphs == {"decoder"}


def test_calibration_has_the_weights_of_one_layer_at_a_time(reference, monkeypatch):
    from smartrt.models.qwen_vl import calibrate as module

    held = []
    original = module.loaded

    def counted(part, read, prefix):
        held.append(prefix)
        return original(part, read, prefix)

    monkeypatch.setattr(module, "loaded", counted)
    for _ in calibrate(reference, items_of(reference)[:5], moments=False):
        pass
    assert len(held) == len(set(held))
    assert all(prefix.count(".") <= 2 for prefix in held)
