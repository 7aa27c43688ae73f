"""The wheel: what is in it, and that it runs where nothing else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import smartrt

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_with_code_is_a_listed_package() -> None:
    on_disk = set()
    for folder in ("runtime", "models", "export", "benchmarks"):
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            on_disk.add(".".join(["smartrt", *(parts[1:] if parts[0] == "runtime" else parts)]))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk


def test_every_source_file_lies_in_a_package() -> None:
    for folder in ("runtime", "models", "export", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == smartrt.__version__


def test_no_engine_is_a_hard_dependency() -> None:
    assert not [name for name in PROJECT["project"]["dependencies"] if "onnxruntime" in name or "tensorrt" in name]


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *(name for group in extras.values() for name in group)]
    names = {requirement.split(">")[0].split("=")[0].split("[")[0].lower() for requirement in wanted}
    assert names - {"onnxruntime-gpu"} <= pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", str(output), str(ROOT))
    (path,) = output.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_source_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("runtime", "models", "export", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT / folder).as_posix()
            assert f"smartrt/{relative}" in names or f"smartrt/{folder}/{relative}" in names
    assert {"smartrt/py.typed", "smartrt/benchmarks/results/accuracy_minilm.json"} <= names


_IMPORT_ALL = """
import importlib, pkgutil, sys, smartrt
from smartrt.errors import MissingDependencyError
failed = []
for module in pkgutil.walk_packages(smartrt.__path__, "smartrt."):
    if module.name.startswith(("smartrt.models", "smartrt.export", "smartrt.benchmarks", "smartrt.__main__")):
        continue
    try:
        importlib.import_module(module.name)
    except MissingDependencyError as error:
        failed.append((module.name, str(error)))
assert [name for name, _ in failed] == ["smartrt.engines.ort"], failed
assert all(way in failed[0][1] for way in ("smartrt[cpu]", "smartrt[gpu]", "Jetson")), failed
assert "\\n" not in failed[0][1]
for name in ("torch", "transformers", "onnxruntime"):
    assert name not in sys.modules and importlib.util.find_spec(name) is None, name
"""

_SEARCH = """
import sys, smartrt
encoder = smartrt.Encoder.open(sys.argv[1])
index = smartrt.Index.create(sys.argv[2], encoder)
texts = ["sorted returns a new list", "Canberra is the capital of Australia"]
index.add(["a", "b"], encoder.encode_document(texts))
((hit, _),) = smartrt.Index.open(sys.argv[2], encoder).search(encoder.encode_query(texts[1]), k=2)
assert hit.id == "b" and abs(hit.score - 2) < 1e-5, hit
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_the_wheel_alone_imports_and_with_the_cpu_extra_searches(wheel: Path, tiny_path: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", str(environment))
    python = str(environment / "bin" / "python")
    install = (python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"))
    _run(*install, str(wheel))
    _run(python, "-c", _IMPORT_ALL)
    complaint = _run(python, "-m", "smartrt", "verify", str(tiny_path), code=2)
    assert complaint.count("\n") == 1
    assert "pip install 'smartrt[cpu]'" in complaint
    for command in (["export", "minilm", "-o", "x.smartrt"], ["demo", "--cache", str(tmp_path / "cache")]):
        assert "pip install 'smartrt[" in _run(python, "-m", "smartrt", *command, code=2)
    _run(*install, f"smartrt[cpu] @ {wheel.as_uri()}")
    _run(python, "-c", _SEARCH, str(tiny_path), str(tmp_path / "tiny.index"))
    assert _run(python, "-m", "smartrt", "verify", str(tiny_path), code=0) == ""


def _run(*command: str, code: int = 0) -> str:
    """Run outside the source tree, expect `code`, and return standard error."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stderr
