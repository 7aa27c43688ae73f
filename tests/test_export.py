"""Export: every family, through the runtime, against PyTorch; and nothing left behind on failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import transformers

import smartrt
import tiny_checkpoints
from smartrt.errors import CorruptBundleError, ExportError, OptionError, ParityError, StorageError
from smartrt.export import pipeline, text_family
from smartrt.export.graph import check_operators
from smartrt.export.onnx_config import supported_model_types
from smartrt.export.sentences import DOCUMENTS

FAMILIES = list(tiny_checkpoints.FAMILIES)


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Name, checkpoint and bundle of a family."""
    directory = tmp_path_factory.mktemp(request.param)
    checkpoint = tiny_checkpoints.build(request.param, directory / "checkpoint")
    bundle = pipeline.export(str(checkpoint), directory / "tiny.smartrt")
    return request.param, checkpoint, bundle.path


def test_a_family_agrees_with_pytorch(exported: tuple[str, Path, Path]) -> None:
    name, checkpoint, path = exported
    manifest = smartrt.Bundle.open(path).manifest
    assert manifest.verified.max_abs < 1e-5
    assert manifest.verified.token.min > 1 - 1e-6
    assert manifest.verified.pooled.min > 1 - 1e-6
    assert (manifest.verified.agreement.first, manifest.verified.agreement.pairs) == (1, 1)
    assert manifest.verified.sets == ()
    assert manifest.verified.ranking_agreement == 1
    assert manifest.verified.items == 22
    assert manifest.pooling == tiny_checkpoints.FAMILIES[name].pooling
    assert manifest.source.checkpoint == checkpoint.name
    again = pipeline.compare(smartrt.Bundle.open(path), str(checkpoint))
    assert again.max_abs == pytest.approx(manifest.verified.max_abs, abs=1e-6)


def test_a_family_encodes_in_a_batch_as_alone(exported: tuple[str, Path, Path]) -> None:
    texts = [text[:10] for text in DOCUMENTS]
    with smartrt.Encoder.open(exported[2]) as encoder, smartrt.Encoder.open(exported[2], token_budget=1) as alone:
        together, apart = encoder.encode_document(texts), alone.encode_document(texts)
    np.testing.assert_allclose(together.pooled, apart.pooled, atol=1e-5)
    np.testing.assert_allclose(together.tokens.values, apart.tokens.values, atol=1e-5)


def test_a_familys_graph_has_our_names_and_no_work_that_depends_on_data(exported: tuple[str, Path, Path]) -> None:
    model = onnx.load(exported[2] / "encoder.onnx")
    axes = {
        node.name: [dim.dim_param or dim.dim_value for dim in node.type.tensor_type.shape.dim]
        for node in [*model.graph.input, *model.graph.output]
    }
    assert axes["input_ids"] == axes["attention_mask"] == ["batch", "length"]
    assert axes["pooled"] == ["batch", tiny_checkpoints.HIDDEN]
    assert axes["token_states"] == ["batch", "length", tiny_checkpoints.HIDDEN]
    assert model.opset_import[0].version == 18
    check_operators(ir.from_proto(model))


def test_two_exports_of_one_checkpoint_have_one_identity(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    bundles = [pipeline.export(str(checkpoint), tmp_path / f"{name}.smartrt") for name in ("a", "b")]
    assert bundles[0].identity == bundles[1].identity
    other = pipeline.export(str(checkpoint), tmp_path / "c.smartrt", pooling="cls")
    assert other.identity != bundles[0].identity


def test_overrides_reach_the_bundle(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    given = {"pooling": "cls", "max_length": 16, "query_prompt": "ask: ", "document_prompt": "say: "}
    manifest = pipeline.export(str(checkpoint), tmp_path / "x.smartrt", normalize=False, **given).manifest
    assert (manifest.pooling, manifest.tokenizer.max_length, manifest.normalized) == ("cls", 16, False)
    assert (manifest.prompts.query, manifest.prompts.document) == ("ask: ", "say: ")
    encoder = smartrt.Encoder.open(tmp_path / "x.smartrt")
    assert not np.allclose(np.linalg.norm(encoder.encode_query("sort a list").pooled, axis=1), 1, atol=0.01)


def test_lower_casing_asked_for_by_the_checkpoint_reaches_the_runtime(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("roberta", tmp_path / "roberta")
    pipeline.export(str(checkpoint), tmp_path / "x.smartrt", lowercase=True)
    encoder = smartrt.Encoder.open(tmp_path / "x.smartrt")
    pair = encoder.encode_query(["Sort A LIST", "sort a list"])
    np.testing.assert_array_equal(pair.pooled[0], pair.pooled[1])


def _refused(tmp_path: Path, source: Path | str, error: type[Exception], match: str, **options: object) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=match) as caught:
        pipeline.export(str(source), tmp_path / "out.smartrt", **options)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


def test_a_graph_that_disagrees_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    _refused(tmp_path, checkpoint, ParityError, "differ from PyTorch", tolerance=1e-9)


def test_a_graph_that_pools_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    original = text_family.trace_text_encoder

    def pool_the_first(encoder: object, *args: object, **kwargs: object) -> object:
        right = encoder.pool
        encoder.pool = lambda states, mask: states[:, 0] * mask[:, :1]
        try:
            return original(encoder, *args, **kwargs)
        finally:
            encoder.pool = right

    monkeypatch.setattr(text_family, "trace_text_encoder", pool_the_first)
    _refused(tmp_path, checkpoint, ParityError, "differ from PyTorch")


def test_a_tokenizer_that_disagrees_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    original = text_family.write_tokenizer

    def drop_the_lowercasing(source: object, directory: Path, **kwargs: object) -> object:
        entry = original(source, directory, **kwargs)
        text = (directory / "tokenizer.json").read_text()
        (directory / "tokenizer.json").write_text(text.replace('"lowercase": true', '"lowercase": false'))
        return entry

    monkeypatch.setattr(text_family, "write_tokenizer", drop_the_lowercasing)
    _refused(tmp_path, checkpoint, CorruptBundleError, "tokenizer")


def test_an_output_that_exists_is_not_touched(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    (tmp_path / "out.smartrt").mkdir()
    (tmp_path / "out.smartrt" / "mine").write_text("keep")
    _refused(tmp_path, checkpoint, StorageError, "exists already")
    assert (tmp_path / "out.smartrt" / "mine").read_text() == "keep"


@pytest.mark.parametrize("opset", [22, 23])
def test_an_opset_above_the_portable_one_is_refused_before_anything_is_loaded(opset: int, tmp_path: Path) -> None:
    match = f"--opset {opset} is not portable, which is opset 21 at most: .* --dialect fused"
    _refused(tmp_path, "no/such/checkpoint", OptionError, match, opset=opset)


def test_the_newest_portable_opset_is_written(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    manifest = pipeline.export(str(checkpoint), tmp_path / "tiny.smartrt", opset=pipeline.PORTABLE_OPSET).manifest
    assert (manifest.opset, manifest.dialect) == (21, "portable")


def test_an_architecture_that_optimum_does_not_know_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    config = transformers.FunnelConfig(vocab_size=400, d_model=32, n_head=4, d_head=8, d_inner=64, block_sizes=[1, 1])
    transformers.FunnelModel(config).save_pretrained(checkpoint)
    _refused(tmp_path, checkpoint, ExportError, "optimum-onnx does not export 'funnel'.*bert")


def test_a_graph_with_control_flow_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    config = transformers.DebertaV2Config(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"],
    )  # fmt: skip
    transformers.DebertaV2Model(config).save_pretrained(checkpoint)
    _refused(tmp_path, checkpoint, ExportError, "the graph holds If")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    config = transformers.T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    transformers.T5Model(config).save_pretrained(checkpoint)
    _refused(tmp_path, checkpoint, ExportError, "has a decoder")


def test_a_prompt_with_a_special_token_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoints.build("bert", tmp_path / "bert")
    _refused(tmp_path, checkpoint, ExportError, r"special token '\[SEP\]'", query_prompt="find [SEP] ")


def test_comparing_with_another_checkpoint_is_refused(tmp_path: Path, tiny_path: Path) -> None:
    other = tiny_checkpoints.build("distilbert", tmp_path / "other")
    with pytest.raises(ParityError, match="does not hold the weights"):
        pipeline.compare(smartrt.Bundle.open(tiny_path), str(other))


def test_the_registry_is_optimums() -> None:
    assert {"bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert"} <= set(supported_model_types())


@pytest.mark.parametrize("source", ["../nope", "no/such/place", "a b/c"])
def test_a_name_that_is_no_checkpoint_is_one_line(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    _refused(tmp_path, source, ExportError, "checkpoint")


def test_a_folder_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    _refused(tmp_path, tmp_path / "pictures", ExportError, "neither config.json nor")


@pytest.mark.parametrize("opset", [-1, 3, 8, 24, 99])
def test_an_opset_that_no_exporter_writes_is_refused_before_anything_is_loaded(opset: int, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"--opset {opset}: PyTorch writes graphs of opset 9 to 23"):
        pipeline.export("nowhere", tmp_path / "out.smartrt", opset=opset, dialect="fused")
