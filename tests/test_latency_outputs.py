"""Whether contenders computed the same: what counts as right, and that whatever is not shows."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_runs import TINY, fake
from smartrt.benchmarks.latency.grid import Contender
from smartrt.benchmarks.latency.outputs import Outputs, compare, disagreement, read_outputs
from smartrt.index import IndexOptions
from smartrt.search import SearchOptions
from support import set_key, unit_rows

LENGTHS = (3, 5, 2)
BUNDLE = fake("bundle")


def outputs(seed: int = 0, *, lengths: tuple[int, ...] = LENGTHS, ranked: bool = True) -> Outputs:
    rng = np.random.default_rng(seed)
    place = np.array([[0, 1, 2]] * len(lengths) if ranked else [], np.int64)
    return Outputs(
        unit_rows(rng, len(lengths), 16), unit_rows(rng, sum(lengths), 16), np.cumsum([0, *lengths]), place,
        1.5 - 0.1 * place,
    )  # fmt: skip


def pytorch(kind: str) -> Contender:
    return Contender(f"PyTorch {kind}", TINY, kind=kind)


def of_cosine(cosine: float) -> dict[str, Any]:
    """A comparison all of whose cosines are this one."""
    names = ("pooled_cosine", "pooled_cosine_min", "token_cosine", "token_cosine_min")
    return {"problem": None} | dict.fromkeys(names, cosine)


def quantised(directory: Path, percentile: float) -> Contender:
    """A bundle that recorded this 1st percentile when it was exported."""
    bundle = Path(shutil.copytree(TINY, directory / "quantised.smartrt"))
    for part in ("pooled", "token"):
        figures = {"mean": (1 + percentile) / 2, "percentile_1": percentile, "min": percentile - 0.01}
        set_key(bundle / "manifest.json", f"verified/{part}", figures)
    return Contender("quantised", bundle)


def test_the_same_outputs_are_the_same() -> None:
    found = compare(outputs(), outputs())
    assert found == of_cosine(1.0) | {"same_best": 1.0, "score_error": 0.0}
    assert disagreement(found, BUNDLE, BUNDLE) is None


def test_documents_have_no_ranking() -> None:
    found = compare(outputs(ranked=False), outputs(ranked=False))
    assert found == of_cosine(1.0)
    assert disagreement(found, BUNDLE, BUNDLE) is None


@pytest.mark.parametrize("part", ["pooled", "values"])
def test_other_vectors_are_wrong_and_which_is_said(part: str) -> None:
    truth = outputs()
    found = compare(truth, dataclasses.replace(truth, **{part: getattr(outputs(1), part)}))
    name = "pooled" if part == "pooled" else "token"
    assert found[f"{name}_cosine"] < 0.5
    assert found[f"{name}_cosine_min"] < found[f"{name}_cosine"]
    message = disagreement(found, BUNDLE, BUNDLE)
    assert message is not None
    assert message.startswith("wrong outputs: ")
    assert f"{name} cosine" in message
    assert "0.9996 is right" in message


def test_turned_vectors_are_as_wrong_as_can_be() -> None:
    truth = outputs()
    found = compare(truth, dataclasses.replace(truth, pooled=-truth.pooled))
    assert found["pooled_cosine"] == -1


@pytest.mark.parametrize(
    ("lengths", "said"),
    [((3, 5), "2 items of 8 tokens"), ((3, 5, 3), "3 items of 11 tokens"), ((5, 3, 2), "3 items of 10 tokens")],
    ids=["an item less", "a token more", "tokens of other items"],
)
def test_other_shapes_are_wrong_before_any_cosine(lengths: tuple[int, ...], said: str) -> None:
    found = compare(outputs(), outputs(lengths=lengths))
    assert found == {"problem": f"{said}, the reference has 3 items of 10 tokens"}
    assert disagreement(found, BUNDLE, BUNDLE) == f"wrong outputs: {found['problem']}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["pooled", "values"])
def test_nan_and_infinity_are_wrong(part: str, value: float) -> None:
    truth, other = outputs(), outputs()
    getattr(other, part)[1, 1] = value
    assert compare(truth, other) == {"problem": "NaN or infinity"}


def test_nan_of_the_reference_is_said_to_be_its_own() -> None:
    truth = outputs()
    truth.values[0, 0] = np.nan
    found = compare(truth, outputs())
    json.dumps(found, allow_nan=False)
    assert "reference" in found["problem"]


def test_rows_of_zeros_are_like_rows_of_zeros_and_like_nothing_else() -> None:
    truth, other = outputs(), outputs()
    truth.values[2] = other.values[2] = 0
    assert compare(truth, other)["token_cosine_min"] == 1
    other.values[3] = 0
    assert compare(truth, other)["token_cosine_min"] == 0


def test_only_the_direction_of_vectors_counts() -> None:
    truth = outputs()
    assert compare(truth, dataclasses.replace(truth, pooled=3 * truth.pooled))["pooled_cosine"] == 1


def test_scores_are_compared_by_document_and_not_by_place() -> None:
    truth = outputs()
    order = [2, 0, 1]
    turned = dataclasses.replace(truth, place=truth.place[:, order], score=truth.score[:, order])
    assert compare(truth, turned)["score_error"] == 0
    swapped = dataclasses.replace(truth, place=truth.place[:, order])
    assert compare(truth, swapped)["score_error"] == pytest.approx(0.2)


def test_how_many_of_the_best_are_the_same_is_a_mean_over_queries() -> None:
    truth = outputs()
    place = truth.place.copy()
    place[0, :2] = 7, 8
    found = compare(truth, dataclasses.replace(truth, place=place))
    assert found["same_best"] == pytest.approx((1 / 3 + 1 + 1) / 3)


def test_a_ranking_of_other_documents_altogether_is_wrong() -> None:
    truth = outputs()
    found = compare(truth, dataclasses.replace(truth, place=truth.place + 100))
    assert (found["same_best"], found["score_error"]) == (0, None)
    assert disagreement(found, BUNDLE, BUNDLE) == "wrong scores: off by every one, at most 0.077 is right"


@pytest.mark.parametrize(
    "change",
    [{"late": 0.0}, {"search": SearchOptions("all", "rrf")}, {"stored": IndexOptions(pooling=2)},
     {"stored": IndexOptions(projection="pca", dim=16)}],
    ids=["late", "fusion", "pooling", "projection"],
)  # fmt: skip
def test_scores_of_who_scores_otherwise_by_design_are_not_compared(change: dict[str, Any]) -> None:
    far = of_cosine(1.0) | {"score_error": 1.0}
    assert disagreement(far, BUNDLE, BUNDLE) is not None
    assert disagreement(far, dataclasses.replace(BUNDLE, **change), BUNDLE) is None


@pytest.mark.parametrize(
    ("kind", "right", "wrong"), [("fp32", 0.9997, 0.9995), ("bf16", 0.989, 0.987), ("fp16", 0.9945, 0.9925)]
)
def test_pytorch_may_differ_by_the_rounding_of_its_type(kind: str, right: float, wrong: float) -> None:
    reference = pytorch("fp32")
    assert disagreement(of_cosine(right), pytorch(kind), reference) is None
    assert disagreement(of_cosine(wrong), pytorch(kind), reference) is not None


@pytest.mark.parametrize(("cosine", "right"), [(0.95, True), (0.9, True), (0.88, False)])
def test_a_quantised_bundle_may_differ_by_what_it_recorded(tmp_path: Path, cosine: float, right: bool) -> None:
    found = disagreement(of_cosine(cosine), quantised(tmp_path, 0.95), pytorch("fp32"))
    assert (found is None) is right


@given(st.floats(allow_nan=True), st.sampled_from(["pooled_cosine", "token_cosine"]))
def test_a_cosine_below_the_least_never_passes(cosine: float, part: str) -> None:
    found = disagreement(of_cosine(1.0) | {part: cosine}, pytorch("fp32"), pytorch("fp32"))
    assert (found is None) is (cosine >= 1 - 4e-4)


def test_one_wrong_item_of_a_large_batch_is_wrong() -> None:
    truth = outputs(lengths=(2,) * 128)
    pooled = truth.pooled.copy()
    pooled[5] = pooled[6]
    found = compare(truth, dataclasses.replace(truth, pooled=pooled))
    assert found["pooled_cosine_min"] < 0.9
    assert disagreement(found, BUNDLE, BUNDLE) is not None


def test_an_exact_bundle_is_not_wrong_because_the_reference_is_quantised(tmp_path: Path) -> None:
    coarse = quantised(tmp_path, 0.95)
    assert disagreement(of_cosine(0.96), coarse, BUNDLE) is None
    assert disagreement(of_cosine(0.96), BUNDLE, coarse) is None


def test_a_float32_bundle_has_the_limit_of_float32() -> None:
    assert disagreement(of_cosine(0.995), BUNDLE, pytorch("fp32")) is not None


def test_outputs_are_read_as_they_were_written_and_pickles_are_refused(tmp_path: Path) -> None:
    written, path = outputs(), tmp_path / "outputs.npz"
    np.savez(path, **{name: getattr(written, name) for name in Outputs.__dataclass_fields__})
    found = read_outputs(path)
    for name in Outputs.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    hostile = {name: np.array([object()], object) for name in Outputs.__dataclass_fields__}
    np.savez(path, allow_pickle=True, **hostile)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_outputs(path)
