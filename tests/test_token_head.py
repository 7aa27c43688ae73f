"""Which layer token vectors come from: checked against transformers, layer by layer, and through the export."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

import tiny_checkpoints
from commandline import call, one_line, refused
from smartrt import Bundle, Encoder, TruncationWarning
from smartrt.errors import ExportError
from smartrt.export import pipeline
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference
from smartrt.models.text_encoder import TextEncoder
from smartrt.models.token_head import TokenHead
from support import message_of

HIDDEN = tiny_checkpoints.HIDDEN
DEPTH = 4
EARLY = 2
TEXTS = ("sort a list by key", "why is the sky blue", "x")


def build(family, directory):
    """A tiny checkpoint of `DEPTH` layers that differ, its norms too: a norm of ones does not show in a unit vector."""
    usual = tiny_checkpoints.FAMILIES[family]
    deeper = dataclasses.replace(usual, config=lambda **common: usual.config(num_hidden_layers=DEPTH, **common))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_checkpoints.FAMILIES, family, deeper)
        tiny_checkpoints.build(family, directory)
    model = transformers.AutoModel.from_pretrained(directory)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(directory)
    return str(directory)


def reference_of(checkpoint, **choice):
    return Reference.load(Checkpoint.resolve(checkpoint), Recipe.read(Path(checkpoint)), **choice)


def unit(values):
    values = np.asarray(values, np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def far(left, right):
    """Whether two sets of unit vectors differ by far more than rounding."""
    return np.abs(left - right).max() > 0.05


@dataclasses.dataclass(frozen=True)
class Seen:
    """What transformers computed for a text, special tokens left out: `[layer][token, hidden]`."""

    hidden_states: list[np.ndarray]
    block_outputs: list[np.ndarray]
    last_hidden_state: np.ndarray


def look(checkpoint, text):
    """Run a text through transformers itself, with a hook behind each block."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    blocks = model.layers if hasattr(model, "layers") else model.encoder.layer
    caught = []

    def keep(_module, _arguments, output):
        caught.append(output[0] if isinstance(output, tuple) else output)

    for block in blocks:
        block.register_forward_hook(keep)
    batch = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        output = model(**batch, output_hidden_states=True)
    kept = ~np.isin(batch["input_ids"][0], tokenizer.all_special_ids)
    rows = [[state[0].numpy()[kept] for state in states] for states in (output.hidden_states, caught)]
    assert (len(rows[0]), len(rows[1])) == (DEPTH + 1, DEPTH)
    return Seen(*rows, output.last_hidden_state[0].numpy()[kept])


@pytest.fixture(scope="module", params=["bert", "qwen3"])
def exported(request, tmp_path_factory):
    """A checkpoint, its bundle, and its bundle with the tokens of an early layer."""
    directory = tmp_path_factory.mktemp(request.param)
    checkpoint = build(request.param, directory / "checkpoint")
    return SimpleNamespace(
        family=request.param,
        checkpoint=checkpoint,
        plain=pipeline.export(checkpoint, directory / "plain.smartrt"),
        early=pipeline.export(checkpoint, directory / "early.smartrt", layer=EARLY),
    )


def test_layer_n_is_what_the_nth_block_returns(exported):
    for text in TEXTS:
        seen = look(exported.checkpoint, text)
        for layer in range(1, DEPTH):
            found = reference_of(exported.checkpoint, layer=layer).encode([text], "document").tokens[0]
            np.testing.assert_allclose(found, unit(seen.hidden_states[layer]), atol=1e-6)
            np.testing.assert_allclose(found, unit(seen.block_outputs[layer - 1]), atol=1e-6)
            assert all(far(found, unit(seen.hidden_states[i])) for i in range(DEPTH + 1) if i != layer)


def test_the_last_layer_is_read_after_the_final_norm(exported):
    for text in TEXTS:
        seen = look(exported.checkpoint, text)
        for choice in ({}, {"layer": DEPTH}):
            found = reference_of(exported.checkpoint, **choice).encode([text], "document").tokens[0]
            np.testing.assert_allclose(found, unit(seen.last_hidden_state), atol=1e-6)
            np.testing.assert_allclose(found, unit(seen.hidden_states[DEPTH]), atol=1e-6)
            normed = far(found, unit(seen.block_outputs[-1]))
            assert normed == (exported.family == "qwen3")  # BERT's norms stand inside its blocks


def test_a_bundles_tokens_are_those_of_its_layer(exported):
    for bundle, layer in ((exported.plain, DEPTH), (exported.early, EARLY)):
        with Encoder.from_bundle(bundle) as encoder:
            for text in TEXTS:
                wanted = unit(look(exported.checkpoint, text).hidden_states[layer])
                np.testing.assert_allclose(encoder.encode_document(text).tokens[0], wanted, atol=1e-5)


@pytest.mark.parametrize("side", ["query", "document"])
def test_a_bundle_of_an_early_layer_equals_the_reference_and_pools_the_last(exported, side):
    texts = list(QUERIES + DOCUMENTS)
    wanted = reference_of(exported.checkpoint, layer=EARLY).encode(texts, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one of the texts is too long on purpose
        with Encoder.from_bundle(exported.early) as early, Encoder.from_bundle(exported.plain) as plain:
            found, last = (getattr(encoder, f"encode_{side}")(texts) for encoder in (early, plain))
    np.testing.assert_array_equal(found.tokens.lengths, wanted.tokens.lengths)
    np.testing.assert_allclose(found.tokens.values, wanted.tokens.values, atol=1e-5)
    np.testing.assert_allclose(found.pooled, wanted.pooled, atol=1e-5)
    np.testing.assert_allclose(found.pooled, last.pooled, atol=1e-6)
    assert far(found.tokens.values, last.tokens.values)


def test_the_manifest_says_the_layer(exported):
    plain, early = exported.plain.manifest, exported.early.manifest
    assert (plain.token_layers, early.token_layers) == ((DEPTH,), (EARLY,))
    assert plain.adapter is early.adapter is None
    assert plain.dims == early.dims
    assert (early.dims.pooled, early.dims.token) == (HIDDEN, HIDDEN)
    assert early.verified.max_abs < 1e-5
    assert exported.early.identity != exported.plain.identity


def test_comparing_takes_the_layer_from_the_manifest(exported):
    for bundle in (exported.plain, exported.early):
        assert pipeline.compare(bundle, exported.checkpoint).max_abs < 1e-5


def test_an_item_without_a_token_has_its_pooled_vector_of_the_last_layer(exported):
    with Encoder.from_bundle(exported.early) as encoder:
        found = encoder.encode_document(["", "a list"], allow_empty=True)
    wanted = reference_of(exported.checkpoint, layer=EARLY).encode([""], "document")
    assert found.tokens.lengths[0] == wanted.tokens.lengths[0] == 1
    np.testing.assert_allclose(found.tokens[0][0], found.pooled[0], atol=1e-6)
    np.testing.assert_allclose(found.tokens[0], wanted.tokens[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.tokens[0]), 1, atol=1e-5)


@pytest.mark.slow
def test_asking_for_the_last_layer_is_asking_for_nothing(exported, tmp_path):
    assert pipeline.export(exported.checkpoint, tmp_path / "x.smartrt", layer=DEPTH).identity == exported.plain.identity


@pytest.mark.parametrize("family", ["distilbert", "albert", "modernbert", "mpnet"])
def test_a_layer_can_be_asked_of_every_kind_of_backbone(tmp_path, family):
    """Depth under another name, one block run again and again, blocks of two kinds, biased attention."""
    checkpoint = str(tiny_checkpoints.build(family, tmp_path / family))
    bundle = pipeline.export(checkpoint, tmp_path / "x.smartrt", layer=1)
    assert (bundle.manifest.token_layers, bundle.manifest.verified.max_abs < 1e-5) == ((1,), True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModel.from_pretrained(checkpoint).eval()
    batch = tokenizer(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        states = model(**batch, output_hidden_states=True).hidden_states[1][0].numpy()
    wanted = unit(states[~np.isin(batch["input_ids"][0], tokenizer.all_special_ids)])
    with Encoder.from_bundle(bundle) as encoder:
        np.testing.assert_allclose(encoder.encode_document(TEXTS[0]).tokens[0], wanted, atol=1e-5)


@pytest.mark.parametrize("layer", [0, -1, DEPTH + 1, 10**9])
def test_a_layer_that_does_not_exist_is_refused_and_leaves_nothing(exported, tmp_path, layer):
    with pytest.raises(ExportError) as caught:
        pipeline.export(exported.checkpoint, tmp_path / "x.smartrt", layer=layer)
    message_of(caught.value, f"--layer {layer}:", f"layers 1 to {DEPTH}")
    assert not list(tmp_path.iterdir())


def test_a_layer_and_an_adapter_together_are_refused(exported, tmp_path):
    with pytest.raises(ExportError) as caught:
        pipeline.export(exported.checkpoint, tmp_path / "x.smartrt", layer=1, adapter="adapter.pt")
    message_of(caught.value, "--layer 1", "--adapter adapter.pt")
    assert not list(tmp_path.iterdir())


def test_the_last_layer_is_chosen_if_none_is_asked_for():
    head = TokenHead.choose(HIDDEN, DEPTH, None, None)
    assert (head.layers, head.dim, head.projection, head.adapter) == ((DEPTH,), HIDDEN, None, None)


@pytest.mark.parametrize("layer", range(1, DEPTH + 1))
def test_every_layer_can_be_chosen(layer):
    assert TokenHead.choose(HIDDEN, DEPTH, layer, None).layers == (layer,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_token_vectors_are_normalised_in_float32(dtype):
    states = (300 * torch.randn(2, 5, HIDDEN, generator=torch.Generator().manual_seed(1))).to(dtype)
    found = TokenHead((1,), HIDDEN)([states])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, unit(states.float().numpy()), atol=1e-6)


def test_a_state_of_zeros_stays_finite():
    np.testing.assert_array_equal(TokenHead((1,), HIDDEN)([torch.zeros(1, 2, HIDDEN)]), np.zeros((1, 2, HIDDEN)))


class Counting(torch.nn.Module):
    """A backbone whose layer N is full of N, and its final norm of 100."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=DEPTH)
        self.asked = []

    def forward(self, input_ids, attention_mask, output_hidden_states):  # noqa: ARG002  (transformers' names)
        self.asked.append(output_hidden_states)
        full = [torch.full((*input_ids.shape, HIDDEN), float(i)) for i in range(DEPTH + 1)]
        last = torch.full_like(full[0], 100.0)
        return SimpleNamespace(last_hidden_state=last, hidden_states=full if output_hidden_states else None)


@pytest.mark.parametrize(
    ("layers", "values", "asks"),
    [((DEPTH,), [100], False), ((1,), [1], True), ((DEPTH, 2), [100, 2], True), ((3, 1, 2), [3, 1, 2], True)],
)
def test_the_head_gets_its_layers_in_order_and_hidden_states_are_kept_only_for_early_ones(layers, values, asks):
    got = []

    class Head(TokenHead):
        def forward(self, states):
            got.extend(states)
            return states[0]

    backbone, ids = Counting(), torch.ones(1, 3, dtype=torch.int64)
    output = TextEncoder(backbone, "mean", Head(layers, HIDDEN), normalize_pooled=False)(ids, ids)
    assert [float(state.unique()) for state in got] == values
    assert float(output["pooled"].unique()) == 100
    assert backbone.asked == [asks]


@pytest.mark.slow
def test_the_command_line_exports_a_layer(capsys, exported, tmp_path):
    bundle = tmp_path / "x.smartrt"
    finished = call(capsys, "export", exported.checkpoint, "--layer", EARLY, "-o", bundle, "--json")
    assert (finished.code, finished.json["identity"]) == (0, exported.early.identity)
    assert Bundle.open(bundle).manifest.token_layers == (EARLY,)
    assert f"{HIDDEN} dims, layer {EARLY}, normalised" in call(capsys, "inspect", bundle).out
    verified = call(capsys, "verify", bundle, "--against", exported.checkpoint, "--json")
    assert (verified.code, verified.json["ok"]) == (0, True)
    assert verified.json["verified"]["max_abs"] < 1e-5


def test_the_command_line_refuses_a_layer_that_does_not_exist(capsys, exported, tmp_path):
    given = ("export", exported.checkpoint, "-o", tmp_path / "x.smartrt", "--layer")
    finished = call(capsys, *given, DEPTH + 1)
    assert (finished.code, finished.out) == (2, "")
    one_line(finished.err.splitlines(keepends=True)[-1], "smartrt: --layer 5", "layers 1 to 4")
    refused(call(capsys, *given, 0), "--layer", "whole number from 1 up")
    assert not list(tmp_path.iterdir())
