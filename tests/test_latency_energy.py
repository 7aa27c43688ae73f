"""Joules of calls: those of the visits of a cell, and nothing of a sensor that was lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency_runs import CELLS, TINY, fake, small_grid, small_probes
from smartrt.benchmarks.latency.blocks import Block, too_coarse
from smartrt.benchmarks.latency.workload import Workload
from smartrt.benchmarks.sensors import Energy

pytestmark = pytest.mark.usefixtures("library_read_once")


class FakeMeter:
    """Counts ten joules of the CPU and one of a GPU each time it is asked; the GPU may be lost on the way."""

    def __init__(self, gpu_answers: int) -> None:
        self.kind, self.lost = "fake", {}
        self._left = gpu_answers
        self._asked = 0
        self.total: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        return ("CPU", "GPU") if self._left else ("CPU",)

    def joules(self) -> dict[str, float]:
        self._asked += 1
        found = {"CPU": 10.0 * self._asked, "GPU": 1.0 * self._asked} if self._left else {"CPU": 10.0 * self._asked}
        self._left = max(0, self._left - 1)
        return found

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def a_block(tmp_path: Path, fast_corpus: Callable[[Path], None]) -> Callable[..., dict[str, Any]]:
    """Runs a block with a meter: one contender, two cells, so many rounds."""

    def block(meter: FakeMeter, rounds: int) -> dict[str, Any]:
        fast_corpus(tmp_path)
        grid = small_grid(fake("a"), rounds=rounds, visit=0.001)
        with small_probes():
            found = Block(grid, 1, 0, tmp_path, Energy([meter], {})).run(lambda _: None)
        return found["contenders"]["a"]["cells"]

    return block


@pytest.fixture
def fast_corpus() -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from smartrt import Encoder

        with Encoder.open(TINY, engine="fake") as encoder:
            encode: Any = lambda texts, _: encoder.encode_document(texts)  # noqa: E731  (the seam takes a function)
            Workload.make(encoder, encode, CELLS, 5, folder)

    return make


def test_the_joules_of_a_cell_are_those_of_its_visits(a_block: Callable[..., Any]) -> None:
    for cell in a_block(FakeMeter(gpu_answers=1000), rounds=3).values():
        assert cell["joules"] == {"CPU": 30.0, "GPU": 3.0}  # asked before and after each of three visits
        assert cell["made"] >= len(cell["calls"]) + 1


def test_a_domain_that_was_lost_within_a_start_is_not_kept_as_less(a_block: Callable[..., Any]) -> None:
    cells = a_block(FakeMeter(gpu_answers=6), rounds=3).values()
    assert [cell["joules"]["CPU"] for cell in cells] == [30.0, 30.0]
    for cell in cells:  # lost, or with the number of calls that the joules were spent on
        assert "GPU" not in cell["joules"]


@pytest.mark.parametrize(
    ("domain", "visit", "coarse"),
    [
        ("GPU 0 NVIDIA H100 (NVML)", 0.15, True), ("VDD_IN (tegrastats)", 0.9, True),
        ("VDD_IN (tegrastats)", 1.0, False),
        ("CPU package 0 (RAPL)", 0.01, False), ("VDD_IN (INA3221)", 0.15, False),
    ],
)  # fmt: skip
def test_a_meter_that_is_slower_than_a_visit_says_nothing(domain: str, visit: float, coarse: bool) -> None:
    why = too_coarse(domain, visit)
    assert (why is not None) == coarse
    assert why is None or "--visit 1" in why
