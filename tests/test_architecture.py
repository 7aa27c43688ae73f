"""The arrows between the folders, and what no file may import or call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime", "models", "export", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MAY_IMPORT = {
    "runtime": {"runtime"},
    "models": {"models", "runtime"},
    "export": {"export", "models", "runtime"},
    "benchmarks": {"benchmarks", "export", "models", "runtime"},
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> set[str]:
    """Absolute names of all modules a file imports, at any depth of nesting."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    package = ["smartrt", *([folder] if folder != "runtime" else []), *rest][:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
    return names


def _folder_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "runtime"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_follow_the_arrows(path: Path) -> None:
    own = {_folder_of(module) for module in _imports(path) if module.split(".")[0] == "smartrt"}
    assert own <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", sorted((ROOT / "runtime").rglob("*.py")), ids=_name)
def test_the_runtime_imports_no_training_framework(path: Path) -> None:
    roots = {module.split(".")[0] for module in _imports(path)}
    assert not roots & {"torch", "transformers", "optimum", "onnx", "huggingface_hub", "safetensors"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    assert not {module.split(".")[0] for module in _imports(path)} & {"pickle", "dill", "joblib", "marshal", "shelve"}
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 320
    assert ast.get_docstring(ast.parse(text))


def test_the_check_of_imports_sees_relative_and_nested_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "runtime" / "cli" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..export import pipeline\ndef f():\n    import torch.nn\n", encoding="utf-8")
    assert {"smartrt.export", "torch.nn"} <= _imports(path)
    assert _folder_of("smartrt.export") == "export"
