"""Helpers that several test files share."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from smartrt import Embeddings, TokenStates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def embeddings(lengths: Sequence[int], *, seed: int = 0, dim: int = 32) -> Embeddings:
    """Random unit vectors: one item per length, that many tokens each."""
    rng = np.random.default_rng(seed)
    tokens = TokenStates.from_arrays([unit_rows(rng, length, dim) for length in lengths], dim)
    return Embeddings(unit_rows(rng, len(lengths), dim), tokens, np.zeros(len(lengths), np.int64))


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """``[rows, dim]`` float32 rows of length 1."""
    values = rng.normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def message_of(error: BaseException, *mentions: str) -> str:
    """The message of an error, which must be one line and hold every string of `mentions`."""
    message = str(error)
    assert len(message.splitlines()) == 1, f"not one line: {message!r}"
    for mention in mentions:
        assert mention in message
    return message


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let `change` edit the parsed JSON of `path` and write it back."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def set_key(path: Path, keys: str, value: Any) -> None:
    """Set one value of a JSON file, ``a/b/c`` deep."""
    *parents, last = keys.split("/")

    def change(data: dict[str, Any]) -> None:
        for parent in parents:
            data = data[parent]
        data[last] = value

    edit_json(path, change)


def rehash(bundle: Path) -> None:
    """Make the manifest describe the files as they are now."""

    def change(manifest: dict[str, Any]) -> None:
        for name, entry in manifest["files"].items():
            content = (bundle / name).read_bytes()
            entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    edit_json(bundle / "manifest.json", change)


def flip_bit(path: Path, position: int = -1) -> None:
    """Change one bit of a file and keep its size."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
