"""The weights of a checkpoint, read one at a time: nothing stays in memory but where each lies.

A safetensors file is mapped while a tensor is copied out of it and let go behind that: mapped pages count as memory
of the process.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from smartrt.errors import ExportError

from .checkpoint import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .checkpoint import Checkpoint

_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies, and what it is. `dtype` is as safetensors writes it (``BF16``)."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


class CheckpointWeights:
    """The tensors of a checkpoint by name; names are the model's, whatever the files call them."""

    def __init__(self, checkpoint: Checkpoint, name_of: Callable[[str], str] = lambda key: key) -> None:
        """Index the files that transformers would load.

        Args:
            checkpoint: Where to look.
            name_of: From a key of a file to the model's name.

        Raises:
            ExportError: A file is missing or cut, or two tensors have one name.
        """
        self._label = checkpoint.name
        self._stored: dict[str, StoredTensor] = {}
        for file in _files(checkpoint):
            for stored in self._headers(file):
                name = name_of(stored.key)
                if name in self._stored:
                    raise ExportError(
                        f"{checkpoint.name} stores {name} twice: as {self._stored[name].key} and as {stored.key}"
                    )
                self._stored[name] = stored

    def stored(self, name: str) -> StoredTensor:
        """Where `name` lies.

        Raises:
            ExportError: The checkpoint does not have it.
        """
        if name not in self._stored:
            raise ExportError(f"{self._label} has no {name}")
        return self._stored[name]

    def dtype(self, name: str) -> torch.dtype:
        """The type that `name` is stored in.

        Raises:
            ExportError: It is none that can be exported, such as that of a quantised checkpoint.
        """
        stored = self.stored(name)
        if stored.dtype not in _TYPES:
            raise ExportError(f"{self._label} stores {stored.key} as {stored.dtype}; known: {', '.join(_TYPES)}")
        return _TYPES[stored.dtype]

    def require(self, shapes: Mapping[str, tuple[int, ...]], model: str) -> None:
        """Every tensor of `shapes` is there, of that shape and of a type that can be read.

        Raises:
            ExportError: Says how many are missing and names the first; `model` is the class that has them.
        """
        missing = [name for name in shapes if name not in self._stored]
        if missing:
            raise ExportError(
                f"{self._label} lacks {len(missing)} weights of {model} (first: {missing[0]}): "
                "it was saved from another class, or is incomplete"
            )
        for name, shape in shapes.items():
            stored = self._stored[name]
            if stored.shape != shape:
                raise ExportError(
                    f"cannot load {self._label}: {stored.key} is {list(stored.shape)}, {model} has {list(shape)}"
                )
            self.dtype(name)

    def read(self, name: str) -> torch.Tensor:
        """A copy in float32.

        Raises:
            ExportError: There is no such tensor, or its file cannot be read.
        """
        self.dtype(name)
        stored = self.stored(name)
        with self._opened(stored.file) as file:
            return float_copy(file.get_tensor(stored.key))

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """Rows of a table, ``[*ids.shape, dim]`` float32; no other row is read.

        Raises:
            ExportError: An id is outside of the table.
        """
        self.dtype(name)
        stored = self.stored(name)
        wanted, places = torch.unique(ids, return_inverse=True)
        numbers = wanted.tolist()
        if numbers and not 0 <= numbers[0] <= numbers[-1] < stored.shape[0]:
            raise ExportError(f"{stored.key} has {stored.shape[0]} rows; the ids go from {numbers[0]} to {numbers[-1]}")
        found = torch.empty(len(numbers), stored.shape[1])
        with self._opened(stored.file) as file:
            table = file.get_slice(stored.key)
            for place, number in enumerate(numbers):
                found[place] = table[number : number + 1][0]
        return found[places]

    def chunks(self, name: str) -> Iterator[torch.Tensor]:
        """The rows of a table as they are stored, a few megabytes at a time: ``[rows, dim]``."""
        stored, size = self.stored(name), self.dtype(name).itemsize
        count, dim = stored.shape
        step = max(1, _CHUNK_BYTES // max(1, dim * size))
        for first in range(0, count, step):
            with self._opened(stored.file) as file:
                chunk: torch.Tensor = file.get_slice(stored.key)[first : first + step].clone()
            yield chunk

    def _headers(self, file: Path) -> Iterator[StoredTensor]:
        with self._opened(file) as opened:
            for key in opened.keys():  # noqa: SIM118  (a safetensors file is no mapping)
                entry = opened.get_slice(key)
                yield StoredTensor(file, key, tuple(entry.get_shape()), entry.get_dtype())

    def _opened(self, file: Path) -> safe_open:
        try:
            return safe_open(file, framework="pt")
        except (OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ExportError(f"cannot load {self._label}: {file.name}: {reason}") from error


def float_copy(values: torch.Tensor) -> torch.Tensor:
    """A contiguous float32 copy that goes back to the system as soon as nobody holds it.

    Freed blocks of some megabytes stay with malloc, and each that a small allocation settled in is lost to the next
    weight: over the layers of a model that adds up to more than a gigabyte.
    """
    if not values.numel():
        return values.to(torch.float32)
    copy = torch.frombuffer(mmap.mmap(-1, 4 * values.numel()), dtype=torch.float32).view(values.shape)
    return copy.copy_(values)


def _files(checkpoint: Checkpoint) -> list[Path]:
    """`model.safetensors`, or else the files that `model.safetensors.index.json` names."""
    single, index = checkpoint.path / "model.safetensors", checkpoint.path / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    parts = (read_json(index) or {}).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ExportError(
            f"cannot load {checkpoint.name}: it has neither {single.name} nor {index.name} with a weight_map"
        )
    files = [checkpoint.path / str(name) for name in sorted(set(parts.values()))]
    for file in files:
        if not file.is_file():
            raise ExportError(f"cannot load {checkpoint.name}: {index.name} names {file.name}, which is not there")
    return files
