"""A random Qwen3-VL on disk, shard by shard: no more than some shards are ever in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import save_file

from smartrt.errors import InputError, OptionError
from smartrt.files import new_directory

from .processor import special_ids, write_processor
from .sizes import SEED, SIZES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Shapes = dict[str, tuple[int, ...]]

_SHARD_BYTES = 1 << 28
_MOST_THREADS = 8  # as many shards are in memory
_DEVIATION = 0.02
_PROCESSOR_FILES = ("tokenizer_config.json", "preprocessor_config.json")


def write_checkpoint(
    size: str,
    directory: Path,
    *,
    seed: int = SEED,
    processor: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a random Qwen3-VL in bfloat16; the same size and seed give the same bytes, on any number of threads.

    Norms are ones, all else is normal with the deviation 0.02 that such models start from.

    Args:
        size: A name of `SIZES`.
        directory: Where to; it must not exist.
        seed: Of the weights.
        processor: A directory with the tokenizer, chat template and `preprocessor_config.json` of a Qwen3-VL; without
            one they are made here (`processor`).
        advance: Called with the bytes that are done.

    Returns:
        Bytes of all weights.

    Raises:
        OptionError: There is no such size, or the tokenizer has more entries than the size has rows.
        InputError: `processor` is no directory, or lacks files.
        StorageError: `directory` exists, or the disk refuses.
    """
    if size not in SIZES:
        raise OptionError(f"unknown size {size!r}; there are: {', '.join(SIZES)}")
    if processor is not None and not processor.is_dir():
        raise InputError(f"{processor} is no directory: give one with the tokenizer's files, or leave --processor out")
    if processor is not None and (missing := [name for name in _PROCESSOR_FILES if not (processor / name).is_file()]):
        raise InputError(f"{processor} holds no {', '.join(missing)}: give the files of a Qwen3-VL's processor")
    with new_directory(directory) as part:
        if processor is None:
            write_processor(part)
        else:
            for file in filter(os.path.isfile, processor.iterdir()):
                shutil.copyfile(file, part / file.name)
        shapes = _describe(size, part)
        _write_weights(part, shapes, seed, advance)
    return _bytes(shapes)


def checkpoint_bytes(size: str) -> int:
    """Bytes of all weights, that `write_checkpoint` will tell of; 0 of a size that there is not."""
    return _bytes(_shapes(_config(size, {}))) if size in SIZES else 0


def _config(size: str, ids: dict[str, int]) -> Any:
    chosen = SIZES[size]
    vision = chosen.vision | {"out_hidden_size": chosen.text["hidden_size"]}
    return transformers.Qwen3VLConfig(text_config=chosen.text, vision_config=vision, **ids)


def _describe(size: str, directory: Path) -> Shapes:
    """Write `config.json`; the shapes of the weights by their names in the files."""
    ids = special_ids(directory)
    rows = SIZES[size].text["vocab_size"]
    if max(ids.values()) >= rows:
        raise OptionError(f"the tokenizer has ids up to {max(ids.values()):,}, a {size} has {rows:,} rows for them")
    config = _config(size, ids)
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(directory)
    return _shapes(config)


def _shapes(config: Any) -> Shapes:
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config, dtype=torch.bfloat16)
    return {f"model.{name}": tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _bytes(shapes: Shapes) -> int:
    return 2 * sum(map(math.prod, shapes.values()))


def _write_weights(directory: Path, shapes: Shapes, seed: int, advance: Callable[[int], None]) -> None:
    shards = _shards(shapes)
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]

    def write(file: str, names: list[str]) -> int:
        save_file({name: _weight(name, shapes[name], seed) for name in names}, directory / file, {"format": "pt"})
        return _bytes({name: shapes[name] for name in names})

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for done in pool.map(write, files, shards):
            advance(done)
    places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    index = {"metadata": {"total_size": _bytes(shapes)}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(shapes: Shapes) -> list[list[str]]:
    """Names, in order, until a shard is full."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if held and held + size > _SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def _weight(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A seed of its own for each tensor: in whatever order they are made, they are the same."""
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape, dtype=torch.bfloat16)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, _DEVIATION, generator=generator)
