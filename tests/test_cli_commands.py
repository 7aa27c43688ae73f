"""What the commands for one bundle do and print: inspect, verify, encode, explain."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

import tiny_checkpoints
from commandline import FAKE, TEXTS, call, write_corpus
from smartrt import Bundle, Encoder, TruncationWarning
from smartrt.documents import exact_terms
from smartrt.engines.fake import FakeEngine
from support import flip_bit, set_key


def test_inspect_says_what_the_bundle_is(capsys, tiny_path):
    finished = call(capsys, "inspect", tiny_path)
    bundle = Bundle.open(tiny_path)
    assert finished.code == 0
    assert f"tiny, format 4, identity {bundle.identity[:12]}" in finished.out
    assert "32 dims" in finished.out
    data = call(capsys, "inspect", tiny_path, "--json").json
    assert set(data) == {"identity", "manifest"}
    assert data["identity"] == bundle.identity
    assert data["manifest"] == json.loads((tiny_path / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_verify_agrees_with_a_sound_bundle(capsys, tiny_path, engine):
    finished = call(capsys, "verify", tiny_path, "--engine", engine)
    assert finished.code == 0
    assert finished.out.splitlines()[-1] == "ok"
    data = call(capsys, "verify", tiny_path, "--engine", engine, "--json").json
    assert set(data) == {"bundle", "files", "batch_against_single", "norm_error", "limit", "ok"}
    assert (data["bundle"], data["files"], data["ok"]) == (str(tiny_path), 3, True)


@pytest.mark.parametrize(("compute", "code"), [("fp32", 1), ("fp16", 0)])
def test_verify_allows_float16_products_what_they_round(capsys, monkeypatch, tiny_copy, compute, code):
    set_key(tiny_copy / "manifest.json", "precision/compute", compute)
    honest = FakeEngine.run

    def run(engine, feeds):
        outputs = honest(engine, feeds)
        if len(outputs["pooled"]) > 1:  # another kernel for a batch
            turn = np.float32(1e-3) * np.roll(outputs["pooled"], 1, axis=1)
            outputs["pooled"] = outputs["pooled"] + turn
            outputs["pooled"] /= np.linalg.norm(outputs["pooled"], axis=1, keepdims=True)
        return outputs

    monkeypatch.setattr(FakeEngine, "run", run)
    finished = call(capsys, "verify", tiny_copy, *FAKE, "--json")
    assert finished.code == code
    assert 1e-5 < finished.json["batch_against_single"] < 5e-3


def leak_neighbours(outputs):
    outputs["pooled"] = np.roll(outputs["pooled"], 1, axis=0)


def stretch(outputs):
    outputs["token_states"] = outputs["token_states"] * np.float32(1.001)


@pytest.mark.parametrize(("spoil", "figure"), [(leak_neighbours, "batch_against_single"), (stretch, "norm_error")])
def test_verify_returns_1_when_an_engine_is_off(capsys, monkeypatch, tiny_path, spoil, figure):
    honest = FakeEngine.run

    def run(engine, feeds):
        outputs = honest(engine, feeds)
        spoil(outputs)
        return outputs

    monkeypatch.setattr(FakeEngine, "run", run)
    finished = call(capsys, "verify", tiny_path, *FAKE, "--json")
    assert (finished.code, finished.json["ok"]) == (1, False)
    assert finished.json[figure] > 1e-5
    text = call(capsys, "verify", tiny_path, *FAKE)
    assert (text.code, text.err) == (1, "")
    assert text.out.splitlines()[-1].startswith("NOT OK")


def test_verify_against_a_checkpoint_reports_what_was_compared(capsys, monkeypatch, tmp_path, tiny_path):
    asked = []

    def compare(bundle, source, revision, adapter, data, bar):
        asked.append((bundle.path, source, revision, adapter, data))
        with bar("a set", 3) as shown:
            shown.advance(3)
        return bundle.manifest.verified

    monkeypatch.setattr("smartrt.export.command.load_pipeline", lambda: SimpleNamespace(compare=compare))
    arguments = ("verify", tiny_path, *FAKE, "--against", "some/checkpoint", "--revision", "v2")
    items = Bundle.open(tiny_path).manifest.verified.items
    assert call(capsys, *arguments, "--json").json["verified"]["items"] == items
    found = call(capsys, *arguments, "--data", tmp_path / "a", tmp_path / "b").out
    assert "against PyTorch: max difference " in found
    assert "(limit 1e-04)" in found
    assert "same best document 100%, document pairs in the same order 100.0%" in found
    expected = (tiny_path, "some/checkpoint", "v2", None)
    assert asked == [(*expected, ()), (*expected, [tmp_path / "a", tmp_path / "b"])]


@pytest.mark.parametrize("engine", ["ort", "fake"])
@pytest.mark.parametrize("side", ["query", "document"])
def test_encode_writes_what_the_encoder_returns(capsys, tmp_path, tiny_path, engine, side):
    output = tmp_path / "vectors.npz"
    arguments = ("encode", tiny_path, *TEXTS, "-o", output, "--engine", engine, "--side", side)
    with Encoder.open(tiny_path, engine=engine) as encoder:
        wanted = getattr(encoder, f"encode_{side}")(TEXTS)
    data = call(capsys, *arguments, "--json").json
    assert data == {"output": str(output), "items": 3, "tokens": len(wanted.tokens.values), "truncated": 0}
    with np.load(output, allow_pickle=False) as archive:
        assert set(archive) == {"ids", "pooled", "tokens", "offsets", "truncated"}
        assert archive["ids"].tolist() == ["0", "1", "2"]
        np.testing.assert_array_equal(archive["pooled"], wanted.pooled)
        np.testing.assert_array_equal(archive["tokens"], wanted.tokens.values)
        np.testing.assert_array_equal(archive["offsets"], wanted.tokens.offsets)
    assert call(capsys, *arguments).out.startswith(f"{output}: 3 items, ")


def test_encode_reads_a_file_and_keeps_its_ids(capsys, tmp_path, tiny_path):
    corpus, output = write_corpus(tmp_path / "corpus.jsonl", [*TEXTS, ""]), tmp_path / "vectors.npz"
    arguments = ("encode", tiny_path, "--input", corpus, "-o", output, *FAKE)
    assert call(capsys, *arguments).code == 2
    assert call(capsys, *arguments, "--allow-empty").code == 0
    with np.load(output) as archive:
        assert archive["ids"].tolist() == ["d0", "d1", "d2", "d3"]
        assert np.diff(archive["offsets"])[-1] == 1


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_a_text_of_a_megabyte_is_encoded_and_its_truncation_is_one_line_of_warning(capsys, tmp_path, tiny_path, engine):
    corpus = write_corpus(tmp_path / "long.jsonl", ["word " * 200_000])
    arguments = ("encode", tiny_path, "--input", corpus, "-o", tmp_path / "v.npz", "--engine", engine, "--json")
    finished = call(capsys, *arguments)
    assert (finished.code, finished.json["truncated"]) == (0, 1)
    assert finished.err.startswith("smartrt: warning: 1 of 1 texts were cut to 48 tokens")
    assert len(finished.err.splitlines()) == 1
    with np.load(tmp_path / "v.npz") as archive:
        assert archive["truncated"][0] > 100_000


def test_a_long_query_warns_in_one_line(capsys, tiny_path):
    finished = call(capsys, "explain", tiny_path, "word " * 100, "a word", *FAKE)
    assert finished.code == 0
    assert finished.err.startswith("smartrt: warning: ")
    assert len(finished.err.splitlines()) == 1


def test_a_warning_after_the_command_line_is_an_ordinary_one_again(capsys, tiny_path):
    call(capsys, "explain", tiny_path, "word " * 100, "a word", *FAKE)
    with Encoder.open(tiny_path, engine="fake") as encoder, pytest.raises(TruncationWarning):
        encoder.encode_query("word " * 100)


@pytest.mark.parametrize("engine", ["ort", "fake"])
def test_explain_adds_up_to_the_score(capsys, tiny_path, engine):
    query, document = "sort a list", "a list of keys"
    arguments = ("explain", tiny_path, query, document, "--engine", engine)
    data = call(capsys, *arguments, "--json").json
    with Encoder.open(tiny_path, engine=engine) as encoder:
        pooled, late = exact_terms(encoder.encode_query(query), 0, encoder.encode_document(document), 0)
    assert set(data) == {"pooled", "late", "matches"}
    assert [set(match) for match in data["matches"]] == [{"query_token", "document_token", "position", "cosine"}] * 3
    assert [match["query_token"] for match in data["matches"]] == ["sort", "a", "list"]
    assert (data["pooled"], data["late"]) == (pooled, late)
    assert np.mean([match["cosine"] for match in data["matches"]]) == pytest.approx(late, abs=1e-6)
    text = call(capsys, *arguments).out.splitlines()
    assert len(text) == 1 + 3 + 1
    assert text[-1].endswith(f"= {pooled + late:.4f}")


def test_verify_against_another_checkpoint_is_not_ok_and_exits_with_1(capsys, tiny_path, tmp_path):
    other = tiny_checkpoints.build("distilbert", tmp_path / "other")
    finished = call(capsys, "verify", tiny_path, "--against", other)
    assert finished.code == 1
    assert "does not hold the weights" in finished.err
    assert finished.out.splitlines()[-1].startswith("NOT OK")


def test_hashes_are_compared_unless_asked_not_to_and_always_by_verify(capsys, tiny_copy):
    flip_bit(tiny_copy / "encoder.onnx.data")
    asked = ("explain", tiny_copy, "a list", "a list", *FAKE)
    assert call(capsys, *asked).code == 2
    assert call(capsys, *asked, "--no-check-hashes").code == 0
    assert call(capsys, "verify", tiny_copy, *FAKE, "--no-check-hashes").code == 2
