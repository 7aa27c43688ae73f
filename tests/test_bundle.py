"""Opening bundles: good ones, damaged ones, hostile ones, and what their identity covers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from smartrt import Bundle, Encoder, TruncationWarning, strict_json
from smartrt.errors import BundleError, CorruptBundleError, EngineError, UnsupportedFormatError
from support import edit_json, flip_bit, message_of, rehash, set_key

FILES = ("encoder.onnx", "encoder.onnx.data", "tokenizer.json")
ENTRY = {"bytes": 1, "sha256": "0" * 64}


def test_a_bundle_opens_and_says_what_it_is(tiny_path):
    bundle = Bundle.open(str(tiny_path))
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.dims.pooled == 32
    assert set(bundle.manifest.files) == set(FILES)
    assert bundle.file("tokenizer.json") == tiny_path / "tokenizer.json"


def test_the_committed_bundle_returns_the_golden_vectors(tiny_path):
    golden = np.load(tiny_path.parent / "tiny_golden.npz")  # made by tests/data/make_tiny_golden.py
    with Encoder.open(tiny_path) as encoder, pytest.warns(TruncationWarning):
        got = encoder.encode_document(golden["texts"].tolist())
    np.testing.assert_allclose(got.pooled, golden["pooled"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(got.tokens.values, golden["values"], rtol=0, atol=1e-5)
    assert got.tokens.offsets.tolist() == golden["offsets"].tolist()
    assert got.truncated.tolist() == golden["truncated"].tolist()


def test_the_identity_is_the_golden_one(tiny_path):
    """Every index remembers this hash: computing it differently would orphan them all."""
    golden = np.load(tiny_path.parent / "tiny_golden.npz")
    assert Bundle.open(tiny_path).identity == str(golden["identity"])


def remove(name):
    return lambda bundle: (bundle / name).unlink()


def write(name, content):
    return lambda bundle: (bundle / name).write_bytes(content)


def manifest(keys, value):
    return lambda bundle: set_key(bundle / "manifest.json", keys, value)


def without(key):
    return lambda bundle: edit_json(bundle / "manifest.json", lambda data: data.pop(key))


def cut(bundle):
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


CORRUPT, UNSUPPORTED = CorruptBundleError, UnsupportedFormatError
VARIATIONS = {
    "no directory": (shutil.rmtree, BundleError, "no such directory"),
    "empty directory": (lambda b: [path.unlink() for path in b.iterdir()], BundleError, "has no manifest.json"),
    "no manifest": (remove("manifest.json"), BundleError, "has no manifest.json"),
    "newer version": (manifest("format_version", 5), UNSUPPORTED, "bundle format 5"),
    "older version": (manifest("format_version", 3), CORRUPT, "format_version: expected 4, got 3; export it again"),
    "much newer version with other keys": (
        write("manifest.json", b'{"format_version": 7, "x": 1}'),
        UNSUPPORTED,
        "bundle format 7",
    ),
    "version as a string": (manifest("format_version", "1"), CORRUPT, "format_version: expected 4, got '1'"),
    "version as a float": (manifest("format_version", 1.0), CORRUPT, "format_version"),
    "version as a bool": (manifest("format_version", True), CORRUPT, "format_version"),
    "version 0": (manifest("format_version", 0), CORRUPT, "format_version"),
    "version missing": (without("format_version"), CORRUPT, "format_version"),
    "unknown key": (manifest("surprise", 1), UNSUPPORTED, "surprise: unknown key"),
    "unknown nested key": (manifest("tokenizer/lower", True), UNSUPPORTED, "tokenizer.lower: unknown key"),
    "unknown key of a file": (manifest("files/tokenizer.json/url", ""), UNSUPPORTED, "files.tokenizer.json.url"),
    "unknown key with a newline": (manifest("a\nb", 1), UNSUPPORTED, "unknown key"),
    "missing key": (without("late_mask"), CORRUPT, "late_mask: missing key"),
    "wrong type": (manifest("opset", "18"), CORRUPT, "opset: expected int"),
    "unknown family": (manifest("family", "vision"), CORRUPT, "family: expected one of text-encoder"),
    "manifest is a list": (write("manifest.json", b"[]"), CORRUPT, "manifest.json"),
    "manifest is not JSON": (write("manifest.json", b"\x80\x04}q\x00."), CORRUPT, "not JSON"),
    "manifest is empty": (write("manifest.json", b""), CORRUPT, "not JSON"),
    "manifest is cut off": (cut, CORRUPT, "not JSON"),
    "a number of 5000 digits": (write("manifest.json", b'{"opset": ' + b"9" * 5000 + b"}"), CORRUPT, "manifest.json"),
    "graph that is not listed": (manifest("graphs/encoder/path", "other.onnx"), CORRUPT, "other.onnx"),
    "tokenizer that is not listed": (manifest("tokenizer/path", "other.json"), CORRUPT, "other.json"),
    "half a surrogate pair in a prompt": (manifest("prompts/query", "\ud800"), CORRUPT, "manifest.json"),
    **{f"{name} missing": (remove(name), CORRUPT, f"misses {name}") for name in FILES},
    **{f"{name} of another size": (write(name, b"short"), CORRUPT, f"{name} has 5 bytes") for name in FILES},
    **{
        f"{name} with a flipped bit": (lambda b, n=name: flip_bit(b / n, 4000), CORRUPT, f"{name} has SHA-256")
        for name in FILES
    },
    **{
        f"file name {name!r}": (manifest("files", {name: ENTRY}), CORRUPT, repr(name)[1:-1])
        for name in ("../x", "/etc/passwd", "a/../b", "", ".", "./a", "a//b", "a\\b", "..", "x\ny")
    },
}


@pytest.mark.parametrize(("damage", "kind", "mentions"), VARIATIONS.values(), ids=VARIATIONS)
def test_a_damaged_bundle_is_refused_with_one_line_that_says_what(tiny_copy, damage, kind, mentions):
    damage(tiny_copy)
    with pytest.raises(BundleError) as caught:
        Bundle.open(tiny_copy).identity  # noqa: B018  (the identity reads every key)
    assert type(caught.value) is kind
    message_of(caught.value, mentions, str(tiny_copy))


def test_a_file_is_no_bundle(tiny_path):
    with pytest.raises(BundleError) as caught:
        Bundle.open(tiny_path / "tokenizer.json")
    message_of(caught.value, "tokenizer.json is not a bundle")


def test_a_huge_manifest_is_refused_before_it_is_parsed(tiny_path, monkeypatch):
    monkeypatch.setattr(strict_json, "MAX_BYTES", 100)
    with pytest.raises(CorruptBundleError) as caught:
        Bundle.open(tiny_path)
    message_of(caught.value, "manifest.json", "over the limit of 100")


def test_a_hostile_file_name_is_refused_even_when_the_file_is_there_and_fits(tiny_copy):
    shutil.copy(tiny_copy / "tokenizer.json", tiny_copy.parent / "outside.json")

    def change(data):
        data["files"]["../outside.json"] = data["files"]["tokenizer.json"]

    edit_json(tiny_copy / "manifest.json", change)
    with pytest.raises(CorruptBundleError, match="not a file name inside a bundle"):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx.data"])
def test_a_file_that_may_not_be_read_is_an_error_in_words(tiny_path, monkeypatch, name):
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BundleError) as caught:
        Bundle.open(tiny_path)
    message_of(caught.value, name)


def test_a_file_that_the_manifest_does_not_name_is_left_alone(tiny_copy):
    (tiny_copy / "README.md").write_text("made by hand")
    assert Bundle.open(tiny_copy).manifest.name == "tiny"


def test_without_verify_sizes_are_compared_and_hashes_are_not(tiny_copy):
    flip_bit(tiny_copy / "encoder.onnx.data")
    assert Bundle.open(tiny_copy, verify=False).manifest.name == "tiny"
    with pytest.raises(CorruptBundleError, match="SHA-256"):
        Bundle.open(tiny_copy)
    (tiny_copy / "encoder.onnx.data").write_bytes(b"")
    with pytest.raises(CorruptBundleError, match="has 0 bytes"):
        Bundle.open(tiny_copy, verify=False)


# What only shows when the parts are put to work: hashes fit, the content does not.


def swap_ids(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]


def add_words(tokenizer):
    tokenizer["model"]["vocab"] |= {f"new{i}": 400 + i for i in range(400)}


@pytest.mark.parametrize(
    ("change", "mentions"),
    [(swap_ids, "another tokenizer"), (add_words, "entries"), (dict.clear, "is not a tokenizer")],
    ids=["other ids", "more words than the graph's table", "no tokenizer"],
)
def test_a_tokenizer_of_another_model_is_refused_though_its_hash_fits(tiny_copy, change, mentions):
    edit_json(tiny_copy / "tokenizer.json", change)
    rehash(tiny_copy)
    Bundle.open(tiny_copy)
    with pytest.raises(CorruptBundleError) as caught:
        Encoder.open(tiny_copy, engine="fake")
    message_of(caught.value, "tokenizer.json", mentions)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        pytest.param("graphs", {}, id="no encoder graph"),
        pytest.param("tokenizer/max_length", -1, id="negative max_length"),
        pytest.param("tokenizer/max_length", 0, id="max_length 0"),
        pytest.param("tokenizer/max_length", 1, id="max_length below the template"),
        pytest.param("late_mask/query", [2**70], id="id beyond int64"),
        pytest.param("scoring/pooled_weight", 10**400, id="weight beyond float64"),
    ],
)
def test_a_value_that_cannot_be_is_a_corrupt_bundle(tiny_copy, keys, value):
    set_key(tiny_copy / "manifest.json", keys, value)
    with pytest.raises(CorruptBundleError) as caught:
        Encoder.open(tiny_copy, engine="fake")
    message_of(caught.value, keys.split("/")[-1])


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        pytest.param("dims/pooled", 16, id="pooled dim"),
        pytest.param("dims/token", 16, id="token dim"),
        pytest.param("graphs/encoder/inputs", ["input_ids", "pixel_values"], id="inputs"),
        pytest.param("graphs/encoder/outputs", ["pooled"], id="outputs"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(tiny_copy, keys, value):
    set_key(tiny_copy / "manifest.json", keys, value)
    with pytest.raises((CorruptBundleError, EngineError)), Encoder.open(tiny_copy) as encoder:
        encoder.encode_query("a list")


IDENTITY = {
    "name": ("name", "renamed", False),
    "verified": ("verified/max_abs", 0.5, False),
    "exporter": ("exporter/torch", "9.9", False),
    "scoring": ("scoring/late_weight", 0.5, False),
    "source": ("source/checkpoint", "elsewhere", False),
    "precision": ("precision/activations", "dynamic", True),
    "what stays wide": ("precision/kept", {"encoder": ["layers.0"]}, True),
    "query prompt": ("prompts/query", "query: ", True),
    "document prompt": ("prompts/document", "passage: ", True),
    "query mask": ("late_mask/query", [0, 2, 3], True),
    "document mask": ("late_mask/document", [0, 2, 3], True),
    "max length": ("tokenizer/max_length", 40, True),
    "padding side": ("tokenizer/padding_side", "left", True),
    "a file's hash": ("files/encoder.onnx.data/sha256", "0" * 64, True),
}


@pytest.mark.parametrize(("keys", "value", "changes"), IDENTITY.values(), ids=IDENTITY)
def test_the_identity_covers_what_decides_the_vectors_and_nothing_else(tiny_copy, keys, value, changes):
    before = Bundle.open(tiny_copy).identity
    set_key(tiny_copy / "manifest.json", keys, value)
    assert (Bundle.open(tiny_copy, verify=False).identity != before) is changes


def test_the_identity_does_not_depend_on_the_spelling_of_the_manifest(tiny_copy, tiny_path):
    path = tiny_copy / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(data.items())), indent=7), encoding="utf-8")
    assert Bundle.open(tiny_copy).identity == Bundle.open(tiny_path).identity


def test_opening_writes_nothing_into_the_bundle(tiny_copy):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tiny_copy.rglob("*"))
    with Encoder.open(tiny_copy) as encoder:
        encoder.encode_query("a list")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tiny_copy.rglob("*")) == before
