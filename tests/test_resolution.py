"""What pip would install on a Jetson. `make test-aarch64` runs it: it asks the index.

pip evaluates environment markers for the Python that runs it, not for the one that is asked about: packages that
only Python 3.10 needs are not in the answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]]

BOARDS = {"JetPack 6": ("3.10", 35), "JetPack 7": ("3.12", 39)}
"""Python and the minor version of glibc: Ubuntu 22.04 and 24.04."""

pytestmark = [
    pytest.mark.aarch64,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("SMARTRT_AARCH64"), reason="asks the index; run `make test-aarch64`"),
]


@pytest.fixture(scope="module", params=BOARDS)
def board(request):
    return request.param


@pytest.fixture(scope="module")
def resolved(board, tmp_path_factory):
    """Name -> (version, file name) of everything that pip would install."""
    version, glibc = BOARDS[board]
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(glibc, 16, -1)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}"),
        *(*platforms, "--platform=manylinux2014_aarch64", f"--target={tmp_path_factory.mktemp('target')}", *NEEDED),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    found = [(entry["metadata"], entry["download_info"]["url"]) for entry in json.loads(result.stdout)["install"]]
    return {about["name"].lower(): (about["version"], url.rsplit("/", 1)[-1]) for about, url in found}


def test_everything_the_runtime_needs_has_a_wheel(resolved):
    for name in ("numpy", "tokenizers", "pillow", "onnxruntime"):
        assert resolved[name][1].endswith("aarch64.whl"), resolved[name]
    assert all(file.endswith(("aarch64.whl", "-any.whl")) for _, file in resolved.values()), resolved


def test_nothing_of_pytorch_comes_along(resolved):
    assert not {"torch", "transformers", "onnx"} & set(resolved)


def test_python_3_10_gets_what_the_emulated_session_runs_with(board, resolved):
    pins = (ROOT / "tests" / "gates" / "python310.txt").read_text(encoding="utf-8")
    pinned = dict(line.split("==") for line in pins.splitlines() if "==" in line)
    assert pinned.keys() == {"numpy", "onnxruntime"}
    same = pinned == {name: resolved[name][0] for name in pinned}
    assert same == (board == "JetPack 6")
