"""The aarch64 gate itself: its script prepares in one piece or not at all, its session and its comparison see a change.

What runs under emulation is in `test_aarch64.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import two_machines

BASH = shutil.which("bash")
GATE = Path(__file__).parent / "gates" / "aarch64.sh"

pytestmark = pytest.mark.skipif(BASH is None, reason="the gate is a bash script")


def source(script, here, **options):
    """Run `script` with the gate's functions, in a folder of its own."""
    lines = f'source {GATE}; here={here}; fail() {{ echo "$*" >&2; exit 1; }}; {script}'
    return subprocess.run([BASH, "-c", lines], capture_output=True, text=True, check=False, timeout=30, **options)


def test_a_part_is_made_once_for_a_key_and_again_for_another(tmp_path):
    for key, says in (("a", "aarch64.sh: making x\n"), ("a", ""), ("b", "aarch64.sh: making x\n")):
        finished = source(f"part x {key} touch made-{key}", tmp_path)
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, says, "")
        assert (tmp_path / "x" / f"made-{key}").is_file()
    assert not (tmp_path / "x" / "made-a").exists()


def test_a_part_that_fails_half_way_says_why_in_one_line_and_is_made_again(tmp_path):
    broken = "make() { touch half; echo no room >&2; false; touch whole; }; part x a make"
    for _ in range(2):
        finished = source(broken, tmp_path)
        assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
        assert f"cannot make {tmp_path}/x: no room" in finished.stderr
        assert not (tmp_path / "x").exists()
    assert source("part x a touch whole", tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"whole", ".made-from"}


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb", "flock", "sha256sum", "python3"])
def test_a_missing_tool_is_named_in_one_line(tmp_path, missing):
    for tool in {"apt-get", "dpkg-deb", "flock", "sha256sum", "python3"} - {missing}:
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "uname").write_text("#!/bin/sh\necho x86_64\n")
    (tmp_path / "uname").chmod(0o755)
    (tmp_path / "dirname").symlink_to(shutil.which("dirname"))
    finished = subprocess.run([BASH, GATE], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr == f"aarch64.sh: needs {missing}, which is not installed\n"


@pytest.fixture(scope="module")
def native(tmp_path_factory, tiny_path):
    """What this machine answers for the committed bundle."""
    work = two_machines.write_work(tmp_path_factory.mktemp("work"), {"tiny": tiny_path})
    return two_machines.read_answers(two_machines.start(two_machines.NATIVE, work, work / "native"), work / "native")


def test_the_session_answers_with_the_golden_vectors(native):
    two_machines.check_golden(native.arrays["tiny"], 1e-5)
    shifted = native.arrays["tiny"] | {"document_pooled": native.arrays["tiny"]["document_pooled"] + np.float32(1e-4)}
    with pytest.raises(AssertionError, match="pooled"):
        two_machines.check_golden(shifted, 1e-5)
    assert native.report["imported"] == []


@pytest.mark.parametrize("name", ["query_pooled", "document_values", "scores", "hit_scores"])
def test_a_number_that_differs_shows(native, name):
    ours = native.arrays["tiny"]
    changed = ours | {name: ours[name] + np.float32(1e-3) * (np.arange(ours[name].size) == 1).reshape(ours[name].shape)}
    two_machines.check_same(ours, ours, 1e-5)
    with pytest.raises(AssertionError, match=name):
        two_machines.check_same(ours, changed, 1e-5)
    two_machines.check_same(ours, changed, 1e-2)


def test_another_order_of_hits_shows_unless_their_scores_tie(native):
    ours = native.arrays["tiny"]
    order = np.array([1, 0, *range(2, ours["hits"].shape[1])])
    changed = ours | {"hits": ours["hits"][:, order], "hit_scores": ours["hit_scores"][:, order]}
    with pytest.raises(AssertionError, match="hits"):
        two_machines.check_same(ours, changed, 1e-5)
    two_machines.check_same(ours, changed, 2.0)


def test_a_missing_document_and_another_length_show(native):
    ours = native.arrays["tiny"]
    twice = ours["hits"].copy()
    twice[0, 0] = twice[0, 1]
    for name, value in (("hits", twice), ("document_offsets", ours["document_offsets"] + 1)):
        with pytest.raises(AssertionError, match=name):
            two_machines.check_same(ours, ours | {name: value}, 1e-2)


def test_a_session_that_dies_shows_its_last_words(tmp_path):
    (tmp_path / "work.json").write_text("{", encoding="utf-8")
    with pytest.raises(AssertionError, match="JSONDecodeError"):
        two_machines.read_answers(
            two_machines.start(two_machines.NATIVE, tmp_path, tmp_path / "native"), tmp_path / "native"
        )
    assert not list((tmp_path / "native").iterdir())
