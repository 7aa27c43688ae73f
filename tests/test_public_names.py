"""The public face: what `import smartrt` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import smartrt


def test_all_is_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(smartrt).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert list(smartrt.__all__) == sorted(smartrt.__all__)
    assert public | {"__version__", "errors"} == set(smartrt.__all__)


@pytest.mark.parametrize("name", [name for name in smartrt.__all__ if name not in ("__version__", "errors")])
def test_every_public_name_and_its_methods_have_docstrings(name: str) -> None:
    value = getattr(smartrt, name)
    assert inspect.getdoc(value)
    for member, function in vars(value).items() if inspect.isclass(value) else ():
        if not member.startswith("_") and callable(function):
            assert inspect.getdoc(function), member


def test_every_error_is_drawn_in_the_tree() -> None:
    tree = smartrt.errors.__doc__ or ""
    kinds = [value for value in vars(smartrt.errors).values() if inspect.isclass(value)]
    assert all(kind.__name__ in tree for kind in kinds)
    assert all(issubclass(kind, smartrt.SmartrtError) or issubclass(kind, Warning) for kind in kinds)


def test_importing_smartrt_loads_no_engine_and_no_framework() -> None:
    script = (
        "import sys, smartrt; print([n for n in ('onnxruntime', 'torch', 'transformers', 'PIL') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
