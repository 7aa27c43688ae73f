"""The wheel in a real aarch64 process, against this machine. `make test-aarch64` prepares and runs it.

Two sets of libraries: the tested ones, and the last numpy and onnxruntime that Python 3.10 (JetPack 6) gets.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import two_machines
from calibrating import loud_checkpoint, write_items
from commandline import Finished, refused
from smartrt.export.pipeline import export
from smartrt.export.wanted import Wanted
from smartrt.scoring.rough import saturates

GATE = os.environ.get("SMARTRT_AARCH64", "")

pytestmark = [
    pytest.mark.aarch64,
    pytest.mark.slow,
    pytest.mark.skipif(not GATE, reason="SMARTRT_AARCH64 names no prepared folder; run `make test-aarch64`"),
]

LIBRARIES = {"tested": "python", "python 3.10": "python-3.10-libraries"}
"""What stands in build/aarch64, by which libraries it runs with."""

LIMITS = {
    "tiny": 1e-5,
    "page": 1e-5,
    "int4": 1e-5,  # its products are float32 everywhere
    "fp16": 5e-3,  # float16 products: this architecture has kernels for them, x86 widens to float32
    "int8": 2e-2,  # an activation that lies between two steps may be rounded either way
}
"""The largest difference of any number, of vectors of length 1."""


@pytest.fixture(scope="module")
def work(tmp_path_factory, tiny_path, page_path):
    """The bundles: the committed one, one with images, one of each kind of arithmetic."""
    directory = tmp_path_factory.mktemp("aarch64")
    checkpoint, items = loud_checkpoint("bert", directory / "bert"), write_items(directory / "items.jsonl")
    wishes = {
        "fp16": Wanted("fp16"),
        "int8": Wanted("int8", calibrate=items),
        "int4": Wanted("int4", rounding="nearest"),
    }
    bundles = {"tiny": tiny_path, "page": page_path}
    for name, wish in wishes.items():
        bundles[name] = export(str(checkpoint), directory / f"{name}.smartrt", wanted=wish).path
    given = directory / "work"
    given.mkdir()
    return two_machines.write_work(given, bundles)


@pytest.fixture(scope="module")
def answers(work):
    """What this machine and the emulated ones answered; they run at the same time."""
    machines = {"here": two_machines.NATIVE} | {name: [Path(GATE, python)] for name, python in LIBRARIES.items()}
    running = {name: two_machines.start(python, work, work / name) for name, python in machines.items()}
    read = {name: two_machines.read_answers(process, work / name) for name, process in running.items()}
    write_differences(read)
    return read


def write_differences(answers):
    """Leave what was measured beside what was prepared, for whoever wants the numbers and not the limits."""
    ours = answers["here"].arrays
    measured = {
        name: {bundle: two_machines.differences(ours[bundle], answers[name].arrays[bundle]) for bundle in ours}
        for name in LIBRARIES
    }
    Path(GATE, "differences.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="module", params=LIBRARIES)
def there(request, answers):
    """The answers of one emulated machine."""
    return answers[request.param]


def test_it_is_the_wheel_on_aarch64_without_pytorch(there):
    report = there.report
    assert report["machine"] == "aarch64"
    assert Path(GATE, "program").resolve() in Path(report["smartrt"]).parents
    assert report["imported"] == []


def test_the_libraries_of_python_3_10_are_the_pinned_ones(answers):
    pins = Path(__file__).with_name("gates") / "python310.txt"
    pinned = dict(line.split("==") for line in pins.read_text().splitlines() if "==" in line)
    found = answers["python 3.10"].report["libraries"]
    assert pinned == {name: found[name] for name in pinned}


@pytest.mark.parametrize("bundle", LIMITS)
def test_vectors_scores_and_hits_are_those_of_this_machine(answers, there, bundle):
    if bundle == "int8" and saturates():
        pytest.skip("this processor adds 8-bit products inexactly")
    two_machines.check_same(answers["here"].arrays[bundle], there.arrays[bundle], LIMITS[bundle])


def test_the_committed_bundle_returns_the_golden_vectors(there):
    two_machines.check_golden(there.arrays["tiny"], LIMITS["tiny"])


def test_doctor_inspect_and_verify_say_what_they_say_here(answers, there):
    doctor = json.loads(there.report["doctor"]["out"])
    assert there.report["doctor"]["code"] == 0
    assert doctor["system"]["architecture"] == "aarch64"
    assert doctor["onnx_runtime"]["version"] == there.report["libraries"]["onnxruntime"]
    assert doctor["packages"]["torch"]["version"] is None
    assert doctor["gpus"] == []
    for name, about in there.report["bundles"].items():
        assert about["inspect"] == answers["here"].report["bundles"][name]["inspect"]
        assert about["verify"]["code"] == 0, about["verify"]


def test_a_gpu_that_is_not_there_is_refused_in_one_line(work, tmp_path):
    output = tmp_path / "vectors.npz"
    arguments = ["-m", "smartrt", "encode", work / "tiny.smartrt", "a list", "-o", output, "--device", "cuda"]
    command = [Path(GATE, "python"), "-W", "error", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    refused(Finished(result.returncode, result.stdout, result.stderr), "device 'cuda' did not load", "device='cpu'")
    assert not output.exists()
