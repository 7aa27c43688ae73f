"""The encoders of a measurement: what decides their vectors, and PyTorch beside the bundle that came from it."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

import tiny_checkpoints
from commandline import records
from smartrt import Bundle, Encoder
from smartrt.benchmarks.accuracy.contenders import Contender, EngineOptions
from smartrt.benchmarks.accuracy.encoded import EncodedCache
from smartrt.benchmarks.accuracy.measure import measure
from smartrt.benchmarks.accuracy.pytorch_contender import pytorch_contenders
from smartrt.errors import ExportError, MissingDependencyError, OptionError
from smartrt.evaluation.dataset import RetrievalSet
from smartrt.export.pipeline import export
from smartrt.export.sentences import DOCUMENTS, QUERIES
from smartrt.jsonl import Record
from support import message_of, set_key

FAKE = EngineOptions("fake")


def encoded(contender, texts, side="query"):
    with contender.open() as start:
        return start(lambda _: None)(texts, side)


@pytest.fixture(scope="module")
def data():
    asked = tuple(Record(f"q{i}", text, {}) for i, text in enumerate(QUERIES))
    gains = tuple({i: 1.0} for i in range(len(QUERIES)))
    return RetrievalSet("answers", tuple(records([*DOCUMENTS, *DOCUMENTS[:3]])), asked, gains, 0)


def test_a_bundle_encodes_as_its_encoder_does(tiny_path):
    contender = Contender.of_bundle(Bundle.open(tiny_path), FAKE)
    with Encoder.open(tiny_path, engine="fake") as encoder:
        assert np.array_equal(encoded(contender, list(QUERIES)).pooled, encoder.encode_query(list(QUERIES)).pooled)


@pytest.mark.parametrize(
    "chosen",
    [
        EngineOptions("ort"),
        EngineOptions("fake", device="cuda"),
        EngineOptions("fake", token_budget=7),
        EngineOptions("fake", options={"threads": 2}),
    ],
    ids=["engine", "device", "token budget", "option"],
)
def test_whatever_may_change_a_bit_is_part_of_what_decides(tiny_path, chosen):
    bundle = Bundle.open(tiny_path)
    decides = Contender.of_bundle(bundle, FAKE).decides
    assert decides == Contender.of_bundle(bundle, FAKE).decides
    assert decides != Contender.of_bundle(bundle, chosen).decides
    assert json.loads(json.dumps(decides)) == decides
    assert {"smartrt", "libraries", "cpu", "gpus", "bundle", "window"} < set(decides)
    assert {"numpy", "tokenizers", "onnxruntime"} <= set(decides["libraries"])


def test_the_name_and_the_weights_of_the_hybrid_decide_no_vector(tiny_path, tiny_copy):
    for key, value in (("name", "twin"), ("scoring/late_weight", 0.5)):
        set_key(tiny_copy / "manifest.json", key, value)
    one, twin = (Contender.of_bundle(Bundle.open(path), FAKE) for path in (tiny_path, tiny_copy))
    assert one.decides == twin.decides
    assert (twin.label, twin.weights.late) == ("twin", 0.5)


def test_files_that_were_not_compared_with_their_hashes_are_never_cached(tiny_path, tmp_path, data):
    contender = Contender.of_bundle(Bundle.open(tiny_path, verify=False), FAKE, checked=False)
    cache = EncodedCache.open(tmp_path)
    measure([contender], [data], cache=cache)
    assert (contender.decides, list(tmp_path.iterdir()), cache.misses) == (None, [], 0)


def test_an_engine_that_does_not_exist_is_refused(tiny_path):
    with pytest.raises(OptionError) as caught:
        Contender.of_bundle(Bundle.open(tiny_path), EngineOptions("warp"))
    message_of(caught.value, "'warp'", "ort, trt, fake")


def test_an_engine_whose_library_is_missing_is_refused_before_it_is_opened(tiny_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "smartrt.engines.ort", raising=False)
    with pytest.raises(MissingDependencyError) as caught:
        Contender.of_bundle(Bundle.open(tiny_path))
    message_of(caught.value, "ONNX Runtime")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint and the bundle of it."""
    folder = tmp_path_factory.mktemp("pytorch")
    checkpoint = tiny_checkpoints.build("bert", folder / "bert")
    return checkpoint, Bundle.open(export(str(checkpoint), folder / "small.smartrt").path)


def test_pytorch_finds_what_the_bundle_finds(made, data, tmp_path):
    checkpoint, bundle = made
    contenders = [Contender.of_bundle(bundle), *pytorch_contenders(str(checkpoint), ["fp32", "bf16"], bundle.manifest)]
    first = measure(contenders, [data], cache=EncodedCache.open(tmp_path))
    again = measure(contenders, [data], cache=EncodedCache.open(tmp_path))
    assert [each["label"] for each in first["encoders"]] == ["small", "PyTorch fp32", "PyTorch bf16"]
    assert [each["precision"] for each in first["encoders"]] == ["fp32", "float32", "bfloat16"]
    assert first["encoders"][1]["identity"] == bundle.manifest.source.weights_sha256
    rows = {each["name"]: each for each in first["results"][0]["systems"]}
    for system in ("pooled", "late", "hybrid"):
        assert rows[f"PyTorch fp32 {system}"]["ndcg@10"] == pytest.approx(rows[f"small {system}"]["ndcg@10"])
    assert first["results"][0]["truncated_documents"]["PyTorch fp32"] is None
    assert (first["cache"], again["cache"]) == ({"hits": 0, "misses": 6}, {"hits": 6, "misses": 0})
    assert again["results"][0]["systems"] == first["results"][0]["systems"]


@pytest.mark.filterwarnings("ignore::smartrt.TruncationWarning")
def test_pytorch_encodes_in_the_order_given(made):
    checkpoint, bundle = made
    (contender,) = pytorch_contenders(str(checkpoint), ["fp32"], bundle.manifest)
    texts = [*DOCUMENTS, ""] * 3
    found = encoded(contender, texts, "document")
    with Encoder.from_bundle(bundle) as encoder:
        wanted = encoder.encode_document(texts, allow_empty=True)
    np.testing.assert_allclose(found.pooled, wanted.pooled, atol=1e-5)
    np.testing.assert_allclose(found.tokens.values, wanted.tokens.values, atol=1e-5)


def test_another_type_device_or_tokenizer_is_another_entry(made, tmp_path):
    checkpoint, bundle = made
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "tokenizer_config.json").write_text("{}")
    kinds = pytorch_contenders(str(checkpoint), ["fp32", "bf16", "fp32"], bundle.manifest)
    (changed,) = pytorch_contenders(str(copy), ["fp32"], bundle.manifest)
    assert [each.label for each in kinds] == ["PyTorch fp32", "PyTorch bf16"]
    keys = {json.dumps(each.decides, sort_keys=True) for each in (*kinds, changed)}
    assert len(keys) == 3


def test_the_weights_of_another_checkpoint_are_refused_before_they_are_loaded(made, tmp_path):
    another = tiny_checkpoints.build("mpnet", tmp_path / "mpnet")
    with pytest.raises(OptionError) as caught:
        pytorch_contenders(str(another), ["fp32"], made[1].manifest)
    message_of(caught.value, "does not hold the weights", "small", "--source")


@pytest.mark.parametrize(
    ("source", "kind", "kind_of_error", "mention"),
    [("/nowhere", "fp32", ExportError, "/nowhere"), ("minilm", "fp64", OptionError, "fp32, bf16")],
    ids=["no checkpoint", "no such kind"],
)
def test_what_cannot_be_loaded_is_refused(made, source, kind, kind_of_error, mention):
    with pytest.raises(kind_of_error) as caught:
        pytorch_contenders(source, [kind], made[1].manifest)
    message_of(caught.value, mention)
