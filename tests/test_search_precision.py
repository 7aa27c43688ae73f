"""`--precision auto`: the fewest products left wide, found with builds and losses that are made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from smartrt.errors import ExportError
from smartrt.export.search import GOALS, find

LIMIT = 0.01
PRODUCTS = 16


@dataclass
class Bench:
    """Builds nothing and loses what it is told to."""

    scratch: object
    loss: object
    products: int = PRODUCTS
    kept: dict = field(default_factory=dict)  # what a precision leaves wide of itself
    built: list = field(default_factory=list)
    said: list = field(default_factory=list)

    def errors(self):
        """The worst product is the last one; two have the same error."""
        numbers = {f"encoder.layers.{i:02d}": i / 100 for i in range(self.products)}
        if self.products > 1:
            numbers["encoder.layers.00"] = numbers["encoder.layers.01"]
        return numbers

    def build(self, directory, scheme, keep):
        assert directory.is_dir()
        assert [path.name for path in directory.parent.iterdir()] == [directory.name]  # one trial at a time
        (directory / "file").write_bytes(b"12345")
        self.built.append((scheme.name, tuple(keep)))
        files = {"a": SimpleNamespace(bytes=1000 * scheme.bits), "b": SimpleNamespace(bytes=len(keep))}
        precision = SimpleNamespace(kept=self.kept)
        return SimpleNamespace(manifest=SimpleNamespace(files=files, precision=precision), errors=self.errors())

    def loss_of(self, directory, _):
        assert (directory / "file").read_bytes() == b"12345"
        name, keep = self.built[-1]
        return self.loss(name, len(keep))

    def find(self, goal="size", limit=LIMIT):
        try:
            return find(goal, limit, self.build, self.loss_of, self.scratch, self.said.append)
        finally:
            assert list(self.scratch.iterdir()) == []
            assert len(self.said) == len(self.built) or self.loss is broken


def broken(*_):
    raise ZeroDivisionError


def needing(count, of="int4"):
    """What loses too much until `count` products are wide."""
    return lambda name, kept: 0.0 if name != of or kept >= count else 0.5 / (kept + 1)


@pytest.mark.parametrize(("goal", "first"), [(goal, names[0]) for goal, names in GOALS.items()])
def test_the_first_precision_is_taken_if_it_loses_little(goal, first, tmp_path):
    bench = Bench(tmp_path, lambda *_: LIMIT)
    trial = bench.find(goal)
    assert (trial.scheme.name, trial.keep, trial.loss) == (first, (), LIMIT)
    assert bench.built == [(first, ())]
    assert trial.bytes == 1000 * trial.scheme.bits


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_fewest_products_are_left_wide_the_worst_first(count, tmp_path):
    bench = Bench(tmp_path, needing(count))
    trial = bench.find()
    assert trial.scheme.name == "int4"
    assert trial.keep == tuple(f"encoder.layers.{i:02d}" for i in reversed(range(PRODUCTS - count, PRODUCTS)))
    assert len(bench.built) <= 8
    assert len(set(bench.built)) == len(bench.built)  # nothing is measured twice
    assert bench.said[-1].startswith("int4, ")


@pytest.mark.parametrize("count", [5, 6, pytest.param(12, id="all twelve are too many")])
@pytest.mark.parametrize("products", [12])
def test_every_number_up_to_half_of_the_products_is_tried(count, products, tmp_path):
    trial = Bench(tmp_path, needing(count), products).find()
    assert (trial.scheme.name, len(trial.keep)) == (("int4", count) if count < 12 else ("w8", 0))


def test_equal_errors_are_ordered_by_name(tmp_path):
    bench = Bench(tmp_path, needing(2), products=4)
    bench.errors = lambda: {f"encoder.{name}": 0.5 for name in "dbca"}
    assert bench.find().keep == ("encoder.a", "encoder.b")


def test_what_the_precision_left_wide_of_itself_is_not_asked_for(tmp_path):
    bench = Bench(tmp_path, needing(2), 8, {"encoder": ("layers.07", "layers.05"), "vision": ("layers.06",)})
    assert bench.find().keep == ("encoder.layers.06", "encoder.layers.04")
    bench = Bench(tmp_path, needing(4), 8, bench.kept)
    assert bench.find().scheme.name == "w8"  # six are left, of which three are half
    assert [len(keep) for name, keep in bench.built if name == "int4"] == [0, 1, 2, 3]


def test_a_precision_that_half_of_the_products_do_not_save_is_followed_by_the_next(tmp_path):
    bench = Bench(tmp_path, needing(PRODUCTS))
    trial = bench.find()
    assert (trial.scheme.name, trial.keep) == ("w8", ())
    assert [len(keep) for name, keep in bench.built if name == "int4"] == [0, 1, 2, 4, 8]


def test_the_widest_precision_is_taken_if_nothing_else_will_do(tmp_path):
    for goal in GOALS:
        trial = Bench(tmp_path, lambda name, _: 0.0 if name == "fp16" else 1.0).find(goal)
        assert (trial.scheme.name, trial.keep) == ("fp16", ())


def test_a_loss_that_does_not_fall_evenly_still_ends_in_a_trial_that_was_measured(tmp_path):
    """Keeping more may lose more: what is returned was measured, and is within the limit."""
    losses = {0: 0.5, 1: 0.02, 2: 0.3, 4: 0.2, 8: 0.005, 6: 0.4, 7: 0.001}
    bench = Bench(tmp_path, lambda _, kept: losses[kept])
    trial = bench.find()
    assert len(trial.keep) == 7
    assert trial.loss == 0.001
    assert (trial.scheme.name, trial.keep) == bench.built[-1]


def test_what_is_impossible_is_refused_with_the_least_loss(tmp_path):
    bench = Bench(tmp_path, lambda name, kept: {"int4": 0.3, "w8": 0.2, "fp16": 0.0312}[name] + kept / 100)
    with pytest.raises(ExportError, match=r"no precision loses at most 0.01: the least was 0.0312.*--max-loss"):
        bench.find()
    assert {name for name, _ in bench.built} == set(GOALS["size"])


def test_a_gain_is_no_loss(tmp_path):
    assert Bench(tmp_path, lambda *_: -0.02).find(limit=0.0).loss == -0.02


@pytest.mark.parametrize("products", [0, 1])
def test_a_model_without_products_to_keep_goes_on_to_the_next_precision(products, tmp_path):
    trial = Bench(tmp_path, lambda name, _: float(name == "int4"), products).find()
    assert trial.scheme.name == "w8"


def test_each_trial_is_reported(tmp_path):
    bench = Bench(tmp_path, needing(2))
    bench.find()
    assert bench.said == [
        "int4: 0.0 MB, loses +0.5000 of 0.01: too much",
        "int4, 1 products wide: 0.0 MB, loses +0.2500 of 0.01: too much",
        "int4, 2 products wide: 0.0 MB, loses +0.0000 of 0.01: taken",
    ]


def test_a_build_or_a_measurement_that_fails_leaves_no_scratch_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Bench(tmp_path, broken).find()
    bench = Bench(tmp_path, broken)
    bench.errors = broken
    with pytest.raises(ZeroDivisionError):
        bench.find()


@pytest.mark.parametrize("wide", [0, 1, 2])
def test_a_precision_that_cannot_be_built_is_passed_over(wide, tmp_path):
    bench = Bench(tmp_path, needing(4))
    honest = bench.build

    def build(directory, scheme, keep):
        built = honest(directory, scheme, keep)
        if scheme.name == "int4" and len(keep) == wide:
            raise ExportError("nothing became int4")
        return built

    bench.build = build
    assert bench.find().scheme.name == "w8"
    assert bench.said[wide] == "int4: nothing became int4"
