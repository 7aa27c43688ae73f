"""The TensorRT gate's script: it prepares in one piece or not at all, and says why not in one line.

What is compiled with it is in `test_tensorrt_gate.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BASH = shutil.which("bash")
GATE = Path(__file__).parent / "gates" / "tensorrt.sh"

pytestmark = pytest.mark.skipif(BASH is None, reason="the gate is a bash script")

PYTHON = """#!/bin/sh
case "$*" in
    "-VV") echo Python 3.11 ;;
    "-m pip --version") exit 0 ;;
    "-m pip download"*) echo "$*" >>"$CALLS"; echo "ERROR: No matching distribution" >&2; exit 1 ;;
    *) echo "ran $*" ;;
esac
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the script, and tools that do nothing."""
    gates = tmp_path / "tree" / "tests" / "gates"
    gates.mkdir(parents=True)
    shutil.copy(GATE, gates)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, content in {"python3": PYTHON, "cc": "#!/bin/sh\n", "flock": "#!/bin/sh\n"}.items():
        tool(tools / name, content)
    tool(tools / "uname", "#!/bin/sh\necho x86_64\n")
    for name in ("cat", "chmod", "dirname", "grep", "mkdir", "mv", "rm", "sha256sum", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    return tmp_path


def tool(path, content):
    path.write_text(content)
    path.chmod(0o755)


def run(tree, *arguments):
    environment = {"PATH": str(tree / "tools"), "CALLS": str(tree / "calls")}
    return subprocess.run(
        [BASH, tree / "tree" / "tests" / "gates" / "tensorrt.sh", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def test_a_download_that_fails_is_one_line_and_leaves_no_environment(tree):
    for tries in (1, 2):
        finished = run(tree)
        assert finished.returncode == 1
        assert finished.stderr.count("\n") == 1
        assert "ERROR: No matching distribution (all of it: " in finished.stderr
        assert not (tree / "tree" / "build" / "tensorrt" / "environment").exists()
        assert len((tree / "calls").read_text().splitlines()) == tries


def test_both_wheels_are_pinned(tree):
    run(tree)
    wanted = (tree / "calls").read_text()
    assert wanted.count("==") == 2
    assert "--no-deps" in wanted


def test_what_was_made_is_not_made_again_and_python_runs_with_it(tree):
    environment = tree / "tree" / "build" / "tensorrt" / "environment"
    environment.mkdir(parents=True)
    key = subprocess.run(
        [BASH, "-c", f"(cat {tree}/tree/tests/gates/tensorrt.sh; echo Python 3.11) | sha256sum"],
        capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    (environment / ".made-from").write_text(key.stdout)
    finished = run(tree, "-m", "smartrt.tensorrt.compile", "request.json")
    assert (finished.returncode, finished.stdout) == (0, "ran -m smartrt.tensorrt.compile request.json\n")
    assert not (tree / "calls").exists()


@pytest.mark.parametrize("missing", ["cc", "flock", "python3"])
def test_a_missing_tool_is_named_in_one_line(tree, missing):
    (tree / "tools" / missing).unlink()
    finished = run(tree)
    assert finished.returncode == 1
    assert finished.stderr == f"tensorrt.sh: needs {missing}, which is not installed\n"


def test_another_architecture_is_refused(tree):
    tool(tree / "tools" / "uname", "#!/bin/sh\necho aarch64\n")
    finished = run(tree)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "this machine is aarch64" in finished.stderr
