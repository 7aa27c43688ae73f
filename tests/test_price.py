"""What a manifest says of its precision and its price: read strictly, key by key, and told by `inspect`."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from commandline import call
from smartrt import Bundle, strict_json
from smartrt.errors import CorruptBundleError
from smartrt.manifest import Manifest
from smartrt.price import Precision
from smartrt.strict_json import StrictJsonError
from support import message_of, set_key

PRECISION = {
    "name": "int8",
    "activations": "dynamic",
    "compute": "fp16",
    "rounding": "compensated",
    "calibration": "items.jsonl",
    "calibration_sha256": "a" * 64,
    "kept": {"encoder": ["layers.0.a", "layers.0.b", "layers.1.a", "layers.1.b", "layers.2.a", "layers.2.b"]},
    "graphs": {
        "encoder": {
            "bytes": {"int8": 30_000_000, "fp32": 1_500_000, "int64": 888},
            "weights": {"fp16": 1000, "int8": 3000},
            "computed": {"fp16": 1000, "int8": 3000},
        }
    },
}
SYSTEMS = ("pooled", "late", "hybrid")
LOSS = {"reference": 0.7, "found": 0.6875, "difference": -0.0125, "low": -0.025, "high": 0.001}
VERIFIED = {
    "against": "PyTorch float32",
    "tolerance": None,
    "items": 22,
    "max_abs": 0.015625,
    "pooled": {"mean": 0.9999, "percentile_1": 0.999, "min": 0.998},
    "token": {"mean": 0.998, "percentile_1": 0.99, "min": 0.95},
    "agreement": {"first": 0.9, "pairs": 0.985, "score_error": 0.002},
    "ranking_agreement": 0.25,
    "graphs": {"encoder": 0.03},
    "inputs_sha256": "b" * 64,
    "sets": [
        {
            "name": "cranfield",
            "sha256": "c" * 64,
            "queries": 225,
            "documents": 1400,
            "losses": {system: dict(LOSS) for system in SYSTEMS},
        }
    ],
}
TABLE = {"path": "token_table.bin", "dtype": "int8", "rows": 400, "dim": 32, "scales": "token_table.scales.bin"}
NEW = {"precision": PRECISION, "verified": VERIFIED, "token_table": TABLE}
MAPS = {"kept", "graphs", "bytes", "weights", "computed", "losses"}
"""Objects whose keys are names."""

Place = tuple[str | int, ...]


def walk(value: Any, place: Place = ()) -> list[tuple[Place, Any]]:
    """Every value inside, with where it is."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    inner = [found for key, each in pairs for found in walk(each, (*place, key))]
    return [(place, value), *inner] if place else inner


EVERYTHING = walk(NEW)
OBJECTS = [place for place, value in EVERYTHING if isinstance(value, dict) and place[-1] not in MAPS]
KEYS = [place for place, _ in EVERYTHING if len(place) > 1 and place[:-1] in OBJECTS]


def spelled(place: Place) -> str:
    """As `strict_json` names it."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")


@pytest.fixture(scope="module")
def plain(tiny_path) -> dict[str, Any]:
    """The tiny manifest with all new keys filled, as JSON."""
    data: dict[str, Any] = json.loads((tiny_path / "manifest.json").read_text(encoding="utf-8"))
    return data | NEW


def parent_of(data: dict[str, Any], place: Place) -> Any:
    found: Any = data
    for key in place[:-1]:
        found = found[key]
    return found


def refusal(data: dict[str, Any]) -> StrictJsonError:
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(Manifest, data)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_what_is_written_is_read_back_equal(plain):
    manifest = strict_json.parse(Manifest, plain)
    assert json.loads(strict_json.dumps(manifest)) == plain
    assert manifest.verified.sets[0].losses["hybrid"].low == -0.025
    assert manifest.precision.kept["encoder"][0] == "layers.0.a"


def test_the_example_has_every_key():
    assert len(OBJECTS) == 3 + 1 + 3 + 1 + 3
    assert len(KEYS) == len(set(KEYS)) == (8 + 11 + 5) + 3 + 3 * 3 + 5 + 3 * 5


@pytest.mark.parametrize("place", OBJECTS, ids=spelled)
def test_a_key_that_nobody_knows_is_from_the_future(plain, place):
    data = copy.deepcopy(plain)
    parent_of(data, (*place, "surprise"))["surprise"] = 1
    error = refusal(data)
    assert str(error) == f"{spelled(place)}.surprise: unknown key"
    assert error.from_the_future


@pytest.mark.parametrize("place", KEYS, ids=spelled)
def test_no_key_may_be_missing(plain, place):
    data = copy.deepcopy(plain)
    del parent_of(data, place)[place[-1]]
    assert str(refusal(data)) == f"{spelled(place)}: missing key"


@pytest.mark.parametrize("place", [place for place, _ in EVERYTHING], ids=spelled)
def test_a_value_of_another_type_is_named_with_its_place(plain, place):
    data = copy.deepcopy(plain)
    parent = parent_of(data, place)
    parent[place[-1]] = 5 if isinstance(parent[place[-1]], str) else "5"
    error = refusal(data)
    assert str(error).startswith(f"{spelled(place)}: expected ")
    assert not error.from_the_future


NULLABLE = {
    ("precision", "rounding"), ("precision", "calibration"), ("precision", "calibration_sha256"),
    ("verified", "tolerance"), ("token_table", "scales"), ("token_table",),
}  # fmt: skip


@pytest.mark.parametrize("place", [place for place, _ in EVERYTHING], ids=spelled)
def test_null_is_taken_where_there_may_be_nothing_and_nowhere_else(plain, place):
    data = copy.deepcopy(plain)
    parent_of(data, place)[place[-1]] = None
    if place in NULLABLE:
        strict_json.parse(Manifest, data)
    else:
        assert str(refusal(data)).startswith(f"{spelled(place)}: expected ")


@pytest.mark.parametrize(
    ("place", "value", "choices"),
    [
        (("precision", "activations"), "int8", "float, dynamic, static"),
        (("precision", "compute"), "bf16", "fp32, fp16"),
        (("precision", "compute"), "int8", "fp32, fp16"),
        (("precision", "rounding"), "up", "nearest, compensated"),
        (("token_table", "dtype"), "uint8", "float32, float16, bfloat16, int8"),
    ],
)
def test_a_choice_that_does_not_exist_is_told_those_that_do(plain, place, value, choices):
    data = copy.deepcopy(plain)
    parent_of(data, place)[place[-1]] = value
    assert str(refusal(data)) == f"{spelled(place)}: expected one of {choices}, got {value!r}"


def test_the_precision_of_format_2_is_not_read_as_one_of_format_3(plain):
    assert str(refusal(plain | {"precision": "fp32"})) == "precision: expected an object, got str"


# What the types allow and no bundle can have.


@pytest.mark.parametrize(
    "graphs",
    [[], ["decoder"], ["encoder", "decoder"], ["encoder", "Encoder"]],
    ids=lambda graphs: " and ".join(graphs) or "none",
)
def test_precision_counts_the_graphs_there_are_and_no_others(tiny_copy, graphs):
    set_key(tiny_copy / "manifest.json", "precision/graphs", dict.fromkeys(graphs, PRECISION["graphs"]["encoder"]))
    with pytest.raises(CorruptBundleError) as caught:
        Bundle.open(tiny_copy)
    message_of(caught.value, "precision.graphs", str(graphs), "graphs has ['encoder']", "export it again")


def test_integers_without_a_scale_for_activations_are_packed(plain):
    precision = strict_json.parse(Precision, plain["precision"])
    cases = {
        ("float", "nearest"): True, ("float", "compensated"): True, ("float", None): False,
        ("dynamic", "nearest"): False, ("static", "compensated"): False,
    }  # fmt: skip
    for (activations, rounding), packed in cases.items():
        found = dataclasses.replace(precision, activations=activations, rounding=rounding)
        assert found.packed is packed


# What a person reads of it.


@pytest.fixture
def priced(tiny_copy):
    """The tiny bundle, said to be int8; what is written of it is all that is looked at."""
    set_key(tiny_copy / "manifest.json", "precision", PRECISION)
    set_key(tiny_copy / "manifest.json", "verified", VERIFIED)
    return tiny_copy


def test_inspect_tells_what_is_stored_computed_and_lost(capsys, priced):
    finished = call(capsys, "inspect", priced)
    assert (finished.code, finished.err) == (0, "")
    shares = "25% fp16, 75% int8"
    lines = [" ".join(line.split()) for line in finished.out.splitlines()]
    for line in (
        "precision int8, dynamic int8 activations, products otherwise fp16, rounding compensated",
        f"encoder stores int8 30.0 MB, fp32 1.5 MB; product weights {shares}, multiplied as {shares}",
        "encoder keeps wide layers.0.a, layers.0.b, layers.1.a, layers.1.b and 2 more",
        "calibrated on items.jsonl",
        "22 items: max difference 1.6e-02",
        "pooled cosine mean 0.99990, 1st percentile 0.99900, min 0.99800",
        "token cosine mean 0.99800, 1st percentile 0.99000, min 0.95000",
        "same best document 90%, document pairs in the same order 98.5%",
        *(f"cranfield {system} nDCG@10 0.6875 against 0.7000: -0.0125 [-0.0250, +0.0010]" for system in SYSTEMS),
    ):
        assert line in lines


def test_inspect_prints_the_new_keys_as_json(capsys, priced):
    manifest = call(capsys, "inspect", priced, "--json").json["manifest"]
    assert manifest["precision"] == PRECISION
    assert manifest["verified"] == VERIFIED


def test_inspect_says_nothing_of_what_an_fp32_bundle_does_not_have(capsys, tiny_path):
    out = call(capsys, "inspect", tiny_path).out
    assert "fp32, products otherwise fp32" in out
    assert "product weights 100% fp32, multiplied as 100% fp32" in out
    assert "(limit 1e-04)" in out
    for word in ("rounding", "calibrated", "keeps wide", "token table", "nDCG"):
        assert word not in out
