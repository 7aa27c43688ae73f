"""SMART's token adapter: its arithmetic written once more in NumPy, the files it takes, and those it refuses."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import pickletools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

import tiny_checkpoints
from commandline import call
from smartrt import Bundle, Encoder
from smartrt.errors import ExportError, ParityError
from smartrt.export import pipeline
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.adapter import LoadedAdapter
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference
from support import message_of

HIDDEN = tiny_checkpoints.HIDDEN
DEPTH = 4
DIM = 8
erf = np.vectorize(math.erf)


def weights(kind="linear", *, hidden=HIDDEN, dim=DIM, fused=False, inner=20, seed=3):
    """A state dict as `token_projection_module` has it, large enough that no part of it can be left out unseen."""
    rng = np.random.default_rng(seed)
    state = {"proj.0.weight": 1 + rng.normal(size=hidden) / 2, "proj.0.bias": rng.normal(size=hidden) / 2}
    if kind == "mlp":
        state |= {"proj.1.weight": rng.normal(size=(inner, hidden)) / 4, "proj.4.weight": rng.normal(size=(dim, inner))}
    else:
        state |= {"proj.1.weight": rng.normal(size=(dim, hidden)) / 4}
    if fused:
        state |= {"layer_weight_vectors": 3 * rng.normal(size=(1, hidden))}
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in state.items()}


def write(path, state, **entries):
    """The file that SMART saves; `entries` replace what stands in it."""
    usual = {
        "token_projection_module": state,
        "adapter_type": "token_projection",
        "use_last_n_layers": 1,
        "selected_layers": None,
        "anchor_dim": HIDDEN,
        "hidden_size": HIDDEN,
        "default_instruction": "Represent the user's input.",
    }
    torch.save(usual | entries, path)
    return str(path)


def load(path, depth=DEPTH):
    return LoadedAdapter.load(str(path), HIDDEN, depth)


def mixture(state, layers):
    """The share of each layer in each token, ``[tokens, layers]``."""

    def rms(values):
        return values / np.sqrt((values**2).mean(axis=-1, keepdims=True) + 1e-6)

    query = rms(state["layer_weight_vectors"].double().numpy()[0])
    scores = np.stack([rms(layer) @ query for layer in layers], axis=-1) * len(query) ** -0.5
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def project(state, layers):
    """What the adapter makes of ``[tokens, hidden]`` per layer, in float64, not normalised."""
    layers = [np.asarray(layer, np.float64) for layer in layers]
    values = layers[0]
    if "layer_weight_vectors" in state:
        shares = mixture(state, layers)
        values = sum(shares[..., i, None] * layer for i, layer in enumerate(layers))
    weight = {name: tensor.double().numpy() for name, tensor in state.items()}
    centred = values - values.mean(axis=-1, keepdims=True)
    values = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    values = (values * weight["proj.0.weight"] + weight["proj.0.bias"]) @ weight["proj.1.weight"].T
    if "proj.4.weight" in weight:
        values = (values * (1 + erf(values / math.sqrt(2))) / 2) @ weight["proj.4.weight"].T
    return values


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def states(layers, *, seed=9):
    """Random states of two texts, each layer of another size and off zero, as hidden states are."""
    rng = np.random.default_rng(seed)
    shape = (2, 5, HIDDEN)
    return [torch.tensor(rng.normal(i, 1 + i, shape), dtype=torch.float32) for i in range(layers)]


@pytest.mark.parametrize("dim", [DIM, HIDDEN, 48])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_projection_is_the_arithmetic_of_the_reference_code(tmp_path, kind, count, dim):
    state = weights(kind, dim=dim, fused=count > 1)
    path = write(tmp_path / "adapter.pt", state, selected_layers=list(range(count)), projection_type=kind)
    adapter, given = load(path), states(count)
    with torch.inference_mode():
        found = adapter.projection(given)
    assert (adapter.dim, found.shape, found.dtype) == (dim, (2, 5, dim), torch.float32)
    wanted = project(state, [layer.numpy() for layer in given])
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_mixture_of_these_tests_is_one_of_each_token():
    """Or the comparison with it would say little."""
    shares = mixture(weights(fused=True), [layer.double().numpy() for layer in states(3)])
    assert (np.ptp(shares, axis=(0, 1)) > 0.3).all()


def test_the_order_of_the_layers_is_the_files_and_the_mixture_has_none(tmp_path):
    path = write(tmp_path / "adapter.pt", weights(fused=True), selected_layers=[2, 0, 1])
    adapter, given = load(path), states(3)
    assert adapter.layers == (3, 1, 2)
    torch.testing.assert_close(adapter.projection(given), adapter.projection(given[::-1]))


def test_a_module_saved_by_pytorch_is_read(tmp_path):
    from torch import nn

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_weight_vectors = nn.Parameter(torch.randn(1, HIDDEN))
            self.proj = nn.Sequential(
                nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, 20, bias=False), nn.GELU(), nn.Dropout(0.5),
                nn.Linear(20, DIM, bias=False),
            )  # fmt: skip

    theirs = Theirs()
    extra = {"projection_type": "mlp", "projection_mlp_hidden_dim": 20, "projection_mlp_dropout": 0.5}
    path = write(tmp_path / "adapter.pt", theirs.state_dict(), selected_layers=[1, 3], **extra)
    given = states(2)
    with torch.inference_mode():
        found, again = load(path).projection(given), load(path).projection(given)
    torch.testing.assert_close(found, again, rtol=0, atol=0)  # no dropout
    wanted = project({name: value.detach() for name, value in theirs.state_dict().items()}, given)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_run_in_float32(tmp_path, dtype):
    state = {name: value.to(dtype) for name, value in weights(fused=True).items()}
    adapter, given = load(write(tmp_path / "adapter.pt", state, selected_layers=[0, 1])), states(2)
    assert {value.dtype for value in adapter.projection.state_dict().values()} == {torch.float32}
    with torch.inference_mode():
        np.testing.assert_allclose(adapter.projection(given), project(state, given), atol=1e-4)


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ({}, "linear"),
        ({"adapter_type": "residual"}, "linear"),
        ({"adapter_type": "linear"}, "linear"),
        ({"adapter_type": " Token_Projection "}, "linear"),
        ({"projection_type": "linear"}, "linear"),
        ({"projection_type": "mlp"}, "mlp"),
        ({"adapter_type": "residual", "projection_type": "mlp"}, "mlp"),
        ({"adapter_type": "mlp"}, "mlp"),
        ({"adapter_type": "MLP", "projection_type": "mlp"}, "mlp"),
    ],
)
def test_the_kind_is_what_the_file_says(tmp_path, entries, kind):
    path = write(tmp_path / "adapter.pt", weights(kind), **entries)
    adapter = load(path)
    assert adapter.entry.kind == kind
    assert adapter.entry.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_kind_of_projection_is_read_whatever_its_case(tmp_path):
    assert load(write(tmp_path / "adapter.pt", weights("mlp"), projection_type=" MLP")).entry.kind == "mlp"


def test_a_file_that_says_only_its_weights_reads_the_last_layer(tmp_path):
    torch.save({"token_projection_module": weights()}, tmp_path / "adapter.pt")
    adapter = load(tmp_path / "adapter.pt")
    assert (adapter.layers, adapter.entry.kind) == ((DEPTH,), "linear")


@pytest.mark.parametrize(
    ("selected", "last", "layers"),
    [
        (None, 1, (4,)),
        (None, 2, (3, 4)),
        (None, 4, (1, 2, 3, 4)),
        ([0], 1, (1,)),
        ([3], 1, (4,)),
        ([-1], 1, (4,)),
        ([-4], 1, (1,)),
        ([0, 2], 1, (1, 3)),
        ([-1, 0], 1, (4, 1)),
        ([1, -2, -1], 1, (2, 3, 4)),
        ([1], 3, (2,)),  # selected_layers wins
    ],
)
def test_blocks_are_counted_from_0_or_from_the_end(tmp_path, selected, last, layers):
    """Block i of the file is the layer i + 1: hidden_states[0] is what the embedding returns."""
    state = weights(fused=len(layers) > 1)
    path = write(tmp_path / "adapter.pt", state, selected_layers=selected, use_last_n_layers=last)
    assert load(path).layers == layers


@pytest.mark.parametrize(
    ("selected", "last", "mention"),
    [
        ([4], 1, "[4]"),
        ([-5], 1, "[-5]"),
        ([0, 9], 1, "[0, 9]"),
        ([1, 1], 1, "[1, 1]"),
        ([3, -1], 1, "[3, -1]"),
        (None, 5, "5"),
        (None, 0, "0"),
        (None, -1, "-1"),
        ([], 1, "reads the layers"),
    ],
    ids=str,
)
def test_layers_that_the_backbone_does_not_have_once_each_are_refused(tmp_path, selected, last, mention):
    path = write(tmp_path / "adapter.pt", weights(fused=True), selected_layers=selected, use_last_n_layers=last)
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, mention, f"the backbone has {DEPTH}")


@pytest.mark.parametrize(
    ("selected", "fused", "mention"),
    [([0, 1], False, "[1, 2] and has no weights to mix them"), ([1], True, "[2] and has weights to mix them")],
    ids=["several without", "one with"],
)
def test_several_layers_go_with_weights_to_mix_them(tmp_path, selected, fused, mention):
    path = write(tmp_path / "adapter.pt", weights(fused=fused), selected_layers=selected)
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, mention)


@pytest.mark.parametrize(
    "entries",
    [
        {"use_last_n_layers": None},
        {"use_last_n_layers": "two"},
        {"use_last_n_layers": [1]},
        {"selected_layers": 3},
        {"selected_layers": ["last"]},
        {"selected_layers": [None]},
    ],
    ids=str,
)
def test_layers_that_are_no_numbers_are_refused(tmp_path, entries):
    with pytest.raises(ExportError) as caught:
        load(write(tmp_path / "adapter.pt", weights(), **entries))
    message_of(caught.value)


@pytest.mark.parametrize("said", [True, False], ids=["as the file says", "as its weights have it"])
def test_an_adapter_of_another_backbone_is_refused(tmp_path, said):
    path = write(tmp_path / "adapter.pt", weights(hidden=16), hidden_size=16 if said else HIDDEN)
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, "16", f"{HIDDEN}")


def _drop(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


CHANGES = {
    "no norm": ("linear", _drop("proj.0.weight")),
    "no bias of the norm": ("linear", _drop("proj.0.bias")),
    "no projection": ("linear", _drop("proj.1.weight")),
    "no second layer": ("mlp", _drop("proj.4.weight")),
    "a second layer": ("linear", lambda state: state | {"proj.4.weight": torch.zeros(DIM, DIM)}),
    "a bias of the projection": ("linear", lambda state: state | {"proj.1.bias": torch.zeros(DIM)}),
    "attention": ("linear", lambda state: state | {"self_attn_layers.0.in_proj_weight": torch.zeros(24, DIM)}),
    "a prefix": ("linear", lambda state: {f"module.{name}": value for name, value in state.items()}),
    "nothing": ("linear", lambda _: {}),
}


@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_weights_that_are_missing_or_unknown_are_refused(tmp_path, kind, change):
    state = change(weights(kind))
    path = write(tmp_path / "adapter.pt", state, projection_type=kind)
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, f"a {kind} adapter has", *state)


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        ("linear", "proj.0.weight", (16,)),
        ("linear", "proj.0.bias", (1,)),
        ("linear", "proj.1.weight", (DIM, HIDDEN, 1)),
        *(
            (kind, name, shape)
            for kind, name, shape in [
                ("linear", "proj.1.weight", (DIM, 16)),
                ("linear", "proj.1.weight", (HIDDEN,)),
                ("linear", "proj.1.weight", ()),
                ("mlp", "proj.1.weight", (20, 16)),
                ("mlp", "proj.4.weight", (DIM, 24)),
                ("linear", "layer_weight_vectors", (2, HIDDEN)),
                ("linear", "layer_weight_vectors", (1, 16)),
                ("linear", "layer_weight_vectors", (1, 1)),
                ("linear", "layer_weight_vectors", (HIDDEN,)),
                ("linear", "layer_weight_vectors", (0, HIDDEN)),
            ]
        ),
    ],
    ids=str,
)
def test_weights_of_another_shape_are_refused(tmp_path, kind, name, shape):
    fused = name == "layer_weight_vectors"
    state = weights(kind, fused=fused) | {name: torch.ones(shape)}
    path = write(
        tmp_path / "adapter.pt", state, projection_type=kind, selected_layers=[0, 1] if fused else None
    )  # fmt: skip
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, name)


@pytest.mark.parametrize(
    "name",
    [
        "proj.0.bias",
        "proj.1.weight",
        "layer_weight_vectors",
    ],
)
def test_weights_that_are_no_tensors_are_refused(tmp_path, name):
    fused = name == "layer_weight_vectors"
    state = weights(fused=fused)
    state[name] = state[name].tolist()
    with pytest.raises(ExportError) as caught:
        load(write(tmp_path / "adapter.pt", state, selected_layers=[0, 1] if fused else None))
    message_of(caught.value)


@pytest.mark.parametrize("named", ["token_self_attention", "self_attention", "lora", "", None])
def test_another_kind_of_adapter_is_refused(tmp_path, named):
    path = write(tmp_path / "adapter.pt", weights(), adapter_type=named)
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, path, repr(str(named).lower()), "linear and MLP")


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}}, {"token_projection_module": None}, {"token_projection_module": [1]}, [1], torch.zeros(3)],
    ids=["empty", "another key", "none", "list", "no dict", "a tensor"],
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "adapter.pt")
    with pytest.raises(ExportError) as caught:
        load(tmp_path / "adapter.pt")
    message_of(caught.value, "adapter.pt", "holds no token_projection_module")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ExportError) as caught:
        load(tmp_path / "no.pt")
    message_of(caught.value, "there is no adapter", "no.pt")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\nworld\n", b"PK\x03\x04", b"\x80\x02", b'{"a": 1}', b"\0" * 4096],
    ids=["empty", "text", "half a zip", "half a pickle", "JSON", "zeros"],
)
def test_a_file_that_pytorch_did_not_write_is_refused(tmp_path, content):
    (tmp_path / "adapter.pt").write_bytes(content)
    with pytest.raises(ExportError) as caught:
        load(tmp_path / "adapter.pt")
    message_of(caught.value, "adapter.pt is no adapter that can be read")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = Path(write(tmp_path / "adapter.pt", weights()))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, "adapter.pt")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(ExportError) as caught:
        load(tmp_path)
    message_of(caught.value, str(tmp_path))


class Harm:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture(params=["os.system", "open", "eval", "touch"])
def harm(request, tmp_path):
    """An object that makes the file `trace` when it is unpickled, and that file."""
    trace = tmp_path / "trace"
    objects = {
        "os.system": Harm(os.system, f"touch {trace}"),
        "open": Harm(open, str(trace), "w"),
        "eval": Harm(eval, f"open({str(trace)!r}, 'w').close()"),
        "touch": Harm(Path.touch, trace),
    }
    return objects[request.param], trace


@pytest.mark.parametrize("place", ["whole", "instruction", "weight"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, harm, place, form):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # nor if the environment asks for it
    planted, trace = harm
    content = {
        "whole": planted,
        "instruction": {"token_projection_module": weights(), "default_instruction": planted},
        "weight": {"token_projection_module": weights() | {"proj.1.weight": planted}},
    }[place]
    path = tmp_path / "adapter.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ExportError) as caught:
        load(path)
    message_of(caught.value, "adapter.pt", "without running its code")
    assert not trace.exists()


def test_the_code_that_is_planted_here_would_run(harm):
    """Or the test above would say nothing."""
    planted, trace = harm
    content = pickle.dumps(planted)
    assert any(operation.name == "REDUCE" for operation, *_ in pickletools.genops(content))
    opened = pickle.loads(content)  # noqa: S301
    if hasattr(opened, "close"):
        opened.close()
    assert trace.exists()


# From here on: through the export, the runtime and the command line.

ADAPTERS = {
    "linear": (weights("linear"), {}, (2,)),
    "fused": (weights("mlp", fused=True), {"projection_type": "mlp", "selected_layers": [-1, 0]}, (2, 1)),
    "as wide": (weights("linear", dim=HIDDEN, fused=True), {"use_last_n_layers": 2}, (1, 2)),
}
EXPORTS = [("bert", "linear"), ("bert", "as wide"), ("qwen3", "linear"), ("qwen3", "fused")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Per family, checkpoint and bundle without an adapter."""
    directory = tmp_path_factory.mktemp("plain")
    made = {}
    for family in dict.fromkeys(family for family, _ in EXPORTS):
        checkpoint = str(tiny_checkpoints.build(family, directory / family))
        made[family] = (checkpoint, pipeline.export(checkpoint, directory / f"{family}.smartrt"))
    return made


@pytest.fixture(scope="module", params=EXPORTS, ids="-".join)
def exported(request, plain, tmp_path_factory):
    """A bundle with an adapter, and all that it was made from."""
    family, name = request.param
    checkpoint, without = plain[family]
    directory = tmp_path_factory.mktemp("adapted")
    state, entries, layers = ADAPTERS[name]
    adapter = write(directory / "adapter.pt", state, **entries)
    bundle = pipeline.export(checkpoint, directory / "tiny.smartrt", adapter=adapter)
    return SimpleNamespace(
        bundle=bundle, without=without, checkpoint=checkpoint, adapter=adapter, state=state, layers=layers,
        kind="mlp" if "proj.4.weight" in state else "linear",
    )  # fmt: skip


def test_the_manifest_says_what_the_tokens_went_through(exported):
    manifest = exported.bundle.manifest
    assert manifest.token_layers == exported.layers
    assert manifest.adapter.kind == exported.kind
    assert manifest.adapter.sha256 == hashlib.sha256(Path(exported.adapter).read_bytes()).hexdigest()
    dim = exported.state["proj.4.weight" if exported.kind == "mlp" else "proj.1.weight"].shape[0]
    assert (manifest.dims.pooled, manifest.dims.token) == (HIDDEN, dim)
    assert manifest.verified.max_abs < 1e-5
    assert exported.bundle.identity != exported.without.identity
    assert exported.without.manifest.adapter is None
    assert set(manifest.files) == set(exported.without.manifest.files)  # the adapter is in the graph


@pytest.mark.filterwarnings("ignore::smartrt.TruncationWarning")  # one of the texts is too long on purpose
@pytest.mark.parametrize("side", ["query", "document"])
def test_a_bundle_equals_the_reference(exported, side):
    path = Path(exported.checkpoint)
    recipe = Recipe.read(path)
    reference = Reference.load(Checkpoint.resolve(str(path)), recipe, adapter=exported.adapter)
    texts = list(QUERIES + DOCUMENTS)
    wanted = reference.encode(texts, side)
    with Encoder.from_bundle(exported.bundle) as encoder, Encoder.from_bundle(exported.without) as without:
        found = getattr(encoder, f"encode_{side}")(texts)
        pooled = getattr(without, f"encode_{side}")(texts).pooled
    np.testing.assert_array_equal(found.tokens.lengths, wanted.tokens.lengths)
    np.testing.assert_allclose(found.tokens.values, wanted.tokens.values, atol=1e-5)
    np.testing.assert_allclose(found.pooled, wanted.pooled, atol=1e-5)
    np.testing.assert_allclose(found.pooled, pooled, atol=1e-6)


def test_token_vectors_are_the_projected_states_of_transformers(exported):
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported.checkpoint)
    model = transformers.AutoModel.from_pretrained(exported.checkpoint).eval()
    with Encoder.from_bundle(exported.bundle) as encoder:
        for text in ("sort a list by key", "why is the sky blue", "x"):
            batch = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            with torch.inference_mode():
                hidden = model(**batch, output_hidden_states=True).hidden_states
            kept = ~np.isin(batch["input_ids"][0], tokenizer.all_special_ids)
            wanted = unit(project(exported.state, [hidden[layer][0].numpy()[kept] for layer in exported.layers]))
            np.testing.assert_allclose(encoder.encode_document(text).tokens[0], wanted, atol=1e-5)


def test_comparing_takes_the_same_adapter_and_no_other(exported, tmp_path):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(Path(exported.adapter).read_bytes())
    assert pipeline.compare(exported.bundle, exported.checkpoint, adapter=str(copy)).max_abs < 1e-5
    other = write(tmp_path / "other.pt", weights(seed=4))
    for given in (None, other):
        with pytest.raises(ParityError) as caught:
            pipeline.compare(exported.bundle, exported.checkpoint, adapter=given)
        message_of(caught.value, "tiny.smartrt", "--adapter")
    with pytest.raises(ParityError) as caught:
        pipeline.compare(exported.without, exported.checkpoint, adapter=exported.adapter)
    message_of(caught.value, exported.adapter)


@pytest.mark.parametrize("name", ["no.pt", "."])
def test_comparing_with_an_adapter_that_cannot_be_read_is_refused(plain, tmp_path, name):
    checkpoint, without = plain["bert"]
    with pytest.raises(ExportError) as caught:
        pipeline.compare(without, checkpoint, adapter=str(tmp_path / name))
    message_of(caught.value, "there is no adapter file")


def test_an_item_without_a_token_has_one_row_of_zeros(exported):
    with Encoder.from_bundle(exported.bundle) as encoder:
        found = encoder.encode_document(["", "a list", ""], allow_empty=True)
    assert found.tokens.lengths[[0, 2]].tolist() == [1, 1]
    assert found.tokens.lengths[1] >= 2
    reference = Reference.load(
        Checkpoint.resolve(exported.checkpoint), Recipe.read(Path(exported.checkpoint)), adapter=exported.adapter
    )
    for row in (found.tokens[0], found.tokens[2], reference.encode([""], "document").tokens[0]):
        np.testing.assert_array_equal(row, np.zeros_like(row))


def test_another_adapter_gives_another_identity_and_the_same_one_the_same(plain, tmp_path):
    checkpoint, _ = plain["bert"]
    first, other = (write(tmp_path / f"{seed}.pt", weights(seed=seed)) for seed in (3, 4))
    one, again, another = (
        pipeline.export(checkpoint, tmp_path / f"{i}.smartrt", adapter=path).identity
        for i, path in enumerate((first, first, other))
    )
    assert one == again != another


@pytest.mark.parametrize("given", ["no.pt", "other.pt"])
def test_an_export_with_an_adapter_that_is_refused_leaves_nothing(plain, tmp_path, given):
    write(tmp_path / "other.pt", weights(hidden=16), hidden_size=16)
    before = set(tmp_path.iterdir())
    with pytest.raises(ExportError) as caught:
        pipeline.export(plain["bert"][0], tmp_path / "out.smartrt", adapter=str(tmp_path / given))
    message_of(caught.value, given)
    assert set(tmp_path.iterdir()) == before


def test_the_command_line_exports_with_an_adapter_and_verifies_with_it(capsys, plain, tmp_path):
    checkpoint, _ = plain["bert"]
    adapter, bundle = write(tmp_path / "adapter.pt", weights()), tmp_path / "out.smartrt"
    finished = call(capsys, "export", checkpoint, "--adapter", adapter, "-o", bundle, "--json")
    assert (finished.code, finished.json["bundle"]) == (0, str(bundle))
    manifest = Bundle.open(bundle).manifest
    assert (manifest.dims.token, manifest.token_layers, manifest.adapter.kind) == (DIM, (2,), "linear")
    assert "8 dims, layer 2 through a linear adapter" in call(capsys, "inspect", bundle).out
    verify = ("verify", bundle, "--against", checkpoint, "--json")
    assert call(capsys, *verify, "--adapter", adapter).json["verified"]["max_abs"] < 1e-5
    without = call(capsys, *verify)
    assert (without.code, without.json["ok"], without.json["verified"]) == (1, False, None)
    assert "--adapter" in without.err


def test_the_command_line_refuses_an_adapter_in_one_line(capsys, plain, tmp_path):
    write(tmp_path / "adapter.pt", weights(), adapter_type="token_self_attention")
    output = tmp_path / "out.smartrt"
    finished = call(capsys, "export", plain["bert"][0], "--adapter", tmp_path / "adapter.pt", "-o", output)
    assert (finished.code, finished.out, output.exists()) == (2, "", False)
    assert finished.err.splitlines()[-1].startswith(f"smartrt: {tmp_path / 'adapter.pt'} is a 'token_self_attention'")
