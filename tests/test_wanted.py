"""Which precisions may be asked for, and what is said of those that may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartrt.errors import InputError, OptionError
from smartrt.export.precision.scheme import PRECISIONS
from smartrt.export.wanted import Wanted
from support import message_of

pytestmark = pytest.mark.usefixtures("library_read_once")

FILE = Path("items.jsonl")
KEPT = ("layers.0.mlp.down_proj",)
INTEGERS = ("int8", "int8-static", "w8", "int4")


@pytest.mark.parametrize(("given", "says"), [
    ({"precision": "int3"}, ("unknown precision 'int3'", ", ".join(PRECISIONS), "auto")),
    ({"precision": ""}, ("unknown precision ''",)),
    ({"precision": "INT8"}, ("unknown precision 'INT8'",)),
    ({"precision": "auto"}, ("--precision auto needs --max-loss",)),
    ({"precision": "auto", "max_loss": 0.01, "keep": KEPT}, ("--precision auto chooses",)),
    ({"precision": "auto", "max_loss": 0.01, "rounding": "nearest"}, ("--precision auto chooses",)),
    ({"precision": "auto", "max_loss": 0.01, "compute": "fp16"}, ("--precision auto chooses",)),
    *[({"precision": name, "goal": goal}, (f"--goal {goal} is for --precision auto, not {name}",))
      for name in PRECISIONS for goal in ("size", "time")],
    ({"max_loss": -0.01}, ("--max-loss -0.01 must be between 0 and 1",)),
    ({"max_loss": 1.5}, ("--max-loss 1.5 must be between 0 and 1",)),
    ({"max_loss": float("nan")}, ("--max-loss nan must be between 0 and 1",)),
])  # fmt: skip
def test_a_wish_that_contradicts_itself_is_refused(given, says):
    with pytest.raises(OptionError) as caught:
        Wanted(**given)
    message_of(caught.value, *says)


@pytest.mark.parametrize(("given", "says"), [
    *[({"precision": name, "rounding": kind}, (f"{name} rounds nothing to integers", "--rounding"))
      for name in ("fp32", "fp16") for kind in ("nearest", "compensated")],
    *[({"precision": name, "keep": KEPT}, (f"{name} rounds nothing to integers", "--keep"))
      for name in ("fp32", "fp16")],
    ({"precision": "fp32", "compute": "fp16"}, ("fp32 computes in one way", "--compute")),
    ({"precision": "fp16", "compute": "fp32"}, ("fp16 computes in one way", "--compute")),
    ({"precision": "int8", "compute": "fp16"}, ("int8 computes in one way", "--compute")),
    ({"precision": "fp32", "calibrate": FILE}, ("fp32 measures no activations", "--calibrate")),
    ({"precision": "fp16", "calibrate": FILE}, ("fp16 measures no activations", "--calibrate")),
    ({"precision": "w8", "rounding": "nearest", "calibrate": FILE}, ("w8 measures no activations",)),
    ({"precision": "int4", "rounding": "nearest", "calibrate": FILE}, ("int4 measures no activations",)),
])  # fmt: skip
def test_a_choice_that_the_precision_does_not_have_is_refused(given, says):
    wanted = Wanted(**given)
    with pytest.raises(OptionError) as caught:
        wanted.scheme()
    message_of(caught.value, *says)


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_precision_alone_is_its_scheme(name):
    assert Wanted(name).scheme() == PRECISIONS[name]
    assert Wanted(name, compute=PRECISIONS[name].compute).scheme() == PRECISIONS[name]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_integers_are_rounded_as_asked_for(name, rounding):
    scheme = Wanted(name, rounding=rounding, keep=KEPT).scheme()
    assert (scheme.name, scheme.rounding) == (name, rounding)
    assert scheme.calibrated == (rounding == "compensated" or name.startswith("int8"))


@pytest.mark.parametrize("name", ["int8-static", "w8", "int4"])
def test_products_that_are_not_dynamic_are_computed_as_asked_for(name):
    assert Wanted(name, compute="fp16").scheme().compute == "fp16"
    assert Wanted(name).scheme().compute == "fp32"
    assert Wanted(name, compute="fp16").scheme().table == "fp16"  # TensorRT widens no int8 rows


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_calibrated_on_what_was_given(name):
    assert Wanted(name, calibrate=FILE).scheme().calibrated
    assert Wanted("int8", rounding="nearest", calibrate=FILE).scheme().smoothed


@pytest.mark.parametrize("limit", [0, 0.0, 1, 0.005])
def test_any_loss_of_ndcg_may_be_allowed(limit):
    assert Wanted("auto", max_loss=limit).max_loss == limit
    assert Wanted("auto", max_loss=limit).goal is None
    assert Wanted("auto", max_loss=limit, calibrate=FILE, goal="time").goal == "time"


def test_known_items_are_measured_where_a_loss_is_limited_and_no_set_given():
    assert Wanted().sets() == []
    (known,) = Wanted(max_loss=0.01).sets()
    assert known.name == "python-stdlib"
    assert len(known.queries) >= 100


def test_sets_that_are_given_are_read(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"id": "d", "text": "a text"}\n')
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "text": "which text"}\n')
    (tmp_path / "qrels.tsv").write_text("query_id\tdoc_id\trelevance\nq\td\t1\n")
    for limit in (None, 0.01):
        (data,) = Wanted(data=(tmp_path,), max_loss=limit).sets()
        assert (data.name, len(data.queries)) == (tmp_path.name, 1)
    with pytest.raises(InputError, match="cannot read"):
        Wanted(data=(tmp_path, tmp_path / "nowhere")).sets()


def test_bits_are_those_of_a_weight():
    assert {name: scheme.bits for name, scheme in PRECISIONS.items()} == {
        "fp32": 32, "fp16": 16, "int8": 8, "int8-static": 8, "w8": 8, "int4": 4,
    }  # fmt: skip
    assert [name for name, scheme in PRECISIONS.items() if scheme.quantized] == list(INTEGERS)
