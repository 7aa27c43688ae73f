"""Every family in every precision, through the exporter and the runtime, against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import smartrt
from calibrating import loud_checkpoint, write_items
from smartrt.bundle import Bundle
from smartrt.errors import OptionError, ParityError
from smartrt.export import pipeline
from smartrt.export.precision import convert
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.export.sentences import DOCUMENTS
from smartrt.export.wanted import Wanted
from smartrt.models.checkpoint import Checkpoint
from smartrt.models.recipe import Recipe
from smartrt.models.reference import Reference

pytestmark = pytest.mark.usefixtures("library_read_once")

FAMILIES = ("bert", "roberta", "modernbert", "qwen3", "llama")
NARROW = [name for name in PRECISIONS if name != "fp32"]
LEAST = {"fp16": 0.99999, "int8": 0.9998, "int8-static": 0.995, "w8": 0.9999, "int4": 0.99}
"""Mean cosine of token vectors with PyTorch's, of models whose products matter. One product with its rows shifted by
one leaves 0.98 at most."""

_DECODERS = {"fp16": 0.99999, "int8": 0.998, "int8-static": 0.97, "w8": 0.999, "int4": 0.85}  # there it leaves 0.27

TEXTS = [text[:10] for text in DOCUMENTS]


@dataclass(frozen=True)
class Source:
    """A checkpoint, and items to calibrate on."""

    family: str
    checkpoint: Path
    items: Path

    def export(self, output: Path, precision: str, **more: object) -> Bundle:
        calibrate = self.items if PRECISIONS[precision].override(more.get("rounding"), None).calibrated else None
        return pipeline.export(str(self.checkpoint), output, wanted=Wanted(precision, calibrate=calibrate, **more))


def source_of(family: str, directory: Path) -> Source:
    return Source(family, loud_checkpoint(family, directory / family), write_items(directory / "items.jsonl"))


@pytest.fixture(scope="module", params=FAMILIES)
def source(request, tmp_path_factory):
    return source_of(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return source_of("bert", tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("precision", NARROW)
def test_a_family_in_a_precision(source, precision, tmp_path):
    bundle = source.export(tmp_path / "x.smartrt", precision)
    check_types(Bundle.open(bundle.path), precision)
    check_vectors(source, bundle.path, precision)


def check_types(bundle, precision):
    """What the manifest says, and that the file is as small as it says."""
    scheme, about = PRECISIONS[precision], bundle.manifest.precision
    assert (about.name, about.activations, about.compute) == (precision, scheme.activations, scheme.compute)
    proof = about.graphs["encoder"]
    if precision == "int4":  # where four bits cost most there are eight
        assert set(proof.weights) <= {"int4", "int8"}
        assert proof.weights["int4"] >= 0.6 * sum(proof.weights.values())
        assert bool(about.kept) == ("int8" in proof.weights)
    else:
        assert about.kept == {}
        assert proof.weights[scheme.weights] >= 0.9 * sum(proof.weights.values()) > 0
    arithmetic = "int8" if scheme.activations != "float" else scheme.compute
    assert proof.computed[arithmetic] >= 0.9 * sum(proof.computed.values())
    assert (about.calibration, about.calibration_sha256 is None) == (
        ("items.jsonl", False) if scheme.calibrated else (None, True)
    )
    assert bundle.manifest.opset == (21 if precision in ("w8", "int4") else 18)
    held = sum(entry.bytes for name, entry in bundle.manifest.files.items() if name.endswith(".data"))
    assert held < sum(proof.bytes.values()) + 4096 * 80


def check_vectors(source, path, precision):
    recipe = Recipe.read(source.checkpoint)
    reference = Reference.load(Checkpoint.resolve(str(source.checkpoint)), recipe)
    with smartrt.Encoder.open(path) as encoder, smartrt.Encoder.open(path, token_budget=1) as alone:
        together, apart = encoder.encode_document(TEXTS), alone.encode_document(TEXTS)
    np.testing.assert_allclose(together.pooled, apart.pooled, atol=1e-5)
    np.testing.assert_allclose(together.tokens.values, apart.tokens.values, atol=1e-5)
    truth = reference.encode(TEXTS, "document")
    cosines = (truth.tokens.values * together.tokens.values).sum(axis=1)
    least = (_DECODERS if source.family in ("qwen3", "llama") else LEAST)[precision]
    assert least < cosines.mean() <= 1.00001
    if precision != "fp16":
        assert cosines.mean() < 1 - 1e-7  # something was rounded
    verified = Bundle.open(path).manifest.verified
    assert verified.tolerance is None
    assert verified.token.mean > least
    assert verified.token.min <= verified.token.percentile_1 <= verified.token.mean


@pytest.mark.parametrize("precision", NARROW)
def test_albert_whose_layers_share_their_weights(precision, tmp_path):
    source = source_of("albert", tmp_path)
    bundle = source.export(tmp_path / "x.smartrt", precision)
    check_types(bundle, precision)
    check_vectors(source, bundle.path, precision)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_two_exports_have_one_identity(bert, precision, tmp_path):
    bundles = [bert.export(tmp_path / f"{name}.smartrt", precision) for name in "ab"]
    assert bundles[0].identity == bundles[1].identity
    assert bundles[0].manifest.files == bundles[1].manifest.files


@pytest.mark.slow
def test_other_types_and_other_calibration_are_other_identities(bert, tmp_path):
    more = write_items(tmp_path / "items.jsonl", characters=301)
    bundles = [
        bert.export(tmp_path / "a.smartrt", "int8"),
        Source("bert", bert.checkpoint, more).export(tmp_path / "b.smartrt", "int8"),
        bert.export(tmp_path / "c.smartrt", "int8", rounding="nearest"),
        bert.export(tmp_path / "d.smartrt", "w8"),
    ]
    assert len({bundle.identity for bundle in bundles}) == 4


def test_the_name_of_the_calibration_file_decides_no_vector(bert, tmp_path):
    again = tmp_path / "other-name.jsonl"
    again.write_bytes(bert.items.read_bytes())
    first = bert.export(tmp_path / "a.smartrt", "w8")
    second = Source("bert", bert.checkpoint, again).export(tmp_path / "b.smartrt", "w8")
    assert first.manifest.files == second.manifest.files
    assert first.identity == second.identity


def test_modules_that_are_kept_are_wide_and_named(bert, tmp_path):
    modules = [f"backbone.encoder.layer.{i}.output.dense" for i in (0, 1)]
    bundle = bert.export(tmp_path / "x.smartrt", "int8", keep=tuple(modules))
    assert bundle.manifest.precision.kept == {"encoder": tuple(modules)}
    weights = bundle.manifest.precision.graphs["encoder"].weights
    assert weights == {"fp16": 2 * 64 * 32, "int8": 2 * (4 * 32 * 32 + 32 * 64)}


def test_what_is_kept_may_be_a_whole_layer_or_have_the_graphs_name_in_front(bert, tmp_path):
    whole = bert.export(tmp_path / "a.smartrt", "w8", keep=("backbone.encoder.layer.0",))
    (kept,) = whole.manifest.precision.kept.values()
    assert len(kept) == 6
    assert all(path.startswith("backbone.encoder.layer.0.") for path in kept)
    named = bert.export(tmp_path / "b.smartrt", "w8", keep=("encoder.backbone.encoder.layer.0",))
    assert named.identity == whole.identity


@pytest.mark.parametrize("name", ["layer.0.mlp.down_prj", "backbone.encoder.layer.1.out", "backbone.encoder.layer.9"])
def test_a_kept_module_that_does_not_exist_is_refused(name, bert, tmp_path):
    with pytest.raises(OptionError, match=f"--keep {name}: there is no such module; there are backbone"):
        bert.export(tmp_path / "x.smartrt", "int8", keep=(name,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_an_adapter_stays_float32(bert, precision, tmp_path):
    state = {"proj.0.weight": torch.ones(32), "proj.0.bias": torch.zeros(32), "proj.1.weight": torch.eye(32)[:16]}
    adapter = tmp_path / "adapter.pt"
    torch.save(
        {"token_projection_module": state, "adapter_type": "token_projection", "use_last_n_layers": 1,
         "selected_layers": None, "anchor_dim": 32, "hidden_size": 32}, adapter,
    )  # fmt: skip
    wanted = Wanted(precision, calibrate=bert.items)
    bundle = pipeline.export(str(bert.checkpoint), tmp_path / "x.smartrt", wanted=wanted, adapter=str(adapter))
    assert PRECISIONS[precision].quantized
    weights = bundle.manifest.precision.graphs["encoder"].weights
    assert weights.pop("fp32") == 32 * 16
    assert sum(weights.values()) == 16384
    assert bundle.manifest.precision.kept["encoder"][-1] == "head.projection.proj.proj.1"


@pytest.mark.parametrize(("precision", "compute"), [
    ("w8", "fp16"), ("int4", "fp16"), ("int8-static", "fp16"),
])  # fmt: skip
def test_products_for_a_gpu_are_computed_in_float16(bert, precision, compute, tmp_path):
    about = bert.export(tmp_path / "x.smartrt", precision, compute=compute).manifest.precision
    assert about.compute == "fp16"
    assert set(about.graphs["encoder"].computed) == {"int8" if precision == "int8-static" else "fp16"}


def test_an_old_opset_is_left_alone_in_fp32(bert, tmp_path):
    assert pipeline.export(str(bert.checkpoint), tmp_path / "x.smartrt", opset=17).manifest.opset == 17


def test_a_precision_that_ruins_the_model_is_refused_and_leaves_nothing(bert, tmp_path, monkeypatch):
    honest = convert.SharedInput.round

    def scrambled(shared, product, scheme):
        codes = honest(shared, product, scheme)
        codes.values.copy_(codes.values[torch.randperm(len(codes.values), generator=torch.manual_seed(0))])
        return codes

    monkeypatch.setattr(convert.SharedInput, "round", scrambled)
    with pytest.raises(ParityError, match=r"token vectors have a mean cosine of .* below 0.99: this precision ruins"):
        bert.export(tmp_path / "x.smartrt", "w8")
    assert list(tmp_path.iterdir()) == []


def test_comparing_a_narrow_bundle_again_gives_what_was_measured(bert, tmp_path):
    bundle = bert.export(tmp_path / "x.smartrt", "int8")
    again = pipeline.compare(bundle, str(bert.checkpoint))
    assert again.token.mean == pytest.approx(bundle.manifest.verified.token.mean, abs=1e-6)
